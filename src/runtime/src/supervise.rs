//! Every task is owned: it has a name, and one that ends unasked ends the process.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info_span, warn};

type Fault = Box<dyn StdError + Send + Sync>;

/// Why a process ended otherwise than by being told to.
#[derive(Debug, Error)]
pub enum SuperviseError {
    /// A task came to an end that has none.
    #[error("task {0} ended although nobody asked it to")]
    Ended(&'static str),
    /// A task failed.
    #[error("task {name} failed: {source}")]
    Failed {
        /// The task's name.
        name: &'static str,
        /// Its error.
        source: Fault,
    },
    /// A task panicked.
    #[error("task {name} panicked: {source}")]
    Panicked {
        /// The task's name.
        name: &'static str,
        /// The panic.
        source: JoinError,
    },
    /// Tasks outlived the time they were given to end.
    #[error("tasks did not end in time: {}", .0.join(", "))]
    Late(Vec<&'static str>),
}

/// Owns the tasks of a process.
#[derive(Debug)]
pub struct Supervisor {
    token: CancellationToken,
    tasks: JoinSet<Result<(), Fault>>,
    names: BTreeMap<Id, &'static str>,
}

impl Supervisor {
    /// Supervises until `token` is cancelled; the tasks are expected to watch the same token.
    pub fn new(token: CancellationToken) -> Self {
        Self {
            token,
            tasks: JoinSet::new(),
            names: BTreeMap::new(),
        }
    }

    /// Starts a task in a span of its name. It must run until the token is cancelled.
    pub fn spawn<E: Into<Fault>>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = async move { task.await.map_err(Into::into) };
        let handle = self.tasks.spawn(task.instrument(info_span!("task", name)));
        self.names.insert(handle.id(), name);
    }

    /// Waits until the token is cancelled, then at most `grace` for the tasks to end; what is left is aborted.
    ///
    /// # Errors
    /// The first task that ended, failed or panicked before it was asked to
    /// (the token is cancelled then, so that the others end too), else the tasks that outlived `grace`.
    /// A task that fails while it ends is logged and is no error: nothing depends on it any more.
    pub async fn run(mut self, grace: Duration) -> Result<(), SuperviseError> {
        let outcome = self.until_cancelled().await;
        self.token.cancel();
        let ended = timeout(grace, self.until_empty()).await;
        outcome?;
        ended.map_err(|_| SuperviseError::Late(self.names.into_values().collect()))
    }

    async fn until_cancelled(&mut self) -> Result<(), SuperviseError> {
        tokio::select! {
            // A task may see the token and end before this loop does: the token is asked first.
            biased;
            () = self.token.cancelled() => Ok(()),
            Some(ended) = self.tasks.join_next_with_id() => {
                let cause = Self::cause(&mut self.names, ended);
                error!(%cause, "ending the process");
                Err(cause)
            }
        }
    }

    async fn until_empty(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let well = matches!(ended, Ok((_, Ok(()))));
            let cause = Self::cause(&mut self.names, ended);
            if !well {
                warn!(%cause, "while ending");
            }
        }
    }

    fn cause(
        names: &mut BTreeMap<Id, &'static str>,
        ended: Result<(Id, Result<(), Fault>), JoinError>,
    ) -> SuperviseError {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = names.remove(&id).unwrap_or("without a name");
        match ended {
            Ok((_, Ok(()))) => SuperviseError::Ended(name),
            Ok((_, Err(source))) => SuperviseError::Failed { name, source },
            Err(source) => SuperviseError::Panicked { name, source },
        }
    }
}

#[cfg(test)]
mod tests;
