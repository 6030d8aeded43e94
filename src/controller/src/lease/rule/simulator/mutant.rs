//! The rule with one clause broken.

use jiff::Timestamp;

use super::super::{Hold, LEASE, RENEW_DEADLINE, Term};
use super::{Answer, Ask, Candidacy, Micros, Moment, SECOND, Step, WRITE};

/// Which clause. Each stands for a mistake that somebody has made, or could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// None: the rule as it is.
    Sound,
    /// The deadline counts from the answer, not from the sending.
    CountsFromTheAnswer,
    /// It writes to the end of the lease: nothing is left for writes on their way and for drift.
    WritesToTheLastSecond,
    /// Whoever led at his last look may write.
    NeverAsksBeforeAWrite,
    /// The term is asked once, and then a cycle of half a minute is written.
    AsksOncePerCycle,
    /// A record is as old as `renewTime` is by one's own wall clock.
    ComparesWallClocks,
    /// The clock stands still while the machine sleeps.
    SleepsThroughItsTerm,
    /// A replacement does not name the version that it replaces.
    ReplacesBlindly,
    /// Two of its writes may be alike.
    WritesTheSameTwice,
    /// Whoever creates the record leads at once, as with client-go.
    CreatesAndLeads,
    /// A record without a holder is free, as with client-go.
    TakesWhatHasNoHolder,
    /// A short duration in the record is believed, as with client-go.
    BelievesShortDurations,
    /// A record that names it is its own, as with client-go.
    BelievesItsOwnName,
    /// It gives the Lease back while writes are on their way.
    ReleasesTooSoon,
}

impl Mutant {
    pub(super) const BROKEN: [Self; 13] = [
        Self::CountsFromTheAnswer,
        Self::WritesToTheLastSecond,
        Self::NeverAsksBeforeAWrite,
        Self::AsksOncePerCycle,
        Self::ComparesWallClocks,
        Self::SleepsThroughItsTerm,
        Self::ReplacesBlindly,
        Self::WritesTheSameTwice,
        Self::CreatesAndLeads,
        Self::TakesWhatHasNoHolder,
        Self::BelievesShortDurations,
        Self::BelievesItsOwnName,
        Self::ReleasesTooSoon,
    ];

    /// How long after the term was asked a write can take effect.
    pub(super) fn tail(self) -> Micros {
        match self {
            Self::AsksOncePerCycle => 30 * SECOND,
            _ => WRITE,
        }
    }

    /// When the last write is begun of a term that ends at `end`.
    pub(super) fn ends(self, end: Micros) -> Micros {
        match self {
            Self::NeverAsksBeforeAWrite => Micros::MAX / 2,
            _ => end,
        }
    }

    /// Spoils what the rule has decided on.
    pub(super) fn spoil(self, rule: &mut Candidacy, step: &mut Step, wall: Timestamp) {
        let (Self::WritesTheSameTwice, Some(sent)) = (self, &mut rule.pending) else {
            return;
        };
        if let Step::Send(Ask::Create(record) | Ask::Replace(_, record)) = step {
            (record.renewed, sent.record.renewed) = (wall, wall);
        }
    }

    pub(super) fn after_hearing(self, rule: &mut Candidacy, answer: &Answer, now: Moment) {
        let accepted = matches!(answer, Answer::Accepted(_));
        match (self, &mut rule.hold, &mut rule.seen) {
            (Self::CountsFromTheAnswer, Some(hold), _) if accepted => {
                hold.term.until = now + RENEW_DEADLINE;
            }
            (Self::WritesToTheLastSecond, Some(hold), _) if accepted => {
                hold.term.until = hold.term.until + LEASE.saturating_sub(RENEW_DEADLINE);
            }
            (Self::CreatesAndLeads, Some(hold), _) => hold.probation = None,
            (Self::TakesWhatHasNoHolder, None, Some(seen)) if seen.record.holder.is_empty() => {
                seen.record.seconds = 1;
                rule.due = now;
            }
            (Self::BelievesItsOwnName, None, Some(seen)) if seen.record.holder == rule.identity => {
                rule.hold = Some(Hold {
                    term: Term {
                        epoch: seen.record.transitions,
                        until: now,
                    },
                    acquired: seen.record.acquired,
                    probation: None,
                });
                rule.due = now;
            }
            _ => {}
        }
    }

    pub(super) fn before_deciding(self, rule: &mut Candidacy, now: Moment, wall: Timestamp) {
        let (None, Some(seen)) = (rule.hold, &mut rule.seen) else {
            return;
        };
        let is_over = match self {
            Self::ComparesWallClocks => {
                wall.duration_since(seen.record.renewed).as_secs() > i64::from(seen.record.seconds)
            }
            Self::BelievesShortDurations => {
                let seconds = u64::try_from(seen.record.seconds).unwrap_or(0);
                now >= seen.at + std::time::Duration::from_secs(seconds)
            }
            _ => false,
        };
        if is_over {
            seen.at = Moment::after_zero(std::time::Duration::ZERO);
            seen.record.seconds = 0;
        }
    }
}
