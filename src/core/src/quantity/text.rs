//! The grammar: a sign, digits with at most one point, a suffix.

use super::{Format, QuantityError};

/// The most of a wrong suffix that an error repeats, in bytes.
const QUOTED: usize = 20;

/// A text in its parts.
pub(super) struct Scanned<'a> {
    pub(super) negative: bool,
    /// Digits before the point, without leading zeros; a single zero if there are none.
    pub(super) whole: &'a str,
    /// Digits after the point.
    pub(super) fraction: &'a str,
    pub(super) suffix: &'a str,
    /// Whether the text had any digit at all before its suffix.
    pub(super) has_digits: bool,
}

/// What a suffix is a power of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Ten,
    Two,
}

/// Splits `text`. The suffix is only known to consist of characters that may be in one.
pub(super) fn scan(text: &str) -> Result<Scanned<'_>, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Empty);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let significant = unsigned.trim_start_matches('0');
    let (whole, rest) = digits(significant);
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), digits);
    check_suffix(suffix)?;
    let has_digits =
        significant.len() < unsigned.len() || !whole.is_empty() || !fraction.is_empty();
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(Scanned {
        negative: text.starts_with('-'),
        whole,
        fraction,
        suffix,
        has_digits,
    })
}

/// Splits after the leading digits. Only `0` to `9` are digits here.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Letters that occur in suffixes, a sign, digits, the end.
fn check_suffix(suffix: &str) -> Result<(), QuantityError> {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    digits(rest)
        .1
        .chars()
        .next()
        .map_or(Ok(()), |wrong| Err(QuantityError::Unexpected(wrong)))
}

/// What a suffix means.
pub(super) fn suffix(suffix: &str) -> Result<(Base, i32, Format), QuantityError> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
        return Ok((Base::Ten, *exponent, Format::DecimalSi));
    }
    if let Some((_, exponent)) = BINARY.iter().find(|(known, _)| *known == suffix) {
        return Ok((Base::Two, *exponent, Format::BinarySi));
    }
    let number = suffix
        .strip_prefix(['e', 'E'])
        .and_then(|number| number.parse::<i64>().ok());
    let number = number
        .ok_or_else(|| QuantityError::UnknownSuffix(suffix.chars().take(QUOTED).collect()))?;
    #[allow(clippy::cast_possible_truncation)] // Go cuts it to 32 bits here: 1e4294967296 is 1
    Ok((Base::Ten, number as i32, Format::DecimalExponent))
}

/// The suffix of a power of ten, none where there is none.
pub(super) fn decimal_suffix(exponent: i32) -> &'static str {
    DECIMAL
        .iter()
        .find(|(_, known)| *known == exponent)
        .map_or("", |(suffix, _)| suffix)
}

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

const BINARY: [(&str, i32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];
