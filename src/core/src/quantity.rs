//! Kubernetes quantities, read and written exactly as the API server does it.
//!
//! The model is `k8s.io/apimachinery` `pkg/api/resource` (1.37): the same texts
//! are taken and refused, the value is the same, and [`Quantity::canonical`] is what
//! `Quantity.String()` gives there, including what only experience shows:
//! - `m`, `.` and `+` are zero, since a number without digits counts as `0`
//!   where no exact arithmetic is needed (`Ei` and `1e` are refused);
//! - a text that is near enough to canonical is kept as it stands (`+1`, `1.500`, `1E3`);
//! - anything finer than `1n` is rounded up, away from zero;
//! - a binary quantity stops at 2^63 − 1, and below 1024 it is written in decimal;
//! - a decimal amount beyond `E` loses its suffix when it is written (`1000E` becomes `1`).
//!
//! Work is linear in the length of the text, whatever the exponent. Go takes
//! minutes or gives up on more than 18 digits with an exponent of many
//! millions; here they are merely large.
//!
//! White space is refused. The API server's JSON decoder strips it around a quantity
//! before it parses.

mod decimal;
mod text;

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

use crate::units::MilliCpu;
use decimal::Decimal;
use text::{Base, Scanned};

/// An amount of something: exact, of any size, down to 10^−9.
///
/// Two quantities are equal if their values are; `1` and `1000m` are.
#[derive(Clone, Debug)]
pub struct Quantity {
    negative: bool,
    magnitude: Decimal,
    format: Format,
    /// The text, where the API server keeps it instead of writing its own.
    kept: Option<String>,
}

/// The kind of suffix that a quantity came with and is written with again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `1500m`, `2k`.
    DecimalSi,
    /// `2e3`.
    DecimalExponent,
    /// `2Ki`.
    BinarySi,
}

/// Why a text is no quantity. Parts of the text are cut to a few characters.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// There is a suffix that needs a number, and no number.
    #[error("it has no digits")]
    NoDigits,
    /// What follows the number is no suffix.
    #[error(
        "{0:?} is no suffix: use n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or e and an exponent"
    )]
    UnknownSuffix(String),
    /// A character that no quantity has in this place.
    #[error("{0:?} does not belong into a quantity")]
    Unexpected(char),
}

/// The finest place that is kept: 10^−9.
const NANO: i32 = -9;
/// The place of a millicore.
const MILLI: i32 = -3;
/// What Go takes to fit into 64 bits without looking: so many digits of a decimal…
const FAST_DIGITS: usize = 18;
/// …and so many, its suffix included, of a binary quantity.
const FAST_BINARY_DIGITS: usize = 14;

