use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Barrier};

use super::*;
use crate::config::Config;

fn board() -> Board {
    let line = "agent --namespace shop --pod web-1 --container app --agent-addr 127.0.0.1:1";
    Board::new(Config::from_args(line.split(' '))).unwrap()
}

#[test]
fn who_cannot_see_what_listens_is_blind_until_it_sees_again() {
    let board = board();
    let mut kernel = Kernel::new(&board);
    let now = Instant::now();
    kernel.step(now, &board);
    assert!(!kernel.is_blind());
    let failed = SocketError::Malformed("a table");
    assert_eq!(kernel.accept.2.note::<()>(Err(failed)), None);
    assert!(kernel.is_blind());
    kernel.step(now, &board);
    assert!(!kernel.is_blind());
}

#[test]
fn two_thousand_threads_are_looked_at_before_what_was_seen_is_too_old() {
    const THREADS: usize = 2_000;
    let root = std::env::temp_dir().join(format!("mbcas-threads-{}", std::process::id()));
    fs::create_dir_all(root.join("self")).unwrap();
    fs::write(root.join("self/cgroup"), "0::/the-agent-s\n").unwrap();
    let own = std::process::id().to_string();
    symlink(format!("/proc/{own}"), root.join(&own)).unwrap();
    let mut pod = Pod::new(&board());
    pod.processes = Some(Processes::under(root.to_str().unwrap()).unwrap());

    let barrier = Arc::new(Barrier::new(THREADS + 1));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            let small = std::thread::Builder::new().stack_size(16 * 1024);
            small.spawn(move || barrier.wait()).unwrap()
        })
        .collect();
    let (mut pressures, mut need) = (Pressures::default(), None);
    let begin = Instant::now();
    pod.step(begin, &mut pressures, &mut need);
    assert_eq!(need, None);
    for seconds in [15, 30] {
        let now = begin + Duration::from_secs(seconds);
        pod.step(now, &mut pressures, &mut need);
        assert!(need.take().is_some() && pressures.of(Source::Threads).is_some());
    }
    barrier.wait();
    for thread in threads {
        thread.join().unwrap();
    }
    // What is gone has none, and at once.
    fs::remove_dir_all(&root).unwrap();
    pod.step(begin + 3 * OLDEST, &mut pressures, &mut need);
    assert_eq!((need, pressures.of(Source::Threads)), (None, None));
}
