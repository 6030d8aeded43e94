//! The authorities and how they follow each other, one step at a time.
//!
//! ```text
//!            announce                switch                    retire
//!   [A] ───────────────▶ [A] + next B ─────▶ [B] + old A ─────────────▶ [B]
//!   A is due, or      B is trusted,      B signs, A is         A's last leaf
//!   somebody asks     A signs on         trusted on            has ended
//! ```
//!
//! The state lives in one Secret, so that any replica can take the next step,
//! whoever took the last one and however it ended:
//!
//! ```text
//! ca.crt     the authority that signs, then those before it that are trusted on, latest first (PEM)
//! ca.key     the private key of the one that signs
//! ca.since   since when it signs (RFC 3339)
//! next.crt   the authority that will sign next, trusted already
//! next.key   its private key
//! ```
//!
//! Pure, but for the randomness of a new key: what is true is argued here, and
//! [`crate::store`] writes it. An authority that cannot sign at all (unreadable,
//! ended, or of a time that has not come) is replaced at once: no leaf that
//! anybody would trust is lost by that.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;

use crate::authority::{Authority, AuthorityError};
use crate::bundle::{self, Bundle};
use crate::report::Event;
use crate::schedule::{BACKDATED, TRUSTED_AFTER};

/// The key of the certificates.
pub const CERTIFICATE_KEY: &str = "ca.crt";
/// The key of the private key.
pub const PRIVATE_KEY: &str = "ca.key";
/// The key of the time since when the authority signs.
pub const SINCE_KEY: &str = "ca.since";
/// The key of the next authority's certificate.
pub const NEXT_CERTIFICATE_KEY: &str = "next.crt";
/// The key of the next authority's private key.
pub const NEXT_PRIVATE_KEY: &str = "next.key";

/// How many former authorities are trusted on at the most. Each has served for
/// [`PUBLISHED_FOR`](crate::schedule::PUBLISHED_FOR) at least, and every replica
/// has long taken a leaf of a later one.
const MOST_OLD: usize = 8;

/// What a Secret holds.
pub type Data = BTreeMap<String, ByteString>;

/// The authority that signs, and those that are trusted besides.
#[derive(Debug)]
pub struct Authorities {
    signing: Authority,
    since: SystemTime,
    old: Vec<String>,
    next: Option<Authority>,
}

/// A step that was taken, and why.
pub type Step = (Event, String);

/// What a replica knows besides the Secret.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The wall clock.
    pub now: SystemTime,
    /// What every live entry has carried for [`PUBLISHED_FOR`](crate::schedule::PUBLISHED_FOR), if they agree.
    pub settled: Option<&'a Bundle>,
    /// Somebody asks for a rotation.
    pub asked: bool,
}

impl Authorities {
    /// Reads `data` and takes the step that is due, if one is.
    ///
    /// # Errors
    /// Only if a new authority is needed and cannot be made.
    pub fn advance(data: &Data, known: Known<'_>) -> Result<(Self, Option<Step>), AuthorityError> {
        match Self::read(data) {
            Ok(held) => held.step(known),
            Err(why) => {
                let certificates = text(data, CERTIFICATE_KEY);
                let step = if certificates.is_empty() {
                    (Event::Created, "there was none".to_owned())
                } else {
                    (Event::Replaced, why.to_string())
                };
                let old = bundle::blocks(&certificates).map(str::to_owned).collect();
                Ok((Self::fresh(old, known.now)?, Some(step)))
            }
        }
    }

    fn read(data: &Data) -> Result<Self, AuthorityError> {
        let pair =
            |certificate, key| Authority::from_pem(&text(data, certificate), &text(data, key));
        let signing = pair(CERTIFICATE_KEY, PRIVATE_KEY)?;
        // Where nobody wrote it down, it has signed since it was made.
        let since = text(data, SINCE_KEY).trim().parse::<Timestamp>();
        let since = since.map_or_else(
            |_| signing.validity().not_before + BACKDATED,
            SystemTime::from,
        );
        let certificates = text(data, CERTIFICATE_KEY);
        let old = bundle::blocks(&certificates).skip(1).map(str::to_owned);
        Ok(Self {
            since,
            old: old.collect(),
            // One that cannot be read is made anew; nobody has signed with it.
            next: pair(NEXT_CERTIFICATE_KEY, NEXT_PRIVATE_KEY).ok(),
            signing,
        })
    }

