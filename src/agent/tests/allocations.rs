//! The sampling step allocates nothing, once it has seen as much as there is to see: an agent that
//! samples four times a second for months must not wear its heap.

#![allow(clippy::unwrap_used)] // clippy excuses test functions only, and these have helpers

use std::alloc::System;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mbcas_agent::board::{Board, Smoother};
use mbcas_agent::cgroup::Cgroup;
use mbcas_agent::config::Config;
use mbcas_agent::kernel::Kernel;
use mbcas_agent::processes::Processes;
use mbcas_agent::sockets::{AcceptQueue, ReceiveQueue};
use mbcas_agent::threads::Threads;
use rustix::fs::{CWD, Mode, OFlags, openat};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TIMES: u32 = 1_000;

/// Thousands of which all have to be free of them but for two: on a busy machine the harness, which has just started
/// this test's thread, may still be at it while the first is counted, and of the whole step others' sockets are
/// a part.
const RUNS: u32 = 5;

/// Runs `step` a few times, and then counts what thousands more allocate.
fn counted(name: &str, mut step: impl FnMut(Instant)) {
    let begin = Instant::now();
    let at = |second: u32| begin + Duration::from_secs(second.into());
    for second in 0..20 {
        step(at(second));
    }
    let mut seconds = 20..;
    let seen = (0..RUNS).map(|_| {
        let region = Region::new(ALLOCATOR);
        for second in seconds.by_ref().take(TIMES as usize) {
            step(at(second));
        }
        let seen = region.change();
        seen.allocations + seen.reallocations
    });
    let dirty = seen.filter(|allocations| *allocations > 0).count();
    assert!(
        dirty <= 2,
        "{name}: in {dirty} of {RUNS} times {TIMES} steps"
    );
}

/// One test, because other tests' threads would allocate in between.
#[test]
fn a_thousand_steps_of_every_signal_allocate_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let _accepted: Vec<_> = (0..4).map(|_| listener.accept().unwrap()).collect();
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    }

    // Others' sockets would take places when they come.
    let ours = |port| port == address.port();
    let mut accept = AcceptQueue::new();
    counted("accept queue", |now| {
        assert!(accept.waiting_at(now, ours).unwrap() >= Some(4));
    });
    // Within one second, where single sockets are looked up.
    let now = Instant::now();
    counted("accept queue, looked up", |_| {
        assert!(accept.waiting_at(now, ours).unwrap() >= Some(4));
    });
    let mut receive = ReceiveQueue::new();
    counted("receive queue", |now| {
        // What lies there for a minute counts no more.
        for client in &mut clients {
            client.write_all(b".").unwrap();
        }
        receive.sample(now, ours).unwrap();
        assert!(receive.standing(now) >= Some(4));
    });

    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let proc = openat(CWD, "/proc", flags, Mode::empty()).unwrap();
    let own = [std::process::id()];
    let mut threads = Threads::new();
    counted("threads", |now| {
        threads.sample(proc.as_fd(), &own, now).unwrap();
    });
    let mut cgroup = Cgroup::default();
    counted("cgroup", |now| {
        let _ = cgroup.sample(proc.as_fd(), &own, now);
    });

    let line = "agent --namespace shop --pod web-1 --container app --agent-addr 127.0.0.1:1";
    let board = Board::new(Config::from_args(line.split(' '))).unwrap();
    let mut kernel = Kernel::new(&board);
    let mut smoother = Smoother::default();
    counted("all of it", |now| {
        kernel.step(now, &board);
        let pressures = kernel.pressures();
        let pause = kernel.pace();
        board.put(smoother.read(pressures, kernel.need(), pause));
    });

    // What is looked at here is the whole machine's, so it may come to allocate more places.
    let mut processes = Processes::under("/proc").unwrap();
    for _ in 0..20 {
        processes.look().unwrap();
    }
    let fewest = (0..50).map(|_| {
        let region = Region::new(ALLOCATOR);
        processes.look().unwrap();
        region.change().allocations + region.change().reallocations
    });
    assert_eq!(fewest.min(), Some(0), "processes");
}
