//! Callers that mean harm, against the server alone.
//!
//! While they do, an honest caller on one connection, and one that connects
//! anew each time, go on as if nothing were: everything they ask is answered,
//! in time, and the server, which is a process of its own, stays within the memory
//! that the chart gives it.
//!
//! `cargo test` does it briefly, and asserts what holds on any machine. On a
//! quiet one, `MBCAS_HOSTILE=long cargo test --release -p mbcas-webhook --test hostile -- --nocapture`
//! does it at length and prints the figures (docs/faults.md).

#![cfg(all(test, target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // clippy excuses test functions only, and these have helpers

mod attacks;
mod bounds;
mod client;
mod honest;
mod scene;
mod server;

use attacks::Attack;

#[test]
fn connections_that_say_nothing() {
    scene::play("idle connections", Attack::idle);
}

#[test]
fn handshakes_that_stop_half_way() {
    scene::play("half handshakes", Attack::half_handshake);
}

#[test]
fn heads_that_come_a_byte_at_a_time() {
    scene::play("slow heads", Attack::slow_head);
}

#[test]
fn bodies_that_stall() {
    scene::play("stalled bodies", Attack::stalled_body);
}

#[test]
fn more_busy_connections_than_there_are_places() {
    scene::play("all places busy", Attack::all_places_busy);
}

#[test]
fn few_busy_connections_from_each_of_several_addresses() {
    scene::play("places busy, 4 addr.", Attack::all_places_busy_from_four);
}

#[test]
fn connections_that_stay_when_asked_to_leave() {
    scene::play("asked to leave", Attack::staying);
}

#[test]
fn answers_that_nobody_reads() {
    scene::play("unread answers", Attack::unread);
}

#[test]
fn answers_of_which_a_byte_is_read() {
    scene::play("a byte of each read", Attack::a_byte_read);
}

#[test]
fn bodies_of_a_hundred_megabytes_that_are_declared() {
    scene::play("100 MB, declared", Attack::declared);
}

#[test]
fn bodies_of_a_hundred_megabytes_that_are_not_declared() {
    scene::play("100 MB, undeclared", Attack::undeclared);
}

#[test]
fn streams_that_are_reset_as_soon_as_they_are_opened() {
    scene::play("reset flood", Attack::reset_flood);
}

#[test]
fn bytes_that_mean_nothing() {
    scene::play("garbage", Attack::garbage);
}

#[test]
fn bodies_that_unfold_in_memory() {
    scene::play("JSON that unfolds", Attack::unfolding);
}