    fn fresh(old: Vec<String>, now: SystemTime) -> Result<Self, AuthorityError> {
        let signing = Authority::generate(now)?;
        Ok(Self {
            signing,
            since: now,
            old: trusted_on(old, now),
            next: None,
        })
    }

    fn step(mut self, known: Known<'_>) -> Result<(Self, Option<Step>), AuthorityError> {
        let Known { now, settled, .. } = known;
        let done = |held, event, why: &str| Ok((held, Some((event, why.to_owned()))));
        let usable = self.signing.validity().holds(now);
        let everywhere = settled.is_some_and(|trusted| trusted.contains(&self.bundle(now)));
        match self.next.take() {
            Some(next) if next.validity().holds(now) && (everywhere || !usable) => {
                let why = if usable {
                    "its successor is trusted everywhere"
                } else {
                    "it is not valid now, and its successor is"
                };
                self.old
                    .insert(0, self.signing.certificate_pem().to_owned());
                let old = trusted_on(self.old, now);
                let held = Self {
                    signing: next,
                    since: now,
                    old,
                    next: None,
                };
                return done(held, Event::Switched, why);
            }
            Some(next) if !next.validity().is_over(now) => self.next = Some(next),
            _ => {}
        }
        if !usable {
            let old = std::iter::once(self.signing.certificate_pem().to_owned()).chain(self.old);
            let held = Self::fresh(old.collect(), now)?;
            return done(held, Event::Replaced, "it is not valid now");
        }
        if self.next.is_none() && (known.asked || self.signing.validity().is_due(now)) {
            self.next = Some(Authority::generate(now)?);
            let why = if known.asked {
                "somebody asked for it"
            } else {
                "two thirds of its life are over"
            };
            return done(self, Event::Announced, why);
        }
        if self.next.is_none() && !self.old.is_empty() && now > self.since + TRUSTED_AFTER {
            self.old.clear();
            return done(
                self,
                Event::Retired,
                "the last leaf of the one before has ended",
            );
        }
        Ok((self, None))
    }

    /// The one that signs.
    pub fn signing(&self) -> &Authority {
        &self.signing
    }

    /// All that are to be trusted at `now`.
    pub fn bundle(&self, now: SystemTime) -> Bundle {
        let next = self.next.iter().map(Authority::certificate_pem);
        let text: String = trusted_on(self.old.clone(), now)
            .iter()
            .map(String::as_str)
            .chain([self.signing.certificate_pem()])
            .chain(next)
            .collect();
        Bundle::read(&text)
    }

    /// Writes all of it over what `data` holds of it; what else stands there stays.
    pub fn write(&self, data: &mut Data) {
        let certificates = std::iter::once(self.signing.certificate_pem())
            .chain(self.old.iter().map(String::as_str))
            .flat_map(|pem| [pem.trim_end(), "\n"])
            .collect();
        let next = |value: fn(&Authority) -> String| self.next.as_ref().map(value);
        for (key, value) in [
            (CERTIFICATE_KEY, Some(certificates)),
            (PRIVATE_KEY, Some(self.signing.key_pem())),
            (SINCE_KEY, Some(rfc3339(self.since))),
            (
                NEXT_CERTIFICATE_KEY,
                next(|next| next.certificate_pem().to_owned()),
            ),
            (NEXT_PRIVATE_KEY, next(Authority::key_pem)),
        ] {
            match value {
                Some(value) => data.insert(key.to_owned(), ByteString(value.into_bytes())),
                None => data.remove(key),
            };
        }
    }
}

/// Those of `old` that can be read and have not ended, the latest ones.
fn trusted_on(old: Vec<String>, now: SystemTime) -> Vec<String> {
    let lasting = old
        .into_iter()
        .filter(|block| bundle::read(block).is_some_and(|(_, validity)| !validity.is_over(now)));
    lasting.take(MOST_OLD).collect()
}

/// To the second, as certificates are.
fn rfc3339(at: SystemTime) -> String {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let timestamp = i64::try_from(seconds).ok().map(Timestamp::from_second);
    timestamp
        .and_then(Result::ok)
        .unwrap_or_default()
        .to_string()
}

/// A value as text; what is absent or no text is empty, and an empty certificate is refused with a reason.
fn text(data: &Data, key: &str) -> String {
    let value = data.get(key).map(|bytes| bytes.0.clone());
    value
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
