use std::time::Duration;

use kube::api::Api;
use mbcas_api::names::CONTROLLER_DEPLOYMENT;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fake::{Clients, FakeApi, Shared, paused_clock};

const NAMESPACE: &str = "mbcas-system";

fn candidate(api: &Shared, name: &str) -> (Candidate, Leader) {
    let client = api.client();
    let leases = Api::namespaced(client.clone(), NAMESPACE);
    let deployments = Api::namespaced(client, NAMESPACE);
    Candidate::new(leases, deployments, name, paused_clock)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets `candidate` run by itself; cancelling tells it to end.
fn spawn(candidate: Candidate) -> CancellationToken {
    let token = CancellationToken::new();
    tokio::spawn(candidate.run(token.clone()));
    token
}

#[tokio::test(start_paused = true)]
async fn the_first_one_creates_the_lease_and_leads_when_it_has_held_it_for_a_while() {
    let api = FakeApi::shared();
    let (mut first, leader) = candidate(&api, "a");
    first.live(seconds(14)).await;
    assert_eq!(leader.epoch(), None);
    assert_eq!(api.lock().unwrap().lease_holder().as_deref(), Some("a"));
    assert_eq!(
        api.lock().unwrap().lease_owner().as_deref(),
        Some(CONTROLLER_DEPLOYMENT)
    );
    first.live(seconds(2)).await;
    assert_eq!(leader.epoch(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_what_client_go_writes() {
    let api = FakeApi::shared();
    let (mut first, _leader) = candidate(&api, "a");
    first.lead().await;
    let held = api.lock().unwrap().lease_spec();
    assert_eq!(held["holderIdentity"], "a");
    assert_eq!(held["leaseDurationSeconds"], 15);
    assert_eq!(held["leaseTransitions"], 0);
    assert!(
        held["acquireTime"].as_str() < held["renewTime"].as_str(),
        "{held}"
    );
    let token = CancellationToken::new();
    token.cancel();
    first.run(token).await.unwrap();
    let released = api.lock().unwrap().lease_spec();
    assert_eq!(released["holderIdentity"], "");
    assert_eq!(released["leaseDurationSeconds"], 1);
    assert_eq!(released["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_renews_is_not_followed() {
    let api = FakeApi::shared();
    let (mut first, a) = candidate(&api, "a");
    first.lead().await;
    spawn(first);
    let (mut second, b) = candidate(&api, "b");
    for _ in 0..60 {
        second.live(seconds(1)).await;
        assert_eq!((a.epoch(), b.epoch()), (Some(0), None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_within_seventeen_seconds_and_never_met() {
    let api = FakeApi::shared();
    let (mut first, old) = candidate(&api, "a");
    let (mut second, new) = candidate(&api, "b");
    first.lead().await;
    for passed in 0..170 {
        second.live(Duration::from_millis(100)).await;
        assert!(old.epoch().is_none() || new.epoch().is_none());
        assert!(
            passed >= 149 || new.epoch().is_none(),
            "taken after {passed}00 ms"
        );
    }
    assert_eq!((old.epoch(), new.epoch()), (None, Some(1)));
    // Stopped all the while and back again, it sees that it has lost.
    first.live(seconds(1)).await;
    assert_eq!(old.epoch(), None);
    assert_eq!(new.epoch(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_within_two_seconds() {
    let api = FakeApi::shared();
    let (mut first, a) = candidate(&api, "a");
    first.lead().await;
    let first = spawn(first);
    let (mut second, b) = candidate(&api, "b");
    second.live(seconds(3)).await;
    first.cancel();
    second.live(seconds(2)).await;
    assert_eq!((a.epoch(), b.epoch()), (None, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_ends_the_term_and_begins_another_only_after_a_whole_lease() {
    let api = FakeApi::shared();
    let (mut first, leader) = candidate(&api, "a");
    first.lead().await;
    api.lock().unwrap().delete_lease();
    first.live(seconds(3)).await;
    assert_eq!(leader.epoch(), None);
    assert_eq!(api.lock().unwrap().lease_holder().as_deref(), Some("a"));
    first.live(seconds(15)).await;
    assert_eq!(leader.epoch(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_went_with_its_deployment_is_not_left_behind() {
    let api = FakeApi::shared();
    let (mut first, leader) = candidate(&api, "a");
    first.lead().await;
    api.lock().unwrap().deployment = None;
    api.lock().unwrap().delete_lease();
    first.live(seconds(20)).await;
    assert_eq!(leader.epoch(), None);
    assert_eq!(api.lock().unwrap().lease_holder(), None);
}

#[tokio::test(start_paused = true)]
async fn whom_somebody_else_names_as_the_holder_has_to_wait_like_anybody() {
    let api = FakeApi::shared();
    let (mut first, a) = candidate(&api, "a");
    first.lead().await;
    let (mut second, b) = candidate(&api, "b");
    second.live(seconds(1)).await;
    let named = |spec: &mut serde_json::Value| spec["holderIdentity"] = json!("b");
    api.lock().unwrap().edit_lease(named);
    second.live(seconds(14)).await;
    assert_eq!(b.epoch(), None);
    second.live(seconds(3)).await;
    assert_eq!((a.epoch(), b.epoch()), (None, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_term_wakes_who_waits_for_it() {
    let api = FakeApi::shared();
    let (mut first, mut leader) = candidate(&api, "a");
    first.lead().await;
    leader.turned().await;
    let first = spawn(first);
    first.cancel();
    leader.turned().await;
    assert_eq!(leader.epoch(), None);
}
