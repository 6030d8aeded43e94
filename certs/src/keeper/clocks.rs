//! Clocks that leap, and clocks that are wrong.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::timeout;

use super::running::running;
use super::tests::{DAY, START, replica};
use super::*;
use crate::fake::{NAMESPACE, client, cluster};

#[tokio::test]
async fn a_leap_back_keeps_a_leaf_that_is_valid_and_replaces_one_that_is_not_yet() {
    clock!(CLOCK);
    let (mut keeper, _, live) = replica(now).await;
    let first = live.current().unwrap();
    CLOCK.fetch_sub(290, Ordering::SeqCst);
    assert!(keeper.look().await.ready);
    assert!(
        Arc::ptr_eq(&first, &live.current().unwrap()),
        "five minutes are forgiven"
    );
    // Later in its life a leaf bears a longer way back.
    CLOCK.fetch_add(4 * DAY, Ordering::SeqCst);
    assert!(keeper.look().await.ready);
    CLOCK.fetch_sub(3 * DAY, Ordering::SeqCst);
    assert!(keeper.look().await.ready);
    assert!(Arc::ptr_eq(&first, &live.current().unwrap()));
    // A leap forward renews it; the way back is then too long for the new one, not for its authority.
    CLOCK.fetch_add(5 * DAY, Ordering::SeqCst);
    keeper.look().await;
    CLOCK.fetch_sub(2 * DAY, Ordering::SeqCst);
    let report = keeper.look().await;
    assert_eq!((report.ready, report.events), (true, vec![Event::Served]));
    assert!(report.leaf.unwrap().holds(now()));
    // And one that goes back before all of it makes all of it anew, within the same look.
    CLOCK.fetch_sub(300 * DAY, Ordering::SeqCst);
    let report = keeper.look().await;
    assert!(report.ready, "{report:?}");
    assert!(report.leaf.unwrap().holds(now()) && report.authority.unwrap().holds(now()));
    assert_eq!(
        report.events,
        [
            Event::Replaced,
            Event::Published,
            Event::Published,
            Event::Served
        ]
    );
}

/// The clock here shows a time before the authority's, and the configurations say nothing: who reads the Secret
/// has heard what the time is.
#[tokio::test]
async fn a_wrong_clock_replaces_nothing_though_only_the_secret_can_be_read() {
    clock!(CLOCK);
    let (_, shared, _) = replica(now).await;
    let before = shared.lock().unwrap().secret.clone();
    shared.lock().unwrap().down = Some("GET /apis/admissionregistration.k8s.io/");
    let mut keeper = Keeper::new(client(&shared), NAMESPACE, Arc::default());
    keeper.look().await;
    assert_eq!(shared.lock().unwrap().secret, before);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_wrong_changes_nothing_and_looks_once_each_time_it_is_set() {
    static WRONG: AtomicU64 = AtomicU64::new(START);
    clock!(CLOCK);
    let (client, shared) = cluster(now);
    let live = Arc::new(LiveCertificate::default());
    let keeper = Keeper::new(client, NAMESPACE, Arc::clone(&live));
    let wrong = || SystemTime::UNIX_EPOCH + Duration::from_secs(WRONG.load(Ordering::SeqCst));
    let mut seen = running(keeper.with_wall(wrong));
    sleep(Duration::from_secs(42)).await;
    let served = live.current().unwrap();
    shared.lock().unwrap().writes();
    for shows in [
        START + 5 * DAY,
        START + 5000 * DAY,
        START - 300 * DAY,
        0,
        START,
    ] {
        while seen.try_recv().is_ok() {}
        WRONG.store(shows, Ordering::SeqCst);
        let (_, report) = timeout(RETRY * 3, seen.recv()).await.unwrap().unwrap();
        assert!(report.ready && report.events.is_empty(), "{report:?}");
        assert!(report.troubles.is_empty(), "{report:?}");
    }
    assert!(Arc::ptr_eq(&served, &live.current().unwrap()));
    assert_eq!(shared.lock().unwrap().writes(), [""; 0]);
}
