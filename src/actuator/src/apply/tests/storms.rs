//! Many refusals in a row, a server that asks to wait, and a gate that closes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::*;
use crate::apply::resize_through;
use crate::gate::Gate;

/// A gate that notes what it hears, and waits as told.
struct Watched {
    open: AtomicBool,
    waits: Mutex<Vec<Duration>>,
}

impl Gate for Watched {
    async fn pass(&self) -> bool {
        self.is_open()
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    async fn busy(&self, wait: Duration) {
        self.waits.lock().unwrap().push(wait);
        tokio::time::sleep(wait).await;
    }
}

fn start_through(open: bool) -> (tokio::task::JoinHandle<Answer>, Server, Arc<Watched>) {
    let (service, server) = mock::pair::<Request<Body>, Response<Body>>();
    let pods: Api<Pod> = Api::namespaced(Client::new(service, "default"), "shop");
    let gate = Arc::new(Watched {
        open: AtomicBool::new(open),
        waits: Mutex::default(),
    });
    let through = gate.clone();
    let resizing = tokio::spawn(async move {
        resize_through(&*through, &pods, "web-0", &request(), "mbcas", false).await
    });
    (resizing, server, gate)
}

/// As priority and fairness refuses: text, and the time in the header alone.
fn overloaded(to: SendResponse<Response<Body>>, code: u16, seconds: &str) {
    let body = Body::from(b"Too many requests, please try again later.".to_vec());
    let response = Response::builder()
        .status(code)
        .header("Retry-After", seconds);
    to.send_response(response.body(body).unwrap());
}

/// Takes a write and gives the way to answer it.
async fn write(server: &mut Server) -> SendResponse<Response<Body>> {
    written(server).await.2
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_given_the_time_that_it_asks_for_and_tried_again() {
    let (resizing, mut server, gate) = start_through(true);
    read(&mut server, &plain()).await;
    overloaded(write(&mut server).await, 429, "7");
    // A read may be refused as well.
    let (_, answer) = next(&mut server).await;
    overloaded(answer, 503, "2");
    read(&mut server, &plain()).await;
    let details = json!({ "retryAfterSeconds": 3 });
    send(
        write(&mut server).await,
        429,
        &failure(429, "busy", &details),
    );
    read(&mut server, &plain()).await;
    send(
        write(&mut server).await,
        429,
        &failure(429, "busy", &json!({})),
    );
    read(&mut server, &plain()).await;
    let answer = write(&mut server).await;
    send(answer, 200, &serde_json::to_value(plain()).unwrap());
    assert!(end(resizing).await.is_ok());
    let waits = [7, 2, 3, 1].map(Duration::from_secs);
    assert_eq!(*gate.waits.lock().unwrap(), waits);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_429_ends_after_five_writes() {
    let (resizing, mut server, gate) = start_through(true);
    for _ in 0..5 {
        read(&mut server, &plain()).await;
        overloaded(write(&mut server).await, 429, "4");
    }
    let error = end(resizing).await.unwrap_err();
    assert!(
        matches!(error, ApplyError::Busy(wait) if wait == Duration::from_secs(4)),
        "{error}"
    );
    assert_eq!(gate.waits.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_persons_own_resize_waits_as_told_and_a_little_longer() {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &plain()).await;
    let asked = Instant::now();
    overloaded(write(&mut server).await, 429, "7");
    read(&mut server, &plain()).await;
    let waited = asked.elapsed();
    assert!((7.0..=14.1).contains(&waited.as_secs_f64()), "{waited:?}");
    let answer = write(&mut server).await;
    send(answer, 200, &serde_json::to_value(plain()).unwrap());
    assert!(end(resizing).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn conflicts_are_met_with_longer_and_longer_random_waits() {
    let mut totals = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let (resizing, mut server) = start(request(), false);
        for version in ["1", "2", "3", "4", "5"] {
            read(&mut server, &of_version(version)).await;
            send(write(&mut server).await, 409, &stale());
        }
        assert!(matches!(end(resizing).await, Err(ApplyError::Stale(_))));
        totals.push(begun.elapsed());
    }
    // 50, 100, 200 and 400 ms, each between half and one and a half.
    let (least, most) = (Duration::from_millis(375), Duration::from_millis(1200));
    assert!(
        totals.iter().all(|t| (least..most).contains(t)),
        "{totals:?}"
    );
    totals.sort();
    totals.dedup();
    assert!(totals.len() > 5, "all wait alike: {totals:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_lets_nothing_through() {
    let (resizing, _server, _) = start_through(false);
    let error = end(resizing).await.unwrap_err();
    assert!(matches!(error, ApplyError::Stopped(_)), "{error}");
    assert_eq!(error.outcome(), "not_leading");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_during_the_read_or_between_two_tries_stops_the_write() {
    let (resizing, mut server, gate) = start_through(true);
    let (_, answer) = next(&mut server).await;
    gate.open.store(false, Ordering::Relaxed);
    send(answer, 200, &serde_json::to_value(plain()).unwrap());
    assert!(matches!(end(resizing).await, Err(ApplyError::Stopped(_))));

    let (resizing, mut server, gate) = start_through(true);
    read(&mut server, &plain()).await;
    let answer = write(&mut server).await;
    gate.open.store(false, Ordering::Relaxed);
    send(answer, 409, &stale());
    assert!(matches!(end(resizing).await, Err(ApplyError::Stopped(_))));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_restarted_between_two_tries_is_not_written_to() {
    let run = |id: &str| {
        pod(|p| {
            p["status"]["containerStatuses"][0]["containerID"] = json!(format!("containerd://{id}"))
        })
    };
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &run("a")).await;
    send(write(&mut server).await, 409, &stale());
    read(&mut server, &run("b")).await;
    let error = end(resizing).await.unwrap_err();
    assert!(
        matches!(error, ApplyError::Refused(crate::Refusal::Restarted(..))),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_neither_done_nor_not_done_and_not_repeated() {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &plain()).await;
    let _never = write(&mut server).await;
    let error = end(resizing).await.unwrap_err();
    assert!(matches!(error, ApplyError::Unanswered { .. }), "{error}");
    assert_eq!(error.outcome(), "unanswered");
}
