//! How short the whole node is of CPU, from `/proc/pressure/cpu`, for people.
//!
//! It is not about this pod: it says whether a pod that waits does so because its node is full,
//! where more limit would not help. So it is a metric and never part of the intensity.

use std::time::Instant;

use rustix::fs::CWD;
use rustix::io::Errno;
use thiserror::Error;

use crate::held::Held;
use crate::pressure::{share, total};

const FILE: &str = "/proc/pressure/cpu";

/// Why the node's pressure is unknown.
#[derive(Debug, Error)]
pub enum NodeError {
    /// It cannot be read.
    #[error(
        "cannot read {FILE} ({0}); the node's pressure is unknown, and nothing else depends on it"
    )]
    Read(Errno),
    /// It is not as the kernel writes it.
    #[error("{FILE} is not as the kernel writes it; the node's pressure is unknown")]
    Malformed,
}

/// Reads the node's pressure.
#[derive(Debug, Default)]
pub struct Node {
    file: Option<Held>,
    before: Option<(u64, Instant)>,
}

impl Node {
    /// The share of the time since the last call in which something waited for CPU, from 0 to 1.
    /// None at first, and where the kernel keeps no pressures.
    ///
    /// # Errors
    /// [`NodeError`] where the file is there and of no use.
    pub fn sample(&mut self, now: Instant) -> Result<Option<f64>, NodeError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => match Held::open(CWD, FILE) {
                Ok(file) => file,
                // A kernel without them, or one that was told `psi=0`.
                Err(Errno::NOENT | Errno::OPNOTSUPP) => return Ok(None),
                Err(why) => return Err(NodeError::Read(why)),
            },
        };
        let mut buffer = [0; 256];
        let text = match file.read(&mut buffer) {
            Err(Errno::OPNOTSUPP) => return Ok(None),
            outcome => outcome.map_err(NodeError::Read)?,
        };
        let stalled = total(text, "some").ok_or(NodeError::Malformed)?;
        self.file = Some(file);
        let before = self.before.replace((stalled, now));
        Ok(before.and_then(|(total, at)| share(total, stalled, now.saturating_duration_since(at))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_busy_threads_on_each_core_press_on_this_kernel() {
        let mut node = Node::default();
        let begin = Instant::now();
        assert_eq!(node.sample(begin).unwrap(), None);
        if node.file.is_none() {
            // This kernel keeps no pressures: that it is absent is all there is to see.
            return assert!(!std::path::Path::new(FILE).exists() || Held::open(CWD, FILE).is_err());
        }
        let cores = std::thread::available_parallelism().unwrap().get();
        std::thread::scope(|scope| {
            for _ in 0..2 * cores {
                scope.spawn(|| while begin.elapsed() < Duration::from_millis(500) {});
            }
        });
        // The kernel brings its totals up to date at each read.
        let share = node.sample(Instant::now()).unwrap().unwrap();
        assert!((0.3..=1.0).contains(&share), "{share}");
    }
}
