//! A noisy neighbour: threads that compute for nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cpu;

/// Burns CPU until SIGTERM, or for a time.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// Threads that burn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Seconds to burn for; without it, until SIGTERM.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
}

/// Why nothing burns.
#[derive(Debug, Error)]
pub enum BurnError {
    /// A thread could not be started, or panicked.
    #[error("a burning thread failed ({0}); try fewer --threads")]
    Thread(String),
}

/// Burns until `token` is cancelled or the time is over, and tells how much CPU time it took.
///
/// # Errors
/// [`BurnError`] where a thread cannot be started.
pub async fn run(args: Args, token: CancellationToken) -> Result<Duration, BurnError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (begin, cpu_before) = (Instant::now(), cpu::process_time());
    let started: io::Result<Vec<_>> = (0..args.threads)
        .map(|number| {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new()
                .name(format!("burn-{number}"))
                .spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        cpu::stride();
                    }
                })
        })
        .collect();
    if started.is_ok() {
        info!(threads = args.threads, seconds = args.seconds, "burning");
        match args.seconds {
            Some(seconds) => {
                let _ = token
                    .run_until_cancelled(sleep(Duration::from_secs(seconds)))
                    .await;
            }
            None => token.cancelled().await,
        }
    }
    stop.store(true, Ordering::Relaxed);
    for thread in started.map_err(|why| BurnError::Thread(why.to_string()))? {
        thread
            .join()
            .map_err(|_| BurnError::Thread("it panicked".to_owned()))?;
    }
    let burnt = cpu::process_time().saturating_sub(cpu_before);
    info!(
        seconds = begin.elapsed().as_secs_f64(),
        cpu_seconds = burnt.as_secs_f64(),
        "burnt"
    );
    Ok(burnt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn burns_until_it_is_told_to_stop() {
        let token = CancellationToken::new();
        let task = tokio::spawn(run(
            Args {
                threads: 2,
                seconds: None,
            },
            token.clone(),
        ));
        let before = cpu::process_time();
        // Yields to the burning task until its threads have burnt something.
        while cpu::process_time() < before + Duration::from_millis(20) {
            tokio::task::yield_now().await;
        }
        assert!(!task.is_finished());
        token.cancel();
        assert!(task.await.unwrap().unwrap() > Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn stops_by_itself_when_the_time_is_over() {
        let begin = Instant::now();
        run(
            Args {
                threads: 1,
                seconds: Some(3),
            },
            CancellationToken::new(),
        )
        .await
        .unwrap();
        assert_eq!(begin.elapsed(), Duration::from_secs(3));
    }
}
