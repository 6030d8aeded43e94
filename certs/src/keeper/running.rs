//! The keeper's loop: when it looks.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::tests::{DAY, START, carried};
use super::*;
use crate::fake::{NAMESPACE, cluster};

/// A keeper's loop, and when it looked with what.
pub(super) fn running(keeper: Keeper) -> UnboundedReceiver<(f64, Report)> {
    let (sender, seen) = unbounded_channel();
    let start = Instant::now();
    tokio::spawn(keeper.run(move |report| {
        sender
            .send((start.elapsed().as_secs_f64(), report.clone()))
            .unwrap();
    }));
    seen
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_it_looks_ever_later_until_all_is_well_and_then_every_period() {
    clock!(CLOCK);
    let (client, shared) = cluster(now);
    shared.lock().unwrap().forbidden = Some("LIST");
    let configurations = std::mem::take(&mut shared.lock().unwrap().configurations);
    let mut seen = running(Keeper::new(client, NAMESPACE, Arc::default()));
    let mut next = async || {
        let (at, report) = seen.recv().await.unwrap();
        (at.round(), report.ready)
    };
    for at in [0.0, 1.0, 3.0, 7.0, 15.0, 25.0] {
        assert_eq!(next().await, (at, false));
    }
    shared.lock().unwrap().configurations = configurations;
    for at in [35.0, 45.0, 55.0] {
        assert_eq!(next().await, (at, true));
    }
    shared.lock().unwrap().fail_next = Some(500);
    for at in [65.0, 66.0, 76.0] {
        assert_eq!(next().await, (at, true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_either_configuration_is_repaired_within_two_seconds() {
    clock!(CLOCK);
    let (client, shared) = cluster(now);
    let mut seen = running(Keeper::new(client, NAMESPACE, Arc::default()));
    for name in ["00-mbcas", "mbcas", "00-mbcas"] {
        sleep(Duration::from_secs(95)).await;
        while seen.try_recv().is_ok() {}
        shared.lock().unwrap().wipe(name);
        let wiped = Instant::now();
        let repaired = async {
            while !seen
                .recv()
                .await
                .unwrap()
                .1
                .events
                .contains(&Event::Published)
            {}
        };
        timeout(Duration::from_secs(3), repaired).await.unwrap();
        assert!(
            wiped.elapsed() <= Duration::from_secs(2),
            "{:?}",
            wiped.elapsed()
        );
        assert!(carried(&shared).iter().all(|bundle| bundle.len() == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn changes_that_do_not_concern_us_cost_a_look_a_second_and_no_write() {
    clock!(CLOCK);
    let (client, shared) = cluster(now);
    let mut seen = running(Keeper::new(client, NAMESPACE, Arc::default()));
    sleep(Duration::from_secs(20)).await;
    while seen.try_recv().is_ok() {}
    shared.lock().unwrap().writes();
    for _ in 0..1000 {
        shared.lock().unwrap().change("mbcas", |_| {});
        sleep(Duration::from_millis(10)).await;
    }
    let looks = std::iter::from_fn(|| seen.try_recv().ok()).count();
    assert!((8..=11).contains(&looks), "{looks} looks in 10 s");
    assert_eq!(shared.lock().unwrap().writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_looks_at_its_leaf_when_it_wakes() {
    clock!(CLOCK);
    let (client, _) = cluster(now);
    let keeper = Keeper::new(client, NAMESPACE, Arc::default());
    let mut seen = running(keeper.with_wall(now));
    sleep(Duration::from_secs(42)).await;
    while seen.try_recv().is_ok() {}
    CLOCK.fetch_add(30 * DAY, Ordering::SeqCst);
    let woke = Instant::now();
    let (_, report) = seen.recv().await.unwrap();
    assert!(woke.elapsed() <= RETRY * 2, "{:?}", woke.elapsed());
    assert_eq!((report.ready, report.events), (true, vec![Event::Served]));
}
