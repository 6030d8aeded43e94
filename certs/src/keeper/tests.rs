use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::time::advance;

use super::*;
use crate::authority::Authority;
use crate::fake::{Cluster, ENTRIES, NAMESPACE, Shared, client, cluster};
use crate::schedule::{AUTHORITY_LIFETIME, PUBLISHED_FOR};

pub(super) const DAY: u64 = 86_400;
pub(super) const START: u64 = 1_800_000_000;

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

/// One replica of a fresh install, after its first look.
pub(super) async fn replica(clock: fn() -> SystemTime) -> (Keeper, Shared, Arc<LiveCertificate>) {
    let (client, shared) = cluster(clock);
    let live = Arc::new(LiveCertificate::default());
    let mut keeper = Keeper::new(client, NAMESPACE, Arc::clone(&live));
    assert!(live.current().is_none());
    let report = keeper.look().await;
    assert!(report.ready && report.troubles.is_empty(), "{report:?}");
    (keeper, shared, live)
}

/// What the entries carry, in their order.
pub(super) fn carried(shared: &Shared) -> [Bundle; 3] {
    let cluster = shared.lock().unwrap();
    ENTRIES.map(|(_, entry)| cluster.carried(entry))
}

#[tokio::test]
async fn a_fresh_install_is_ready_after_one_look_and_then_quiet() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let report = keeper.look().await;
    assert_eq!(report.leaf.unwrap().remaining(now()).as_secs(), 7 * DAY);
    assert!(live.current().is_some());
    let bundles = carried(&shared);
    assert!(
        bundles
            .iter()
            .all(|bundle| bundle.len() == 1 && *bundle == bundles[0])
    );
    assert_eq!(
        shared.lock().unwrap().writes().len(),
        3,
        "Secret and both configurations once, then nothing"
    );
    assert_eq!(report.events, []);
}

#[tokio::test]
async fn replicas_share_the_authority_and_not_the_leaf() {
    clock!(CLOCK);
    let (one, shared) = cluster(now);
    let lives = [(); 2].map(|()| Arc::new(LiveCertificate::default()));
    let mut a = Keeper::new(one, NAMESPACE, Arc::clone(&lives[0]));
    let mut b = Keeper::new(client(&shared), NAMESPACE, Arc::clone(&lives[1]));
    tokio::join!(a.look(), b.look());
    // Both started at once: who lost a race for a caBundle mends that at its next look.
    let (x, y) = tokio::join!(a.look(), b.look());
    assert!(x.ready && y.ready && x.troubles.is_empty() && y.troubles.is_empty());
    assert_eq!(x.authority, y.authority);
    let [x, y] = lives.map(|live| live.current().unwrap().cert[0].clone());
    assert_ne!(x, y);
}

#[tokio::test]
async fn a_leaf_is_renewed_when_due_and_after_a_long_sleep() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let first = live.current().unwrap();
    CLOCK.fetch_add(4 * DAY, Ordering::SeqCst);
    keeper.look().await;
    assert!(Arc::ptr_eq(&first, &live.current().unwrap()), "not due yet");
    for sleep in [DAY, 30 * DAY] {
        let before = live.current().unwrap();
        CLOCK.fetch_add(sleep, Ordering::SeqCst);
        let report = keeper.look().await;
        assert_eq!((report.ready, report.events), (true, vec![Event::Served]));
        assert!(!Arc::ptr_eq(&before, &live.current().unwrap()));
        assert_eq!(report.leaf.unwrap().remaining(now()).as_secs(), 7 * DAY);
    }
    assert_eq!(
        shared.lock().unwrap().writes().len(),
        3,
        "a leaf's renewal writes nothing to the cluster"
    );
}

#[tokio::test]
async fn leaves_live_as_long_as_they_are_told_and_never_longer_than_their_authority_is_trusted() {
    clock!(CLOCK);
    for (told, lives) in [(120, 120), (9 * DAY, 7 * DAY)] {
        let (client, _) = cluster(now);
        let keeper = Keeper::new(client, NAMESPACE, Arc::default());
        let mut keeper = keeper.with_leaves_of(Duration::from_secs(told));
        assert_eq!(
            keeper.look().await.leaf.unwrap().remaining(now()).as_secs(),
            lives
        );
        for (later, events) in [(lives / 3 * 2 - 1, vec![]), (1, vec![Event::Served])] {
            CLOCK.fetch_add(later, Ordering::SeqCst);
            let report = keeper.look().await;
            assert_eq!((report.ready, report.events), (true, events));
        }
    }
}

