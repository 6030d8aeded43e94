//! What a look at the certificates found, and how it is told.

use tracing::{info, warn};

use crate::schedule::Validity;

/// What one look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The served leaf is not about to end, and whoever calls by the live configuration trusts it.
    pub ready: bool,
    /// The served leaf.
    pub leaf: Option<Validity>,
    /// The authority that signs, where it is ours.
    pub authority: Option<Validity>,
    /// What this look has changed.
    pub events: Vec<Event>,
    /// What is wrong, with the mend; the same words as long as the same is wrong.
    pub troubles: Vec<String>,
}

/// Something that happened to a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There was no authority, and now there is one.
    Created,
    /// An authority that could not sign was replaced at once.
    Replaced,
    /// A next authority was made, to be trusted before it signs.
    Announced,
    /// The next authority has begun to sign.
    Switched,
    /// A former authority is no longer trusted.
    Retired,
    /// A `caBundle` was written.
    Published,
    /// A new leaf is served.
    Served,
    /// A certificate from elsewhere was not taken.
    Refused,
}

impl Event {
    /// The word for it, in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Announced => "announced",
            Self::Switched => "switched",
            Self::Retired => "retired",
            Self::Published => "published",
            Self::Served => "served",
            Self::Refused => "refused",
        }
    }
}

/// What the log was told last, so that it hears each trouble once.
#[derive(Debug)]
pub(crate) struct Told {
    last: Vec<String>,
    well: &'static str,
}

impl Told {
    /// Nothing yet; `well` is what it will hear at the end of its troubles.
    pub(crate) const fn new(well: &'static str) -> Self {
        Self {
            last: Vec::new(),
            well,
        }
    }

    /// Logs what is new among `troubles`, and their end. Gives whether any was new.
    pub(crate) fn tell(&mut self, troubles: &[String]) -> bool {
        let fresh = troubles
            .iter()
            .filter(|trouble| !self.last.contains(trouble));
        let fresh = fresh.inspect(|trouble| warn!("{trouble}")).count();
        if troubles.is_empty() && !self.last.is_empty() {
            info!("{}", self.well);
        }
        troubles.clone_into(&mut self.last);
        fresh > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_until_it_comes_back() {
        let mut told = Told::new("well");
        let [one, two] = ["one", "two"].map(str::to_owned);
        let first = std::slice::from_ref(&one);
        assert!(told.tell(first));
        assert!(!told.tell(first));
        assert!(told.tell(&[one.clone(), two]));
        assert!(!told.tell(first));
        assert!(!told.tell(&[]));
        assert!(told.tell(first));
    }
}
