use super::*;
use crate::fake::{Clients, FakeApi, Shared};

const NAMESPACE: &str = "mbcas-system";

fn candidate(api: &Shared, name: &str) -> (Candidate, Leader) {
    let client = api.client();
    let leases = Api::namespaced(client.clone(), NAMESPACE);
    let deployments = Api::namespaced(client, NAMESPACE);
    Candidate::new(leases, deployments, name.to_owned())
}

async fn advance(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_one_creates_the_lease_and_leads() {
    let api = FakeApi::shared();
    let (mut first, leader) = candidate(&api, "a");
    assert_eq!(leader.epoch(), None);
    first.round().await.unwrap();
    assert_eq!(leader.epoch(), Some(0));
    assert_eq!(api.lock().unwrap().lease_holder().as_deref(), Some("a"));
    assert_eq!(
        api.lock().unwrap().lease_owner().as_deref(),
        Some(CONTROLLER_DEPLOYMENT)
    );
}

#[tokio::test(start_paused = true)]
async fn the_second_one_waits_for_the_whole_duration_by_its_own_clock() {
    let api = FakeApi::shared();
    let (mut first, _a) = candidate(&api, "a");
    let (mut second, leader) = candidate(&api, "b");
    first.round().await.unwrap();
    for _ in 0..7 {
        second.round().await.unwrap();
        assert_eq!(leader.epoch(), None);
        advance(2).await;
    }
    second.round().await.unwrap(); // 14 s after it first saw the record
    assert_eq!(leader.epoch(), None);
    advance(2).await;
    second.round().await.unwrap();
    assert_eq!(leader.epoch(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_starts_the_wait_anew() {
    let api = FakeApi::shared();
    let (mut first, _a) = candidate(&api, "a");
    let (mut second, leader) = candidate(&api, "b");
    for _ in 0..40 {
        first.round().await.unwrap();
        second.round().await.unwrap();
        assert_eq!(leader.epoch(), None);
        advance(2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_stops_before_another_can_start() {
    let api = FakeApi::shared();
    let (mut first, old) = candidate(&api, "a");
    let (mut second, new) = candidate(&api, "b");
    first.round().await.unwrap();
    // "a" is cut off from here on. At no moment may both write.
    for _ in 0..40 {
        second.round().await.unwrap();
        assert!(old.epoch().is_none() || new.epoch().is_none());
        advance(1).await;
    }
    assert_eq!((old.epoch(), new.epoch()), (None, Some(1)));
    // Back again, it sees that it has lost.
    first.round().await.unwrap();
    assert_eq!(old.epoch(), None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_given_back_is_taken_at_once() {
    let api = FakeApi::shared();
    let (mut first, _a) = candidate(&api, "a");
    let (mut second, leader) = candidate(&api, "b");
    first.round().await.unwrap();
    second.round().await.unwrap();
    first.release().await.unwrap();
    second.round().await.unwrap();
    assert_eq!(leader.epoch(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn of_two_takers_one_is_refused() {
    let api = FakeApi::shared();
    let (mut first, _a) = candidate(&api, "a");
    let (mut second, b) = candidate(&api, "b");
    let (mut third, c) = candidate(&api, "c");
    first.round().await.unwrap();
    second.round().await.unwrap();
    third.round().await.unwrap();
    advance(16).await;
    let stale = second.leases.get(CONTROLLER_LEASE).await.unwrap();
    third.round().await.unwrap();
    let spec = stale.spec.clone().unwrap();
    second
        .hold(stale, &spec, true, Instant::now())
        .await
        .unwrap_err();
    assert_eq!((b.epoch(), c.epoch()), (None, Some(1)));
}