#[tokio::test]
async fn a_wiped_ca_bundle_is_repaired_at_the_next_look() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let (before, leaf) = (carried(&shared), live.current().unwrap());
    for name in ["00-mbcas", "mbcas"] {
        shared.lock().unwrap().wipe(name);
        let report = keeper.look().await;
        assert_eq!(
            (report.ready, report.events),
            (true, vec![Event::Published])
        );
        assert_eq!(carried(&shared), before);
    }
    assert!(
        Arc::ptr_eq(&leaf, &live.current().unwrap()),
        "the leaf was never at fault"
    );
}

#[tokio::test]
async fn who_read_a_configuration_before_another_wrote_it_does_not_undo_that() {
    clock!(CLOCK);
    let (mut keeper, shared, _) = replica(now).await;
    shared.lock().unwrap().wipe("00-mbcas");
    shared.lock().unwrap().before_write = Some(|cluster: &mut Cluster| {
        cluster.change("00-mbcas", |_| {});
    });
    let report = keeper.look().await;
    assert_eq!((report.events, report.ready), (vec![], false));
    assert_eq!(keeper.look().await.events, [Event::Published]);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_authority_is_trusted_for_a_while_before_anything_it_signed_is_served() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let served = live.current().unwrap();
    // The leaf stays as it is through all of it: only a leap forward makes the authority due.
    shared.lock().unwrap().ask_for_rotation();
    let report = keeper.look().await;
    assert_eq!(
        report.events,
        [Event::Announced, Event::Published, Event::Published]
    );
    let both = carried(&shared);
    assert!(both.iter().all(|bundle| bundle.len() == 2));
    for second in 0..PUBLISHED_FOR.as_secs() {
        assert_eq!(keeper.look().await.events, [], "second {second}");
        advance(Duration::from_secs(1)).await;
    }
    assert!(Arc::ptr_eq(&served, &live.current().unwrap()));
    let report = keeper.look().await;
    assert_eq!(report.events, [Event::Switched, Event::Served]);
    assert!(report.ready);
    assert_eq!(
        carried(&shared),
        both,
        "the switch itself changes no caBundle"
    );
    CLOCK.fetch_add(7 * DAY + 301, Ordering::SeqCst);
    let report = keeper.look().await;
    assert_eq!(
        report.events,
        [
            Event::Retired,
            Event::Published,
            Event::Published,
            Event::Served
        ]
    );
    assert!(carried(&shared).iter().all(|bundle| bundle.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_carries_a_rotation_on_and_no_leap_of_the_clock_hurries_it() {
    clock!(CLOCK);
    let (mut first, shared, _) = replica(now).await;
    CLOCK.fetch_add(AUTHORITY_LIFETIME.as_secs() / 3 * 2, Ordering::SeqCst);
    first.look().await;
    drop(first);
    let live = Arc::new(LiveCertificate::default());
    let mut second = Keeper::new(client(&shared), NAMESPACE, live);
    assert!(second.look().await.ready);
    advance(PUBLISHED_FOR / 2).await;
    CLOCK.fetch_add(DAY, Ordering::SeqCst);
    assert_eq!(
        second.look().await.events,
        [],
        "half the time by its own clock"
    );
    advance(PUBLISHED_FOR / 2).await;
    let report = second.look().await;
    assert_eq!(report.events, [Event::Switched, Event::Served]);
    assert!(report.ready);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_waits_for_an_entry_that_does_not_keep_the_bundle_but_a_leaf_does_not() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    shared.lock().unwrap().ask_for_rotation();
    let mut events = Vec::new();
    for _ in 0..300 {
        shared.lock().unwrap().wipe("mbcas");
        events.extend(keeper.look().await.events);
        advance(Duration::from_secs(1)).await;
    }
    assert!(events.contains(&Event::Announced) && !events.contains(&Event::Switched));
    // Five at once, then one a minute; and the other configuration was written once.
    let published = events
        .iter()
        .filter(|event| **event == Event::Published)
        .count();
    assert!((9..=11).contains(&published), "{published}");
    keeper.look().await;
    let before = live.current().unwrap();
    CLOCK.fetch_add(5 * DAY, Ordering::SeqCst);
    shared.lock().unwrap().wipe("mbcas");
    let report = keeper.look().await;
    assert_eq!((report.ready, report.events), (true, vec![Event::Served]));
    assert!(!Arc::ptr_eq(&before, &live.current().unwrap()));
    let told = report.troubles.join("\n");
    assert!(
        told.contains(
            "somebody else keeps overwriting the caBundle of ValidatingWebhookConfiguration mbcas"
        ),
        "{told}"
    );
}

#[tokio::test]
async fn a_deleted_secret_is_a_clean_break_within_one_look() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let (served, before) = (live.current().unwrap(), carried(&shared));
    shared.lock().unwrap().secret = None;
    assert!(keeper.look().await.ready);
    assert!(
        !Arc::ptr_eq(&served, &live.current().unwrap()),
        "nobody trusts the old leaf, so it is swapped at once"
    );
    assert!(!carried(&shared)[0].contains(&before[0]));
}

#[tokio::test(start_paused = true)]
async fn whom_the_mode_of_before_trusted_is_trusted_until_its_replicas_are_gone() {
    clock!(CLOCK);
    let (client, shared) = cluster(now);
    let other = |shared: &Shared, entry| {
        let other = Authority::generate(now()).unwrap();
        let bundle = Bundle::read(other.certificate_pem());
        shared.lock().unwrap().trust(entry, &bundle);
        bundle
    };
    let before = other(&shared, "inject.mbcas.dev");
    let mut keeper = Keeper::new(client, NAMESPACE, Arc::default());
    let report = keeper.look().await;
    assert!(report.ready && report.troubles.is_empty(), "{report:?}");
    let [inject, workloads, _] = carried(&shared);
    assert!(inject.contains(&before) && inject.len() == 2 && workloads.len() == 1);
    // Who comes later is a stranger.
    let stranger = other(&shared, "workloads.mbcas.dev");
    let later = other(&shared, "inject.mbcas.dev");
    keeper.look().await;
    let [inject, workloads, _] = carried(&shared);
    assert!(!workloads.contains(&stranger) && !inject.contains(&later));
    assert!(
        !inject.contains(&before),
        "and what was taken away stays away"
    );
}

#[tokio::test(start_paused = true)]
async fn the_mode_of_before_is_forgotten_after_the_handover() {
    clock!(CLOCK);
    let (client, shared) = cluster(now);
    let before = Authority::generate(now()).unwrap();
    let before = Bundle::read(before.certificate_pem());
    for (_, entry) in ENTRIES {
        shared.lock().unwrap().trust(entry, &before);
    }
    let mut keeper = Keeper::new(client, NAMESPACE, Arc::default());
    for _ in 0..2 {
        keeper.look().await;
        assert!(
            carried(&shared)
                .iter()
                .all(|bundle| bundle.contains(&before))
        );
        advance(HANDOVER / 2).await;
    }
    assert_eq!(keeper.look().await.events, [Event::Published; 2]);
    assert!(carried(&shared).iter().all(|bundle| bundle.len() == 1));
    assert!(!carried(&shared)[0].contains(&before));
}

#[tokio::test]
async fn a_replica_that_lost_its_role_to_another_mode_serves_on() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let served = live.current().unwrap();
    shared.lock().unwrap().forbidden = Some("GET /apis/admissionregistration.k8s.io/");
    let report = keeper.look().await;
    assert!(report.ready, "{report:?}");
    assert_eq!(report.troubles.len(), 2);
    assert!(Arc::ptr_eq(&served, &live.current().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn an_authority_whose_key_was_lost_is_replaced_without_a_gap() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let served = live.current().unwrap();
    shared.lock().unwrap().secret.as_mut().unwrap()["data"]["ca.key"] = json!("bG9zdA==");
    let report = keeper.look().await;
    assert_eq!(
        (report.ready, report.events.first()),
        (true, Some(&Event::Replaced))
    );
    keeper.look().await;
    for _ in 0..2 {
        keeper.look().await;
        assert!(
            Arc::ptr_eq(&served, &live.current().unwrap()),
            "trusted on, so served on"
        );
        advance(PUBLISHED_FOR / 2).await;
    }
    assert_eq!(keeper.look().await.events, [Event::Served]);
}

#[tokio::test]
async fn what_is_missing_or_forbidden_holds_nothing_else_up() {
    clock!(CLOCK);
    // The configuration that is gone, and the entry that readiness then goes by.
    for (gone, stays) in [
        ("mbcas", "inject.mbcas.dev"),
        ("00-mbcas", "audit.mbcas.dev"),
    ] {
        let (client, shared) = cluster(now);
        let configuration = shared.lock().unwrap().configurations.remove(gone);
        let mut keeper = Keeper::new(client, NAMESPACE, Arc::default());
        let report = keeper.look().await;
        assert!(report.ready, "{report:?}");
        assert!(!shared.lock().unwrap().carried(stays).is_empty());
        let told = report.troubles.join("\n");
        assert!(
            told.contains(&format!("WebhookConfiguration {gone} has no webhook ")),
            "{told}"
        );
        assert!(
            told.contains("install the chart again (helm upgrade)"),
            "{told}"
        );
        let configuration = configuration.unwrap();
        shared
            .lock()
            .unwrap()
            .configurations
            .insert(gone, configuration);
        assert_eq!(keeper.look().await.events, [Event::Published]);
    }
    // One entry of two.
    let (one, shared) = cluster(now);
    shared.lock().unwrap().change("mbcas", |configuration| {
        configuration["webhooks"].as_array_mut().unwrap().pop();
    });
    let mut keeper = Keeper::new(one, NAMESPACE, Arc::default());
    assert!(keeper.look().await.ready);
    assert!(
        !shared
            .lock()
            .unwrap()
            .carried("workloads.mbcas.dev")
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_of_the_time_before_the_second_configuration_holds_no_rotation_up() {
    clock!(CLOCK);
    let (client, shared) = cluster(now);
    shared.lock().unwrap().forbidden =
        Some("GET /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations");
    let mut keeper = Keeper::new(client, NAMESPACE, Arc::default());
    let report = keeper.look().await;
    assert!(report.ready && report.troubles[0].contains("the webhook's ClusterRole must allow it"));
    shared.lock().unwrap().ask_for_rotation();
    let mut events = Vec::new();
    for _ in 0..4 {
        events.extend(keeper.look().await.events);
        advance(PUBLISHED_FOR / 2).await;
    }
    assert_eq!(
        events,
        [
            Event::Announced,
            Event::Published,
            Event::Switched,
            Event::Served
        ]
    );
}

#[tokio::test]
async fn without_any_entry_a_replica_is_not_ready_but_serves_on() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let served = live.current().unwrap();
    shared.lock().unwrap().configurations.clear();
    let report = keeper.look().await;
    assert_eq!((report.ready, report.troubles.len()), (false, 3));
    assert!(Arc::ptr_eq(&served, &live.current().unwrap()));
}

#[tokio::test]
async fn while_the_api_server_is_away_leaves_are_renewed_and_the_replica_stays_ready() {
    clock!(CLOCK);
    let (mut keeper, shared, live) = replica(now).await;
    let served = live.current().unwrap();
    shared.lock().unwrap().forbidden = Some("GET /api/");
    shared.lock().unwrap().fail_next = Some(500);
    CLOCK.fetch_add(5 * DAY, Ordering::SeqCst);
    let report = keeper.look().await;
    assert_eq!((report.ready, report.events), (true, vec![Event::Served]));
    assert!(!Arc::ptr_eq(&served, &live.current().unwrap()));
    assert_eq!(report.troubles.len(), 2);
    assert!(
        report.troubles[0]
            .starts_with("cannot read MutatingWebhookConfiguration 00-mbcas: injected fault (500)"),
        "{:?}",
        report.troubles
    );
}
