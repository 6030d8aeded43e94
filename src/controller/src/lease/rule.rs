//! The rule: what a candidate sends next, and until when it may write.
//!
//! Pure. Time comes in as an argument, what is to be sent goes out as data, and
//! whatever came back is [told](Candidacy::heard). It is client-go's rule
//! (`tools/leaderelection`), stricter where that trusts what anybody may write:
//!
//! | clause | here | client-go |
//! | --- | --- | --- |
//! | a record is taken over when it has stood unchanged, on the candidate's own clock, for | its duration, at least [`LEASE`] | its duration |
//! | unchanged means | the same `resourceVersion`, which is also what the taking replaces | the same content |
//! | a holder writes until | [`RENEW_DEADLINE`] after it *sent* its last accepted renewal | a renewal has failed for as long |
//! | free at once is | what its holder has [released](Record::released) | what has no holder |
//! | a missing record is | created, and held by renewals alone for [`LEASE`] before anything is written | created, and leads at once |
//! | a record in one's own name that one did not write | is a stranger's | is one's own |
//!
//! Where a clause of the six is broken, two processes can write at once: the
//! simulator (`rule/simulator.rs`) breaks each of them and sees it happen.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::exchange::{Answer, Ask, Step, Version};
use super::record::Record;
use super::times::{AGAIN, LEASE, POLL, RENEW_DEADLINE, RENEWAL};
use mbcas_runtime::clock::Moment;

/// One term of office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The fencing epoch.
    pub epoch: i32,
    /// No write is begun at this moment or later.
    pub until: Moment,
}

impl Term {
    /// Whether a write may be begun at `now`.
    pub fn permits(&self, now: Moment) -> bool {
        now < self.until
    }
}

/// A candidate's knowledge.
#[derive(Clone, Debug)]
pub struct Candidacy {
    identity: Arc<str>,
    /// The record as it was last read or written; `None` if there was none.
    seen: Option<Seen>,
    /// `seen` is the last word: no write of ours has been refused or lost since.
    is_current: bool,
    hold: Option<Hold>,
    /// The write whose answer is awaited.
    pending: Option<Sent>,
    /// Writes whose answer was lost; they may have arrived, or may still.
    lost: Vec<Sent>,
    /// The highest epoch that was ever seen, so that an edit or a deletion does not bring one back.
    highest: Option<i32>,
    asked: Moment,
    due: Moment,
    leaves: bool,
}

/// A version of the record, and since when it is known.
#[derive(Clone, Debug)]
struct Seen {
    version: Version,
    record: Record,
    at: Moment,
}

/// The record is ours.
#[derive(Clone, Copy, Debug)]
struct Hold {
    term: Term,
    acquired: Timestamp,
    /// Since when, if nothing may be written yet: what was before this record is not known.
    probation: Option<Moment>,
}

/// A write of ours.
#[derive(Clone, Debug)]
struct Sent {
    purpose: Purpose,
    record: Record,
    at: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Create,
    Take,
    Renew,
    Release,
}

impl Candidacy {
    /// A candidate that has seen nothing yet. `identity` is unique for each process.
    pub fn new(identity: Arc<str>, now: Moment) -> Self {
        Self {
            identity,
            seen: None,
            is_current: false,
            hold: None,
            pending: None,
            lost: Vec::new(),
            highest: None,
            asked: now,
            due: now,
            leaves: false,
        }
    }

    /// The term, while there is one. It may have ended: ask [`Term::permits`].
    pub fn term(&self) -> Option<Term> {
        let hold = self.hold.filter(|hold| hold.probation.is_none());
        hold.filter(|_| !self.leaves).map(|hold| hold.term)
    }

