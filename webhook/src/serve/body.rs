//! Bodies, read within bounds: of each one, of all together, and of time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::metrics::Failure;

/// The longest body. The API server takes objects of 3 MiB, an update's review
/// carries two of them, and 7 MiB is what controller-runtime allows too.
pub const LONGEST: usize = 7 * 1024 * 1024;

/// Beyond this a body is large, and few of these are taken at once. A review
/// of a pod has some 6 kB, and rarely 50.
pub(super) const LARGE: usize = 256 * 1024;

/// How many large bodies are in memory at once.
pub(super) const MOST_LARGE: usize = 3;

/// How many bytes of other bodies are in memory at once: what 5,000 pods take that come at once.
pub(super) const MOST_BYTES: usize = 32 * 1024 * 1024;

/// How long a body may take to arrive, or to bring another [`PROGRESS`]. The API
/// server has all of it when it begins.
pub(super) const ARRIVAL: Duration = Duration::from_secs(1);

/// For so many bytes a body has another [`ARRIVAL`]: one window of HTTP/2, so that
/// the way there and back may take that long. Most bodies are shorter, and one that
/// stalls is not waited for any longer.
const PROGRESS: usize = 256 * 1024;

const KIB: usize = 1024;

/// The memory that bodies may take.
///
/// It is taken by the byte that arrived and not by the byte that was declared,
/// so that declaring much and sending nothing keeps nobody out.
#[derive(Debug)]
pub(super) struct Room {
    kibibytes: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A body that is on its way.
struct Arriving {
    body: Body,
    /// When its answer is of no use any more.
    deadline: Instant,
    /// Until when [`Self::due`] bytes have to be there.
    until: Instant,
    length: usize,
    due: usize,
}

/// A body, and the room that it takes for as long as this lives.
#[derive(Debug)]
pub(super) struct Received {
    /// The body.
    pub(super) bytes: Bytes,
    room: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            kibibytes: Arc::new(Semaphore::new(MOST_BYTES / KIB)),
            large: Arc::new(Semaphore::new(MOST_LARGE)),
        }
    }
}

impl Arriving {
    fn new(body: Body, deadline: Instant) -> Self {
        Self {
            body,
            deadline,
            until: deadline.min(Instant::now() + ARRIVAL),
            length: 0,
            due: PROGRESS,
        }
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = timeout_at(self.until, self.body.frame());
            let Some(frame) = frame.await.map_err(|_| Failure::Slow)? else {
                return Ok(None);
            };
            let Ok(data) = frame.map_err(|_| Failure::Broken)?.into_data() else {
                continue;
            };
            self.length += data.len();
            if self.length >= self.due {
                self.due = self.length + PROGRESS;
                self.until = self.deadline.min(Instant::now() + ARRIVAL);
            }
            return Ok(Some(data));
        }
    }
}

impl Room {
    /// Reads `body`, of which `declared` bytes are to come, until `deadline` at the latest.
    ///
    /// # Errors
    /// [`Failure::TooLarge`], [`Failure::Slow`], [`Failure::Broken`], or
    /// [`Failure::Overloaded`] where there is no room for it.
    pub(super) async fn receive(
        &self,
        body: Body,
        declared: Option<usize>,
        deadline: Instant,
    ) -> Result<Received, Failure> {
        if declared.is_some_and(|length| length > LONGEST) {
            return Err(Failure::TooLarge);
        }
        let mut body = Arriving::new(body, deadline);
        let mut received = Received {
            bytes: Bytes::new(),
            room: None,
        };
        let (mut whole, mut is_large, mut taken) = (Vec::new(), false, 0);
        while let Some(data) = body.next().await? {
            let length = body.length;
            if length > LONGEST {
                return Err(Failure::TooLarge);
            }
            if !is_large && length > LARGE {
                is_large = true;
                let seat = Arc::clone(&self.large).try_acquire_owned();
                received.room = Some(seat.map_err(|_| Failure::Overloaded)?);
            } else if !is_large {
                // Of the whole and not of each frame: a frame may hold one byte.
                let needed = length.div_ceil(KIB);
                self.take(needed - taken, &mut received.room)?;
                taken = needed;
            }
            if whole.is_empty() && body.body.is_end_stream() {
                // The usual case: one frame, and nothing is copied.
                received.bytes = data;
                return Ok(received);
            }
            if whole.is_empty() {
                whole.reserve_exact(declared.unwrap_or_default().min(LARGE).max(data.len()));
            }
            whole.extend_from_slice(&data);
        }
        received.bytes = whole.into();
        Ok(received)
    }

    fn take(
        &self,
        kibibytes: usize,
        taken: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<(), Failure> {
        if kibibytes == 0 {
            return Ok(());
        }
        let kibibytes = u32::try_from(kibibytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.kibibytes)
            .try_acquire_many_owned(kibibytes)
            .map_err(|_| Failure::Overloaded)?;
        match taken {
            Some(taken) => taken.merge(more),
            None => *taken = Some(more),
        }
        Ok(())
    }
}
