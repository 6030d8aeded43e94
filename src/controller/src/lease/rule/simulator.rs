//! Elections under everything that goes wrong, in true time that nobody in them knows.
//!
//! Every schedule is a seed. Two to four machines whose clocks run up to 1 % fast
//! or slow and show anything; processes that stall between any two steps, crash,
//! are told to end; messages that are lost, late by minutes, cut off in one
//! direction or both; a Lease that is deleted or edited; then 17 seconds of peace,
//! and the leader goes once more. The rule that decides is the one that runs.
//!
//! A [`Witness`] knows true time. From it, for every process: when could a write of
//! it have been accepted? Where it was permitted to begin one, and for [`WRITE`]
//! after that. These stretches must not overlap. Not covered, because no rule about
//! time can: a write that takes longer than [`WRITE`] from being permitted to being
//! accepted; there the `resourceVersion` that each write carries is the fence.

mod chaos;
mod machine;
mod mutant;
mod queue;
mod server;
mod witness;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::times;
use super::{Answer, Ask, Candidacy, Moment, Record, Step, Version};
use mutant::Mutant;
use witness::Breach;
use world::World;

/// Microseconds of true time.
type Micros = u64;

const SECOND: Micros = 1_000_000;
#[allow(clippy::cast_possible_truncation)] // seconds
const REQUEST: Micros = times::REQUEST.as_micros() as Micros;
/// From a write's permission to its last possible effect.
#[allow(clippy::cast_possible_truncation)] // seconds
const WRITE: Micros = times::SETTLED.as_micros() as Micros;

fn breach(seed: u64, mutant: Mutant) -> Option<(u64, Breach)> {
    let verdict = World::new(seed, mutant).verdict();
    verdict.err().map(|breach| (seed, breach))
}

/// 10,000 schedules, or as many as `MBCAS_CASES` says.
#[test]
fn no_two_processes_can_write_at_once() {
    let asked = std::env::var("MBCAS_CASES").ok();
    let cases: u64 = asked.map_or(10_000, |cases| cases.parse().unwrap());
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut seeds = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let mut seeds = seeds.by_ref().take_while(|seed| *seed < cases);
        seeds.find_map(|seed| breach(seed, Mutant::Sound))
    };
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let found = threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap());
        found.min_by_key(|(seed, _)| *seed)
    });
    assert_eq!(found, None, "the first is the schedule's seed");
}

/// The simulator would notice: each broken clause lets two write at once in one of
/// the first schedules.
#[test]
fn each_broken_clause_is_found_out() {
    let sound: Vec<_> = Mutant::BROKEN
        .into_iter()
        .filter(|mutant| {
            let mut overlaps = (0..50_000).filter_map(|seed| breach(seed, *mutant));
            let first = overlaps.find(|(_, breach)| matches!(breach, Breach::Overlap(..)));
            println!("{mutant:?}: {first:?}");
            first.is_none()
        })
        .collect();
    assert!(sound.is_empty(), "not found out: {sound:?}");
}
