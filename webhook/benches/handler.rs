//! A review without a network: bytes in, bytes out.
//!
//! ```text
//! handler               microseconds per review
//! handler repeat TIMES  answers so many reviews and says nothing, to be counted by valgrind
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used)] // a tool of ours, not a part of the webhook
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mbcas_webhook::review::Review;

mod common;

const ROUND: u32 = 5_000;
const ROUNDS: usize = 21;

fn main() {
    let judge = common::judge();
    let answer = || {
        let review = Review::parse(black_box(common::REVIEW)).unwrap();
        let answer = judge.inject(&review).unwrap();
        answer.to_json(&review.uid)
    };
    let injected = answer();
    assert!(injected.contains("JSONPatch"), "not injected: {injected}");

    // cargo passes --bench.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    match words.next().as_deref() {
        None => time(answer, injected.len()),
        Some("repeat") => {
            let times: u32 = words.next().expect("handler repeat TIMES").parse().unwrap();
            (0..times).for_each(|_| drop(black_box(answer())));
        }
        Some(word) => unreachable!("{word}: handler [repeat TIMES]"),
    }
}

/// The median of rounds; what else the machine does shows in the others.
fn time(answer: impl Fn() -> String, length: usize) {
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..ROUND).for_each(|_| drop(black_box(answer())));
            start.elapsed() / ROUND
        })
        .collect();
    rounds.sort();
    let micros = |took: Duration| took.as_secs_f64() * 1e6;
    println!(
        "handler: {:.2} us per review of {} bytes, answer of {length} bytes (least {:.2}, most {:.2})",
        micros(rounds[ROUNDS / 2]),
        common::REVIEW.len(),
        micros(rounds[0]),
        micros(rounds[ROUNDS - 1]),
    );
}
