//! What a candidate and the API server say to each other.

use std::sync::Arc;

use super::record::Record;
use mbcas_runtime::clock::Moment;

/// A `resourceVersion`.
pub type Version = Arc<str>;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Read the record.
    Look,
    /// Create it.
    Create(Record),
    /// Replace the version that was read, and no other.
    Replace(Version, Record),
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The record as it is.
    Found(Version, Record),
    /// There is none.
    Absent,
    /// What was sent is the record now.
    Accepted(Version),
    /// It is not: somebody else wrote.
    Refused,
    /// Nobody knows: no answer in time, or an error.
    Lost,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, and tell what came back.
    Send(Ask),
    /// Nothing before then.
    Sleep(Moment),
    /// Nothing any more: it has left.
    Done,
}
