use std::convert::Infallible;
use std::future::pending;
use std::io;

use tokio::time::{Instant, sleep};

use super::*;

const GRACE: Duration = Duration::from_secs(10);

async fn patient(token: CancellationToken) -> Result<(), Infallible> {
    token.cancelled().await;
    Ok(())
}

fn supervisor() -> (CancellationToken, Supervisor) {
    let token = CancellationToken::new();
    let mut supervisor = Supervisor::new(token.clone());
    supervisor.spawn("patient", patient(token.clone()));
    (token, supervisor)
}

#[tokio::test(start_paused = true)]
async fn ends_well_when_told() {
    let (token, supervisor) = supervisor();
    token.cancel();
    supervisor.run(GRACE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waits_to_be_told() {
    let (token, supervisor) = supervisor();
    let run = tokio::spawn(supervisor.run(GRACE));
    sleep(Duration::from_hours(1)).await;
    assert!(!run.is_finished());
    token.cancel();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_unasked_ends_all_and_is_named() {
    let (token, mut supervisor) = supervisor();
    supervisor.spawn("hasty", async { Ok::<_, Infallible>(()) });
    let error = supervisor.run(GRACE).await.unwrap_err();
    assert!(matches!(error, SuperviseError::Ended("hasty")), "{error}");
    assert!(token.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_is_named_with_its_reason() {
    let (_, mut supervisor) = supervisor();
    supervisor.spawn("broken", async { Err(io::Error::other("no cheese")) });
    let error = supervisor.run(GRACE).await.unwrap_err();
    assert_eq!(error.to_string(), "task broken failed: no cheese");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_named() {
    let (_, mut supervisor) = supervisor();
    supervisor.spawn("wild", async {
        assert!(std::hint::black_box(false), "mayday");
        Ok::<_, Infallible>(())
    });
    let error = supervisor.run(GRACE).await.unwrap_err();
    assert!(
        matches!(error, SuperviseError::Panicked { name: "wild", .. }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_will_not_end_is_left_after_the_grace() {
    let (token, mut supervisor) = supervisor();
    supervisor.spawn("stubborn", pending::<Result<(), Infallible>>());
    token.cancel();
    let begin = Instant::now();
    let error = supervisor.run(GRACE).await.unwrap_err();
    assert_eq!(begin.elapsed(), GRACE);
    assert!(
        matches!(&error, SuperviseError::Late(names) if names == &["stubborn"]),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn failing_while_ending_is_no_error() {
    let (token, mut supervisor) = supervisor();
    let asked = token.clone();
    supervisor.spawn("untidy", async move {
        asked.cancelled().await;
        Err(io::Error::other("lease not released"))
    });
    token.cancel();
    supervisor.run(GRACE).await.unwrap();
}