    /// The record's holder as it was last seen.
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|seen| &*seen.record.holder)
    }

    /// Ends the term at once; what follows is giving the Lease back.
    /// [`Step::Send`] must wait until all writes of the term have had their effect.
    pub fn leave(&mut self, now: Moment) {
        self.leaves = true;
        self.due = now;
    }

    /// What to do at `now`. `wall` is what people see in the record.
    pub fn next(&mut self, now: Moment, wall: Timestamp) -> Step {
        // Who is on probation, or does not hold it, has nothing that others could take at once.
        if self.leaves && self.hold.is_none_or(|hold| hold.probation.is_some()) {
            return Step::Done;
        }
        if now < self.due {
            return Step::Sleep(self.due);
        }
        self.asked = now;
        let Some(purpose) = self.purpose(now) else {
            return Step::Send(Ask::Look);
        };
        let record = self.write(purpose, wall);
        self.pending = Some(Sent {
            purpose,
            record: record.clone(),
            at: now,
        });
        Step::Send(match &self.seen {
            Some(seen) => Ask::Replace(Arc::clone(&seen.version), record),
            None => Ask::Create(record),
        })
    }

    /// Why to write at `now`; `None`: look first.
    fn purpose(&self, now: Moment) -> Option<Purpose> {
        match (&self.seen, self.hold) {
            _ if !self.is_current => None,
            (None, _) => Some(Purpose::Create),
            (Some(_), Some(_)) if self.leaves => Some(Purpose::Release),
            (Some(_), Some(_)) => Some(Purpose::Renew),
            (Some(seen), None) => (now >= seen.free_at()).then_some(Purpose::Take),
        }
    }

    fn write(&self, purpose: Purpose, wall: Timestamp) -> Record {
        let next = self.highest.map_or(0, |epoch| epoch.saturating_add(1));
        let epoch = self.hold.map_or(next, |hold| hold.term.epoch);
        if purpose == Purpose::Release {
            return Record::released(epoch, wall);
        }
        let record = Record::of(&self.identity, epoch, self.unused(wall));
        let acquired = self.hold.map_or(wall, |hold| hold.acquired);
        Record { acquired, ..record }
    }

    /// `wall`, or just after it where people's clock stands or was set back: no two
    /// writes of ours are alike. The API server drops one that changes nothing, and one
    /// whose answer was lost is known again by its content.
    fn unused(&self, wall: Timestamp) -> Timestamp {
        let lost = self.lost.iter().map(|sent| &sent.record);
        let seen = self.seen.iter().map(|seen| &seen.record);
        let used: Vec<_> = lost.chain(seen).map(|record| record.renewed).collect();
        let mut later = (0..).map(|more| wall + SignedDuration::from_micros(more));
        later.find(|time| !used.contains(time)).unwrap_or(wall)
    }

    /// Learns at `now` what came back.
    pub fn heard(&mut self, answer: Answer, now: Moment) {
        let sent = self.pending.take();
        match (answer, sent) {
            (Answer::Found(version, record), _) => self.see(version, record, now),
            (Answer::Accepted(version), Some(sent)) => self.accepted(version, sent, now),
            (Answer::Absent, _) => {
                self.seen = None;
                self.hold = None;
                self.is_current = true;
                self.due = now;
            }
            (Answer::Refused, _) => self.doubt(now + AGAIN),
            (Answer::Lost | Answer::Accepted(_), sent) => {
                self.lost.extend(sent);
                self.doubt(now.max(self.asked + POLL));
            }
        }
    }

    /// What is known is not the last word: look at `due`.
    fn doubt(&mut self, due: Moment) {
        self.is_current = false;
        self.due = due;
    }

    fn see(&mut self, version: Version, record: Record, now: Moment) {
        self.highest = self.highest.max(Some(record.transitions));
        if self
            .seen
            .as_ref()
            .is_none_or(|seen| seen.version != version)
        {
            self.hold = self.proven(&record, now);
            let at = now;
            self.seen = Some(Seen {
                version,
                record,
                at,
            });
        }
        self.lost.retain(|sent| now < sent.at + RENEW_DEADLINE); // one may still arrive
        self.is_current = true;
        self.due = match (&self.seen, self.hold) {
            (Some(seen), None) => seen.free_at().min(self.asked + POLL).max(now),
            _ => now,
        };
    }

    /// What is held by a record that was not seen before. It is ours only if we
    /// wrote just this, and so lately that nobody can have taken over in between
    /// and somebody have put our words back.
    fn proven(&self, record: &Record, now: Moment) -> Option<Hold> {
        if record.holder != self.identity {
            return None;
        }
        let last = self.seen.as_ref().map(|seen| &seen.record);
        let kept = self
            .hold
            .filter(|hold| last == Some(record) && hold.term.permits(now));
        let arrived = self.lost.iter().find(|sent| sent.record == *record);
        let arrived = arrived.and_then(|sent| self.held(sent, now));
        let hold = arrived.filter(|hold| hold.term.permits(now)).or(kept)?;
        // Probation is an unbroken line of versions, and this one was not seen to follow.
        let probation = hold.probation.map(|_| now);
        Some(Hold { probation, ..hold })
    }

    fn accepted(&mut self, version: Version, sent: Sent, now: Moment) {
        self.hold = self.held(&sent, now);
        self.highest = self.highest.max(Some(sent.record.transitions));
        self.is_current = true;
        self.due = match self.hold {
            // The renewal was on its way when it was told to leave.
            _ if self.leaves => now,
            Some(Hold {
                probation: Some(since),
                ..
            }) => (sent.at + POLL).min(since + LEASE),
            _ => sent.at + RENEWAL,
        };
        self.lost.clear();
        let (record, at) = (sent.record, now);
        self.seen = Some(Seen {
            version,
            record,
            at,
        });
    }

    /// What is held once `sent` is known at `now` to be the record.
    fn held(&self, sent: &Sent, now: Moment) -> Option<Hold> {
        let began = |probation| Hold {
            term: Term {
                epoch: sent.record.transitions,
                until: sent.at + RENEW_DEADLINE,
            },
            acquired: sent.record.acquired,
            probation,
        };
        match sent.purpose {
            Purpose::Take => Some(began(None)),
            Purpose::Create => Some(began(Some(now))),
            Purpose::Renew => {
                let hold = self.hold?;
                // It ends with a renewal that was sent after it: the line was unbroken so long.
                Some(began(
                    hold.probation.filter(|since| sent.at < *since + LEASE),
                ))
            }
            Purpose::Release => None,
        }
    }
}

impl Seen {
    /// When it may be taken over if it stays as it is.
    fn free_at(&self) -> Moment {
        self.at + self.record.patience()
    }
}

#[cfg(test)]
mod simulator;
