//! Non-negative decimal numbers of any length: just what quantities need.

use std::cmp::Ordering;

/// `digits × 10^exponent`.
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    /// Values 0 to 9, most significant first, the first one not zero. Empty is zero.
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    /// From ASCII digits.
    pub(super) fn new(ascii: impl Iterator<Item = u8>, exponent: i32) -> Self {
        let digits = ascii
            .map(|c| c.wrapping_sub(b'0'))
            .skip_while(|d| *d == 0)
            .collect();
        Self { digits, exponent }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// The place of the last digit that is written down, zero or not.
    pub(super) fn exponent(&self) -> i32 {
        self.exponent
    }

    /// Times 2^`bits`, with at most 64 bits.
    pub(super) fn doubled(self, bits: i32) -> Self {
        let (mut digits, mut carry) = (Vec::with_capacity(self.digits.len() + 20), 0_u128);
        for digit in self.digits.iter().rev() {
            carry += u128::from(*digit) << bits;
            digits.push(last_digit(carry));
            carry /= 10;
        }
        while carry > 0 {
            digits.push(last_digit(carry));
            carry /= 10;
        }
        digits.reverse();
        Self {
            digits,
            exponent: self.exponent,
        }
    }

    /// The least multiple of 10^`place` that is not below it.
    pub(super) fn rounded_up_to(mut self, place: i32) -> Self {
        if self.exponent >= place || self.is_zero() {
            return self;
        }
        let dropped =
            usize::try_from(i64::from(place) - i64::from(self.exponent)).unwrap_or(usize::MAX);
        let cut = self.digits.len().saturating_sub(dropped);
        let inexact = self.digits.split_off(cut).iter().any(|d| *d > 0);
        self.exponent = place;
        if inexact {
            self.increment();
        }
        self
    }

    fn increment(&mut self) {
        for digit in self.digits.iter_mut().rev() {
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.digits.insert(0, 1);
    }

    /// How many 10^`place` it is, if that is a whole number below 2^128.
    pub(super) fn counted_in(&self, place: i32) -> Option<u128> {
        let digits = self.significant();
        let zeros = self.top() - i64::from(place) - i64::try_from(digits.len()).ok()?;
        if digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(zeros).ok().filter(|zeros| *zeros < 40)?;
        let mut padded = digits.iter().copied().chain(std::iter::repeat_n(0, zeros));
        padded.try_fold(0_u128, |n, d| n.checked_mul(10)?.checked_add(u128::from(d)))
    }

    /// The number and the largest exponent that is a multiple of three and
    /// leaves no fraction.
    pub(super) fn in_thousands(&self) -> (String, i32) {
        let digits = self.significant();
        let stripped = i32::try_from(self.digits.len() - digits.len()).unwrap_or(i32::MAX);
        // Wraps where Go wraps: nothing real is near.
        let exponent = self.exponent.wrapping_add(stripped);
        let zeros = exponent.rem_euclid(3);
        let mut number: String = digits.iter().map(|d| char::from(b'0' + d)).collect();
        number.extend((0..zeros).map(|_| '0'));
        (number, exponent.wrapping_sub(zeros))
    }

    /// The digits without the zeros at the end.
    fn significant(&self) -> &[u8] {
        let zeros = self.digits.iter().rev().take_while(|d| **d == 0).count();
        &self.digits[..self.digits.len() - zeros]
    }

    /// The place above the first digit.
    fn top(&self) -> i64 {
        i64::from(self.exponent).saturating_add_unsigned(self.digits.len() as u64)
    }
}

fn last_digit(number: u128) -> u8 {
    u8::try_from(number % 10).unwrap_or(0)
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        Self::new(number.to_string().bytes(), 0)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (false, false) => self
                .top()
                .cmp(&other.top())
                .then_with(|| self.significant().cmp(other.significant())),
            (mine, theirs) => theirs.cmp(&mine),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}
