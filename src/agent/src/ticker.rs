//! Up to ten wake-ups a second, as cheap as they can be had.
//!
//! A timer of the runtime's wakes the process twice for a sleep of 100 ms, because it sorts its
//! sleeps into slots of 64 ms. One of the kernel's own wakes it once: half of the CPU that
//! sampling takes.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::sleep;
use tracing::warn;

/// Ticks at a pace that may change.
#[derive(Debug)]
pub struct Ticker {
    /// A pipe to the runtime, because it is read like one.
    timer: Option<Receiver>,
    pace: Duration,
}

impl Ticker {
    /// Does not tick yet. Must be called within the runtime.
    pub fn new() -> Self {
        let timer = open()
            .inspect_err(|why| warn!(%why, "no timer of the kernel's; sleeping instead"))
            .ok();
        Self {
            timer,
            pace: Duration::ZERO,
        }
    }

    /// Comes back at the next tick of `pace`, which is not zero; ticks that were missed are one.
    pub async fn tick(&mut self, pace: Duration) {
        let Some(timer) = &mut self.timer else {
            return sleep(pace).await;
        };
        let outcome = if self.pace == pace {
            Ok(())
        } else {
            arm(timer, pace)
        };
        self.pace = pace;
        let outcome = match outcome {
            Ok(()) => wait(timer).await,
            Err(why) => Err(why),
        };
        if let Err(why) = outcome {
            warn!(%why, "the timer of the kernel's has failed; sleeping instead");
            self.timer = None;
            sleep(pace).await;
        }
    }
}

impl Default for Ticker {
    fn default() -> Self {
        Self::new()
    }
}

fn open() -> io::Result<Receiver> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer: OwnedFd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    Receiver::from_owned_fd_unchecked(timer)
}

fn arm(timer: &Receiver, pace: Duration) -> io::Result<()> {
    let pace = Timespec::try_from(pace).map_err(io::Error::other)?;
    let every = Itimerspec {
        it_interval: pace,
        it_value: pace,
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &every)?;
    Ok(())
}

/// Reads how many ticks there were. There is room for more than the eight bytes that come, by
/// which the runtime knows without asking again that it has read all there is.
async fn wait(timer: &mut Receiver) -> io::Result<()> {
    let _eight = timer.read(&mut [0; 16]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_ticks_at_its_pace_and_at_a_new_one() {
        let mut ticker = Ticker::new();
        assert!(ticker.timer.is_some());
        for ms in [20, 5] {
            let pace = Duration::from_millis(ms);
            let begin = Instant::now();
            for _ in 0..10 {
                ticker.tick(pace).await;
            }
            // What comes late does not make the later ones late.
            let took = begin.elapsed();
            assert!(
                took >= 9 * pace && took < 9 * pace + Duration::from_secs(2),
                "{took:?}"
            );
        }
    }

    #[tokio::test]
    async fn without_a_timer_it_sleeps() {
        let mut ticker = Ticker {
            timer: None,
            pace: Duration::ZERO,
        };
        let begin = Instant::now();
        ticker.tick(Duration::from_millis(20)).await;
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }
}
