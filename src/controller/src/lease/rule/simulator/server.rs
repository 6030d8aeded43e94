//! The API server: one record with optimistic concurrency.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;

use super::{Answer, Ask, Record, Version};

/// What anybody with the right to write Leases may do, but give back what is not
/// his: an empty holder with a duration of one second is the holder's own word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    Delete,
    ClearHolder,
    /// To one of the candidates, or to nobody that there is.
    NameHolder,
    ShortenDuration,
    RaiseEpoch,
    LowerEpoch,
    /// Labels, annotations: the content stays.
    Touch,
    /// An old copy, put back.
    Restore,
}

impl Edit {
    pub(super) const ALL: [Self; 8] = [
        Self::Delete,
        Self::ClearHolder,
        Self::NameHolder,
        Self::ShortenDuration,
        Self::RaiseEpoch,
        Self::LowerEpoch,
        Self::Touch,
        Self::Restore,
    ];
}

#[derive(Debug)]
pub(super) struct Server {
    lease: Option<(Version, Record)>,
    versions: u64,
    history: Vec<Record>,
    /// Whether a replacement names the version that it replaces. Only a mutant's does not.
    pub(super) compares: bool,
    /// Whether epochs were taken back by an edit.
    pub(super) forgot: bool,
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            lease: None,
            versions: 0,
            history: Vec::new(),
            compares: true,
            forgot: false,
        }
    }

    pub(super) fn handle(&mut self, ask: Ask) -> Answer {
        match (ask, &self.lease) {
            (Ask::Look, Some((version, record))) => {
                Answer::Found(Arc::clone(version), record.clone())
            }
            (Ask::Look | Ask::Replace(..), None) => Answer::Absent,
            (Ask::Create(record), None) => self.store(record),
            (Ask::Replace(over, record), Some((version, _)))
                if over == *version || !self.compares =>
            {
                self.store(record)
            }
            _ => Answer::Refused,
        }
    }

    /// A write that changes nothing is none.
    fn store(&mut self, record: Record) -> Answer {
        match &self.lease {
            Some((version, old)) if *old == record => Answer::Accepted(Arc::clone(version)),
            _ => {
                self.history.push(record.clone());
                Answer::Accepted(self.put(record))
            }
        }
    }

    fn put(&mut self, record: Record) -> Version {
        self.versions += 1;
        let version: Version = self.versions.to_string().into();
        self.lease = Some((Arc::clone(&version), record));
        version
    }

    pub(super) fn edit(&mut self, edit: Edit, candidates: &[Arc<str>], random: &mut SmallRng) {
        let Some((_, mut record)) = self.lease.clone() else {
            return;
        };
        match edit {
            Edit::Delete => {
                self.lease = None;
                self.forgot = true;
                return;
            }
            Edit::ClearHolder => {
                record.holder = "".into();
                record.seconds = 15;
            }
            Edit::NameHolder => {
                let at = random.random_range(0..=candidates.len());
                record.holder = candidates
                    .get(at)
                    .cloned()
                    .unwrap_or_else(|| "nobody".into());
            }
            Edit::ShortenDuration if record.holder.is_empty() => return,
            Edit::ShortenDuration => record.seconds = random.random_range(0..15),
            Edit::RaiseEpoch => record.transitions += 7,
            Edit::LowerEpoch => {
                record.transitions /= 2;
                self.forgot = true;
            }
            Edit::Touch => {}
            Edit::Restore => {
                let at = random.random_range(0..self.history.len());
                record = self.history[at].clone();
                self.forgot = true;
                if record.holder.is_empty() {
                    return;
                }
            }
        }
        self.put(record);
    }
}