impl Quantity {
    /// Reads `text`.
    ///
    /// ```
    /// use mbcas_core::{MilliCpu, Quantity};
    /// let half = Quantity::parse("0.5")?;
    /// assert_eq!(half.canonical(), "500m");
    /// assert_eq!(half.as_cpu(), Some(MilliCpu::new(500)));
    /// assert_eq!(Quantity::parse("1.5Gi")?.canonical(), "1536Mi");
    /// assert!(Quantity::parse("lots").is_err());
    /// # Ok::<(), mbcas_core::QuantityError>(())
    /// ```
    ///
    /// # Errors
    /// [`QuantityError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let scanned = text::scan(text)?;
        let (base, exponent, format) = text::suffix(scanned.suffix)?;
        Self::fast(text, &scanned, base, exponent, format)
            .map_or_else(|| Self::exact(&scanned, base, exponent, format), Ok)
    }

    /// The way of small numbers. Their text may be kept, and nothing is rounded.
    fn fast(
        text: &str,
        scanned: &Scanned<'_>,
        base: Base,
        exponent: i32,
        format: Format,
    ) -> Option<Self> {
        let (whole, fraction) = (scanned.whole, scanned.fraction);
        let digits = || whole.bytes().chain(fraction.bytes());
        let (magnitude, as_it_stands) = match base {
            Base::Ten => {
                let places = i32::try_from(fraction.len()).ok()?;
                // Wraps where Go wraps, at the end of the world of exponents.
                let exponent = exponent.wrapping_sub(places);
                if whole.len() + fraction.len() > FAST_DIGITS || exponent < NANO {
                    return None;
                }
                let thousands = format!("{whole}{fraction}").ends_with("000");
                let kept = exponent % 3 == 0 && !thousands && digits().next() != Some(b'0');
                (Decimal::new(digits(), exponent), kept)
            }
            Base::Two => {
                let bits = usize::try_from(exponent).ok()?;
                if !fraction.is_empty() || whole.len() + bits * 3 / 10 > FAST_BINARY_DIGITS {
                    return None;
                }
                let whole: u64 = whole.parse().ok()?;
                (Decimal::from(whole << bits), !whole.is_multiple_of(8))
            }
        };
        let kept = as_it_stands.then(|| text.to_owned());
        Some(Self {
            negative: scanned.negative,
            magnitude,
            format,
            kept,
        })
    }

    /// The way of all others: rounded up to 10^−9, binary ones bounded.
    fn exact(
        scanned: &Scanned<'_>,
        base: Base,
        exponent: i32,
        format: Format,
    ) -> Result<Self, QuantityError> {
        if !scanned.has_digits {
            return Err(QuantityError::NoDigits);
        }
        let digits = scanned.whole.bytes().chain(scanned.fraction.bytes());
        let places = i32::try_from(scanned.fraction.len()).unwrap_or(i32::MAX);
        let magnitude = match base {
            Base::Ten => Decimal::new(digits, exponent.saturating_sub(places)),
            Base::Two => Decimal::new(digits, -places).doubled(exponent),
        };
        let mut magnitude = magnitude.rounded_up_to(NANO);
        let mut format = format;
        if format == Format::BinarySi {
            magnitude = magnitude.min(Decimal::from(i64::MAX.unsigned_abs()));
            if magnitude < Decimal::from(1) && !magnitude.is_zero() {
                format = Format::DecimalSi;
            }
        }
        Ok(Self {
            negative: scanned.negative,
            magnitude,
            format,
            kept: None,
        })
    }

    /// Below zero. `-0` is not.
    pub fn is_negative(&self) -> bool {
        self.negative && !self.magnitude.is_zero()
    }

    /// As CPU, rounded up to the millicore as the API server stores it. Absent
    /// for negative quantities and for those beyond 2^64 millicores.
    pub fn as_cpu(&self) -> Option<MilliCpu> {
        self.as_thousandths().map(MilliCpu::new)
    }

    /// In thousandths of whatever it counts, rounded up. Absent for negative
    /// quantities and for those beyond 2^64 thousandths.
    pub fn as_thousandths(&self) -> Option<u64> {
        if self.is_negative() {
            return None;
        }
        let milli = self
            .magnitude
            .clone()
            .rounded_up_to(MILLI)
            .counted_in(MILLI)?;
        u64::try_from(milli).ok()
    }

    /// `amount` thousandths of whatever is counted.
    pub fn of_thousandths(amount: u64) -> Self {
        Self {
            negative: false,
            magnitude: Decimal::new(amount.to_string().bytes(), MILLI),
            format: Format::DecimalSi,
            kept: None,
        }
    }

    /// The quantity rounded up, away from zero, to thousandths: what the API
    /// server makes of a container's requests and limits before it stores them.
    #[must_use]
    pub fn rounded_up_to_milli(&self) -> Self {
        let mut rounded = self.clone();
        if self.magnitude.exponent() < MILLI {
            rounded.magnitude = rounded.magnitude.rounded_up_to(MILLI);
            rounded.kept = None;
        }
        rounded
    }

    /// The text that the API server gives for this quantity.
    pub fn canonical(&self) -> String {
        if let Some(text) = &self.kept {
            return text.clone();
        }
        if self.magnitude.is_zero() {
            return "0".to_owned();
        }
        let sign = if self.negative { "-" } else { "" };
        let (number, suffix) = self.binary().unwrap_or_else(|| self.decimal());
        format!("{sign}{number}{suffix}")
    }

    /// In units of 1024 to the largest power that leaves no fraction. Absent
    /// where decimal is the form, or where binary would be small or inexact.
    fn binary(&self) -> Option<(String, String)> {
        const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        if self.format != Format::BinarySi || self.magnitude < Decimal::from(1024) {
            return None;
        }
        let mut number = self.magnitude.counted_in(0)?;
        let mut power = 0;
        while number.is_multiple_of(1024) && power + 1 < SUFFIXES.len() {
            number /= 1024;
            power += 1;
        }
        Some((number.to_string(), SUFFIXES[power].to_owned()))
    }

    fn decimal(&self) -> (String, String) {
        let (number, exponent) = self.magnitude.in_thousands();
        let suffix = match (self.format, exponent) {
            (Format::DecimalExponent, 0) => String::new(),
            (Format::DecimalExponent, _) => format!("e{exponent}"),
            (Format::DecimalSi | Format::BinarySi, _) => text::decimal_suffix(exponent).to_owned(),
        };
        (number, suffix)
    }
}

impl From<MilliCpu> for Quantity {
    fn from(cpu: MilliCpu) -> Self {
        Self::of_thousandths(cpu.get())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.canonical())
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative(), other.is_negative()) {
            (false, false) => self.magnitude.cmp(&other.magnitude),
            (true, true) => other.magnitude.cmp(&self.magnitude),
            (negative, _) => {
                if negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

#[cfg(test)]
mod tests;
