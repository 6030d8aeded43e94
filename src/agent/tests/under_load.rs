//! The signal end to end on this machine's kernel: connections that nobody accepts
//! make the intensity rise, accepting them makes it fall. Time is given, not waited for.

#![allow(clippy::unwrap_used)] // clippy excuses test functions only, and these have helpers

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mbcas_agent::board::Smoother;
use mbcas_agent::signal::{Pressures, Source};
use mbcas_agent::sockets::AcceptQueue;
use mbcas_core::demand::queue_pressure;

const CLIENTS: usize = 36;

const TENTH: Duration = Duration::from_millis(100);

/// The accept queue of `port`, once it has come to `expected`: the last packet of a handshake may still be on its way.
fn settled(port: u16, expected: u64) -> u64 {
    let mut queue = AcceptQueue::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let waiting = queue.waiting(|p| p == port).unwrap().unwrap();
        if waiting == expected || Instant::now() > deadline {
            return waiting;
        }
        std::thread::yield_now();
    }
}

/// Ten samples a second for `time`, all with this queue.
fn smoothed(smoother: &mut Smoother, queue: u64, time: Duration) -> f64 {
    let pressures = Pressures::default().with(Source::AcceptQueue, Some(queue_pressure(queue)));
    let samples = time.as_millis() / TENTH.as_millis();
    (0..samples)
        .map(|_| smoother.read(pressures, None, TENTH).intensity)
        .last()
        .flatten()
        .unwrap()
}

fn rise_and_fall(listener: &TcpListener) {
    let address = listener.local_addr().unwrap();
    let mut smoother = Smoother::default();
    assert_eq!(settled(address.port(), 0), 0);
    assert!(smoothed(&mut smoother, 0, Duration::from_secs(5)) < 1e-9);

    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let queue = settled(address.port(), CLIENTS as u64);
    assert_eq!(queue, CLIENTS as u64);
    let after_a_second = smoothed(&mut smoother, queue, Duration::from_secs(1));
    assert!((after_a_second - 0.45).abs() < 0.01, "{after_a_second}");
    let at_last = smoothed(&mut smoother, queue, Duration::from_secs(9));
    assert!((at_last - 0.9).abs() < 0.01, "{at_last}");

    let served: Vec<_> = (0..CLIENTS).map(|_| listener.accept().unwrap()).collect();
    let queue = settled(address.port(), 0);
    assert_eq!(queue, 0);
    let after_ten_seconds = smoothed(&mut smoother, queue, Duration::from_secs(10));
    assert!(
        (after_ten_seconds - 0.45).abs() < 0.01,
        "{after_ten_seconds}"
    );
    assert!(smoothed(&mut smoother, queue, Duration::from_mins(2)) < 0.001);
    drop((clients, served));
}

#[test]
fn the_intensity_rises_under_load_and_falls_after_it() {
    rise_and_fall(&TcpListener::bind("127.0.0.1:0").unwrap());
}

#[test]
fn a_server_of_both_families_counts_as_one() {
    match TcpListener::bind("[::]:0") {
        Ok(listener) => rise_and_fall(&listener),
        // A kernel without IPv6 has no such server.
        Err(why) => assert_eq!(why.kind(), std::io::ErrorKind::Unsupported, "{why}"),
    }
}
