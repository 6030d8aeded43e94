//! SIGTERM and SIGINT become one token.

use std::io;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Why signals could not be listened to.
#[derive(Debug, Error)]
#[error("cannot listen for {name} ({source}); the process would not stop when told")]
pub struct ShutdownError {
    name: &'static str,
    source: io::Error,
}

/// Signals within this time of the first say the same: a terminal sends one and whoever stops its job another.
const MOMENT: Duration = Duration::from_secs(1);

/// A token that the first SIGTERM or SIGINT cancels. One that comes a second later or more ends the
/// process with code 1 at once: whoever sends it has waited long enough.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// [`ShutdownError`] where the kernel refuses a signal handler.
pub fn on_signals() -> Result<CancellationToken, ShutdownError> {
    let mut terminate = listen("SIGTERM", SIGTERM)?;
    let mut interrupt = listen("SIGINT", SIGINT)?;
    let token = CancellationToken::new();
    let next = async move || {
        tokio::select! {
            _ = terminate.read_u8() => "SIGTERM",
            _ = interrupt.read_u8() => "SIGINT",
        }
    };
    tokio::spawn(watch(next, token.clone(), || std::process::exit(1)));
    Ok(token)
}

/// Where a byte comes for each `signal`. tokio's own keep 22 kB ready for all 64 of them, which is much in a sidecar.
fn listen(name: &'static str, signal: i32) -> Result<UnixStream, ShutdownError> {
    let heard = UnixStream::pair().and_then(|(heard, told)| {
        pipe::register(signal, told.into_std()?)?;
        Ok(heard)
    });
    heard.map_err(|source| ShutdownError { name, source })
}

async fn watch(
    mut next: impl AsyncFnMut() -> &'static str,
    token: CancellationToken,
    exit: impl FnOnce(),
) {
    let signal = next().await;
    info!(signal, "shutting down");
    token.cancel();
    let told = Instant::now();
    let mut signal = next().await;
    while told.elapsed() < MOMENT {
        signal = next().await;
    }
    warn!(signal, "told twice: ending at once");
    exit();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::mpsc;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_signal_asks_and_one_that_comes_later_insists() {
        let (send, mut receive) = mpsc::channel(1);
        let next = async move || receive.recv().await.unwrap();
        let token = CancellationToken::new();
        let exited = Arc::new(AtomicBool::new(false));
        let exit = Arc::clone(&exited);
        let watching = tokio::spawn(watch(next, token.clone(), move || {
            exit.store(true, Ordering::Release);
        }));

        assert!(!token.is_cancelled());
        send.send("SIGTERM").await.unwrap();
        token.cancelled().await;
        // These say the same once more.
        send.send("SIGTERM").await.unwrap();
        send.send("SIGINT").await.unwrap();
        advance(MOMENT / 2).await;
        assert!(!exited.load(Ordering::Acquire));
        advance(MOMENT / 2).await;
        send.send("SIGTERM").await.unwrap();
        watching.await.unwrap();
        assert!(exited.load(Ordering::Acquire));
    }
}
