//! Which part of the participants is resized while MBCAS is being introduced.
//!
//! A workload's pods are in or out together, and stay so: what decides is a hash
//! of its name. So the part only grows as the number does.

use std::fmt;
use std::str::FromStr;

use crate::cluster::PodView;

/// How many of a hundred workloads are resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary(u8);

impl Canary {
    /// All of them.
    pub const ALL: Self = Self(100);

    /// Whether `pod` is among them.
    pub fn includes(self, pod: &PodView) -> bool {
        let place = match &pod.template.workload {
            Some(made_by) => place([pod.namespace(), &made_by.kind, &made_by.name]),
            None => place([pod.uid()]),
        };
        place < u64::from(self.0)
    }
}

impl FromStr for Canary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.parse().ok().filter(|percent| *percent <= 100);
        percent
            .map(Self)
            .ok_or_else(|| "it must be a whole number from 0 to 100".to_owned())
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place from 0 to 99, the same on every machine and in every version: FNV-1a over
/// the words, then the finalizer of MurmurHash3, as FNV's low bits alone do not spread.
fn place<const N: usize>(words: [&str; N]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed ^ (mixed >> 33)) % 100
}

#[cfg(test)]
mod tests;
