//! The latency that an application is to keep.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The objective for the 99th percentile of an application's latency, from 1 ms to 60 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slo {
    millis: u16,
}

impl Slo {
    /// The greatest, in milliseconds.
    const MOST: u32 = 60_000;

    /// As a time.
    pub fn as_duration(self) -> Duration {
        Duration::from_millis(self.millis.into())
    }
}

/// In milliseconds, whatever was written: `2s` becomes `2000ms`.
impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.millis)
    }
}

impl FromStr for Slo {
    type Err = String;

    /// Reads `[1-9][0-9]{0,4}(ms|s)`.
    fn from_str(text: &str) -> Result<Self, String> {
        const RULE: &str = "it must be a whole number of ms or s, from 1ms to 60s";
        let (number, factor) = match text.strip_suffix("ms") {
            Some(number) => (number, 1),
            None => (text.strip_suffix('s').ok_or(RULE)?, 1_000),
        };
        let is_plain = (1..=5).contains(&number.len())
            && !number.starts_with('0')
            && number.bytes().all(|b| b.is_ascii_digit());
        let millis = number.parse::<u32>().ok().filter(|_| is_plain);
        let millis = millis
            .map(|number| number * factor)
            .filter(|millis| *millis <= Self::MOST)
            .and_then(|millis| u16::try_from(millis).ok());
        Ok(Self {
            millis: millis.ok_or(RULE)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_milliseconds_and_seconds_are_read() {
        for (text, millis) in [
            ("1ms", 1),
            ("250ms", 250),
            ("59999ms", 59_999),
            ("60000ms", 60_000),
            ("1s", 1_000),
            ("60s", 60_000),
        ] {
            let slo = text.parse::<Slo>().unwrap();
            assert_eq!(slo.as_duration(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "", "s", "ms", "0ms", "0s", "00ms", "01s", "250", "60001ms", "61s", "99999s",
            "100000ms", "+1s", "-1s", "1.5s", "1 s", " 1s", "1s ", "1m", "1us", "1S", "1sms",
            "1mss", "\u{661}s",
        ] {
            assert!(bad.parse::<Slo>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_objective_survives_its_own_text(millis in 1..=60_000_u16) {
            let slo = Slo { millis };
            prop_assert_eq!(slo.to_string().parse::<Slo>(), Ok(slo));
        }
    }
}
