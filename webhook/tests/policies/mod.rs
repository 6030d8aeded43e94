//! The CEL of the chart's policies, executed from the very files that the chart wraps.

mod annotations;
mod bounds;
mod cel;
mod generate;
mod guards;
mod policy;
mod update;

use policy::{Policy, Request, Verdict};

/// How many annotation sets are put to the policies and to the validator.
const SETS: u32 = 100_000;

/// How many generated cases a property is tried on: as many as `MBCAS_CASES` says, else `usual`.
fn cases(usual: u32) -> proptest::test_runner::Config {
    let asked = std::env::var("MBCAS_CASES").map(|n| n.parse().expect("MBCAS_CASES is a number"));
    proptest::test_runner::Config {
        cases: asked.unwrap_or(usual),
        failure_persistence: None,
        ..Default::default()
    }
}
