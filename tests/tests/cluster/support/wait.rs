//! Waiting for a real cluster.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Looks at `probe` until it gives a value, and gives that. Fails after
/// `deadline` with `what` was waited for and what was seen last.
pub(crate) async fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let begin = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if begin.elapsed() >= deadline => {
                panic!("not within {deadline:?}: {what}. Seen last: {seen}");
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// `Ok` if `holds`, else what is seen instead.
pub(crate) fn that(holds: bool, seen: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen.into()) }
}
