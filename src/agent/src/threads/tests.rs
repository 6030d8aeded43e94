use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rustix::fs::CWD;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn threads(all: &[(u32, u64, u64)]) -> Vec<Thread> {
    all.iter()
        .map(|(id, run, delay)| Thread {
            id: *id,
            run: *run,
            delay: *delay,
        })
        .collect()
}

fn proc() -> std::os::fd::OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    openat(CWD, "/proc", flags, Mode::empty()).unwrap()
}

#[test]
fn threads_that_come_and_go_make_no_steps() {
    let before = threads(&[
        (3, 100, 10),
        (5, 7_000_000_000_000, 90),
        (9, 50, 5),
        (11, 60, 9),
    ]);
    // 5 has gone; 6 has come, and claims more than there was time for; a counter of 9's and one of
    // 11's went back, so they are others.
    let now = threads(&[
        (3, 150, 10),
        (6, u64::MAX, 3_000_000_000),
        (9, 40, 1),
        (11, 70, 2),
    ]);
    let second = 1_000_000_000;
    let expected = (50 + second + 40 + 70, second + 1 + 2);
    assert_eq!(difference(&before, &now, SECOND), expected);
    assert_eq!(difference(&now, &[], SECOND), (0, 0));
}

#[test]
fn a_schedstat_is_three_numbers() {
    let read = |text: &str| thread(7, text.as_bytes()).map(|t| (t.run, t.delay));
    assert_eq!(read("12 34 5\n"), Some((12, 34)));
    for bad in [
        "",
        "12 34\n",
        "12 -34 5",
        "0 0 0\n",
        "a b c",
        "99999999999999999999 1 1",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn three_busy_threads_on_one_core_need_three_and_wait_two_thirds() {
    let stop = AtomicBool::new(false);
    let root = proc();
    let own = [std::process::id()];
    let mut seen = Threads::new();
    let activity = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut one = CpuSet::new();
                one.set(0);
                sched_setaffinity(None, &one).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(
            seen.sample(root.as_fd(), &own, Instant::now()).unwrap(),
            None
        );
        std::thread::sleep(Duration::from_millis(800));
        let activity = seen.sample(root.as_fd(), &own, Instant::now()).unwrap();
        stop.store(true, Ordering::Relaxed);
        activity.unwrap()
    });
    // Other tests run beside it in this process, and other processes on this machine.
    assert!(activity.need > 2.5, "{activity:?}");
    assert!((0.4..1.0).contains(&activity.waiting), "{activity:?}");
}

fn child() -> Child {
    Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn processes_that_vanish_while_they_are_read_are_none() {
    let root = proc();
    let mut children = [child(), child()];
    let ids = [children[0].id(), u32::MAX, children[1].id()];
    let mut seen = Threads::new();
    let now = Instant::now();
    seen.sample(root.as_fd(), &ids, now).unwrap();
    assert_eq!(seen.before.len(), 2);
    children[0].kill().unwrap();
    // A zombie first, then gone: neither is an error.
    let later = seen
        .sample(root.as_fd(), &ids, now + SECOND)
        .unwrap()
        .unwrap();
    assert!(later.need < NOISE && later.waiting == 0.0, "{later:?}");
    children[0].wait().unwrap();
    seen.sample(root.as_fd(), &ids, now + 2 * SECOND)
        .unwrap()
        .unwrap();
    assert_eq!(seen.before.len(), 1);
    children[1].kill().unwrap();
    children[1].wait().unwrap();
    assert_eq!(
        seen.sample(root.as_fd(), &ids, now + 3 * SECOND).unwrap(),
        None
    );
    // The means of what is gone are gone too.
    assert_eq!((seen.at, seen.times.need), (None, Mean::default()));
}

proptest! {
    #[test]
    fn whatever_the_counters_do_the_share_is_one_and_the_need_is_finite(
        readings in prop::collection::vec((prop::collection::vec((0u32..8, any::<u64>(), any::<u64>()), 0..8), 0u64..10_000), 1..20)
    ) {
        let (mut seen, mut at) = (Threads::new(), Instant::now());
        for (counters, ms) in readings {
            seen.now = threads(&counters);
            seen.now.sort_unstable();
            let now = at + Duration::from_millis(ms);
            let activity = seen.activity(std::mem::replace(&mut at, now), now);
            if let Some(activity) = activity {
                prop_assert!((0.0..=1.0).contains(&activity.waiting), "{activity:?}");
                prop_assert!(activity.need.is_finite() && activity.need >= 0.0, "{activity:?}");
            }
            std::mem::swap(&mut seen.before, &mut seen.now);
        }
    }
}
