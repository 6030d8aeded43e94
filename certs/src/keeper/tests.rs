use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::fake::{NAMESPACE, client, cluster};
use crate::schedule::AUTHORITY_LIFETIME;

const DAY: u64 = 86_400;
const START: u64 = 1_800_000_000;

/// A wall clock per test: `fn()` pointers hold no state, so each test names its own static.
macro_rules! clock {
    ($name:ident) => {
        static $name: AtomicU64 = AtomicU64::new(START);
        #[allow(non_snake_case)]
        fn now() -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs($name.load(Ordering::SeqCst))
        }
    };
}

#[tokio::test]
async fn a_fresh_install_is_ready_after_one_look_and_then_quiet() {
    clock!(CLOCK);
    let (client, shared) = cluster();
    let live = Arc::new(LiveCertificate::default());
    let mut keeper = Keeper::with_clock(client, NAMESPACE, Arc::clone(&live), now);
    assert!(live.current().is_none());
    let report = keeper.tick().await.unwrap();
    assert!(report.ready);
    assert_eq!(report.leaf.unwrap().remaining(now()).as_secs(), 7 * DAY);
    assert!(live.current().is_some());
    assert_eq!(shared.lock().unwrap().writes().len(), 2);
    keeper.tick().await.unwrap();
    assert_eq!(
        shared.lock().unwrap().writes(),
        [""; 0],
        "nothing to write, so nothing is written"
    );
}

#[tokio::test]
async fn replicas_share_the_authority_and_not_the_leaf() {
    clock!(CLOCK);
    let (one, shared) = cluster();
    let (first, second) = (
        Arc::new(LiveCertificate::default()),
        Arc::new(LiveCertificate::default()),
    );
    let mut a = Keeper::with_clock(one, NAMESPACE, Arc::clone(&first), now);
    let mut b = Keeper::with_clock(client(&shared), NAMESPACE, Arc::clone(&second), now);
    let (x, y) = tokio::join!(a.tick(), b.tick());
    // Both started at once: one of them may have lost a race for the caBundle, and mends it at its next look.
    let (x, y) = (settle(x, &mut a).await, settle(y, &mut b).await);
    assert!(x.ready && y.ready);
    assert_eq!(x.authority, y.authority);
    let leaf = |live: &LiveCertificate| live.current().unwrap().cert[0].clone();
    assert_ne!(leaf(&first), leaf(&second));
}

async fn settle(outcome: Result<Report, KeeperError>, keeper: &mut Keeper) -> Report {
    match outcome {
        Ok(report) => report,
        Err(why) => {
            assert!(why.to_string().contains("409"), "{why}");
            keeper.tick().await.unwrap()
        }
    }
}

#[tokio::test]
async fn a_leaf_is_renewed_when_due_and_after_a_long_sleep() {
    clock!(CLOCK);
    let (client, shared) = cluster();
    let live = Arc::new(LiveCertificate::default());
    let mut keeper = Keeper::with_clock(client, NAMESPACE, Arc::clone(&live), now);
    keeper.tick().await.unwrap();
    let first = live.current().unwrap();
    CLOCK.fetch_add(4 * DAY, Ordering::SeqCst);
    keeper.tick().await.unwrap();
    assert!(Arc::ptr_eq(&first, &live.current().unwrap()), "not due yet");
    for sleep in [DAY, 30 * DAY] {
        let before = live.current().unwrap();
        CLOCK.fetch_add(sleep, Ordering::SeqCst);
        let report = keeper.tick().await.unwrap();
        assert!(report.ready);
        assert!(!Arc::ptr_eq(&before, &live.current().unwrap()));
        assert_eq!(report.leaf.unwrap().remaining(now()).as_secs(), 7 * DAY);
    }
    assert_eq!(
        shared.lock().unwrap().writes().len(),
        2,
        "a leaf's renewal writes nothing to the cluster"
    );
}

#[tokio::test]
async fn a_wiped_ca_bundle_is_repaired_at_the_next_look() {
    clock!(CLOCK);
    let (client, shared) = cluster();
    let live = Arc::new(LiveCertificate::default());
    let mut keeper = Keeper::with_clock(client, NAMESPACE, Arc::clone(&live), now);
    keeper.tick().await.unwrap();
    let (before, leaf) = (
        shared.lock().unwrap().ca_bundle().map(str::to_owned),
        live.current().unwrap(),
    );
    shared.lock().unwrap().wipe_ca_bundle();
    assert!(keeper.tick().await.unwrap().ready);
    assert_eq!(
        shared.lock().unwrap().ca_bundle().map(str::to_owned),
        before
    );
    assert!(
        Arc::ptr_eq(&leaf, &live.current().unwrap()),
        "the leaf was never at fault"
    );
}

