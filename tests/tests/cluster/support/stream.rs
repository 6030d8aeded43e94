//! A stream of pods that something happens to.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::space::{dry_run, has_agent};
use super::{Lab, Space};

/// Pods that are created, and forgotten, while something else happens.
#[derive(Default)]
pub(crate) struct Stream {
    took: Vec<Duration>,
    bare: usize,
    refused: Vec<String>,
}

impl Stream {
    /// Creates pods one after another until `end`.
    async fn flow(space: &Space, end: CancellationToken) -> Self {
        let (pods, pod) = (space.pods(), Lab::serve("stream", &[]).request("10m").pod());
        let mut stream = Self::default();
        while !end.is_cancelled() {
            let begin = Instant::now();
            match pods.create(&dry_run(), &pod).await {
                Ok(pod) => stream.bare += usize::from(!has_agent(&pod)),
                Err(why) => stream.refused.push(why.to_string()),
            }
            stream.took.push(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stream.took.sort();
        stream
    }

    /// Adds what `other` has seen.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.took.append(&mut other.took);
        self.took.sort();
        self.bare += other.bare;
        self.refused.append(&mut other.refused);
    }

    /// As [`Self::flow`], while `body` runs.
    pub(crate) async fn during<T>(space: &Space, body: impl Future<Output = T>) -> (Self, T) {
        let end = CancellationToken::new();
        let guarded = async {
            let done = body.await;
            end.cancel();
            done
        };
        tokio::join!(Self::flow(space, end.clone()), guarded)
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.took[(self.took.len() * percent).div_ceil(100) - 1]
    }

    /// What was seen, and that nothing failed.
    pub(crate) fn is_whole(&self, what: &str) -> String {
        assert!(self.refused.is_empty(), "{what}: {:?}", self.refused);
        let (bare, all) = (self.bare, self.took.len());
        assert_eq!(bare, 0, "{what}: of {all} without an agent");
        format!(
            "{all} pods, all injected, p50 {:.1?}, p99 {:.1?}",
            self.percentile(50),
            self.percentile(99)
        )
    }
}