#[tokio::test]
async fn a_renewed_authority_is_trusted_before_its_leaf_is_served() {
    clock!(CLOCK);
    let (client, shared) = cluster();
    let live = Arc::new(LiveCertificate::default());
    let mut keeper = Keeper::with_clock(client, NAMESPACE, Arc::clone(&live), now);
    keeper.tick().await.unwrap();
    let old = shared.lock().unwrap().ca_bundle().unwrap().len();
    CLOCK.fetch_add(AUTHORITY_LIFETIME.as_secs() / 3 * 2 - DAY, Ordering::SeqCst);
    keeper.tick().await.unwrap();
    let served = live.current().unwrap();
    CLOCK.fetch_add(DAY, Ordering::SeqCst);
    assert!(keeper.tick().await.unwrap().ready);
    assert!(
        shared.lock().unwrap().ca_bundle().unwrap().len() > old * 3 / 2,
        "both authorities are published"
    );
    assert!(
        Arc::ptr_eq(&served, &live.current().unwrap()),
        "the old leaf serves on"
    );
    assert!(keeper.tick().await.unwrap().ready);
    assert!(
        !Arc::ptr_eq(&served, &live.current().unwrap()),
        "one look later the new one does"
    );
}

#[tokio::test]
async fn a_deleted_secret_costs_no_look_without_a_trusted_leaf() {
    clock!(CLOCK);
    let (client, shared) = cluster();
    let live = Arc::new(LiveCertificate::default());
    let mut keeper = Keeper::with_clock(client, NAMESPACE, Arc::clone(&live), now);
    keeper.tick().await.unwrap();
    let served = live.current().unwrap();
    shared.lock().unwrap().secret = None;
    assert!(keeper.tick().await.unwrap().ready);
    assert!(
        !Arc::ptr_eq(&served, &live.current().unwrap()),
        "nobody trusts the old leaf, so it is swapped at once"
    );
}

#[tokio::test]
async fn faults_keep_what_was_served_and_say_what_is_missing() {
    clock!(CLOCK);
    let (client, shared) = cluster();
    let live = Arc::new(LiveCertificate::default());
    let mut keeper = Keeper::with_clock(client, NAMESPACE, Arc::clone(&live), now);
    keeper.tick().await.unwrap();
    let served = live.current().unwrap();
    let configuration = shared.lock().unwrap().configuration.take();
    let why = keeper.tick().await.unwrap_err().to_string();
    assert!(
        why.starts_with("cannot read MutatingWebhookConfiguration 00-mbcas: not found (404)"),
        "{why}"
    );
    assert!(Arc::ptr_eq(&served, &live.current().unwrap()));
    let mut configuration = configuration.unwrap();
    configuration["webhooks"].as_array_mut().unwrap().pop();
    shared.lock().unwrap().configuration = Some(configuration);
    let why = keeper.tick().await.unwrap_err().to_string();
    assert!(
        why.contains("has no webhook inject.mbcas.dev; install the chart again"),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_loop_retries_ever_later_until_ready_and_then_looks_every_period() {
    clock!(CLOCK);
    let (client, shared) = cluster();
    let configuration = shared.lock().unwrap().configuration.take();
    let keeper = Keeper::with_clock(client, NAMESPACE, Arc::new(LiveCertificate::default()), now);
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let start = tokio::time::Instant::now();
    let running = keeper.run(move |outcome| {
        sender
            .send((start.elapsed().as_secs(), outcome.is_ok()))
            .unwrap();
    });
    tokio::select! {
        never = running => match never {},
        () = async {
            for at in [0, 1, 3, 7, 15, 25, 35] {
                assert_eq!(seen.recv().await, Some((at, false)));
            }
            shared.lock().unwrap().configuration = configuration;
            for at in [45, 55, 65] {
                assert_eq!(seen.recv().await, Some((at, true)));
            }
            shared.lock().unwrap().fail_next = Some(500);
            for expected in [(75, false), (76, true), (86, true)] {
                assert_eq!(seen.recv().await, Some(expected));
            }
        } => {}
    }
}
