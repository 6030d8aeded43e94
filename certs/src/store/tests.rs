use std::time::Duration;

use serde_json::json;

use super::*;
use crate::fake::{Cluster, NAMESPACE, cluster};
use crate::schedule::AUTHORITY_LIFETIME;

#[tokio::test]
async fn the_first_replica_creates_and_the_second_adopts() {
    let (client, shared) = cluster();
    let now = SystemTime::now();
    let first = CaStore::new(client.clone(), NAMESPACE)
        .ensure(now)
        .await
        .unwrap();
    let second = CaStore::new(client, NAMESPACE).ensure(now).await.unwrap();
    assert_eq!(
        first.authority.certificate(),
        second.authority.certificate()
    );
    assert_eq!(first.bundle, second.bundle);
    let mut cluster = shared.lock().unwrap();
    assert_eq!(
        cluster.writes(),
        ["POST /api/v1/namespaces/mbcas-system/secrets"]
    );
    let secret = cluster.secret.clone().unwrap();
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    assert_eq!(
        secret["metadata"]["ownerReferences"][0]["kind"],
        "Deployment"
    );
    assert_eq!(
        secret["metadata"]["ownerReferences"][0].get("blockOwnerDeletion"),
        None
    );
    assert_eq!(secret["type"], "Opaque");
}

#[tokio::test]
async fn who_loses_the_race_to_create_adopts_the_winners_authority() {
    let (client, shared) = cluster();
    shared.lock().unwrap().before_write = Some(|cluster: &mut Cluster| {
        let (_, data) = fresh("", SystemTime::now()).unwrap();
        let owners = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "mbcas-webhook", "uid": "uid-1"}]);
        cluster.secret = Some(
            json!({"metadata": {"name": CA_SECRET, "resourceVersion": "7", "ownerReferences": owners}, "data": data}),
        );
    });
    let held = CaStore::new(client, NAMESPACE)
        .ensure(SystemTime::now())
        .await
        .unwrap();
    let secret: Secret =
        serde_json::from_value(shared.lock().unwrap().secret.clone().unwrap()).unwrap();
    assert_eq!(text(&secret, CERTIFICATE_KEY), held.bundle.pem());
}

#[tokio::test]
async fn a_lost_race_to_renew_reads_again() {
    let (client, shared) = cluster();
    let store = CaStore::new(client, NAMESPACE);
    let now = SystemTime::now();
    store.ensure(now).await.unwrap();
    shared.lock().unwrap().writes();
    shared.lock().unwrap().before_write = Some(|cluster: &mut Cluster| {
        let mut secret = cluster.secret.clone().unwrap();
        secret["metadata"]["resourceVersion"] = json!("99");
        cluster.secret = Some(secret);
    });
    let late = now + AUTHORITY_LIFETIME / 4 * 3;
    let held = store.ensure(late).await.unwrap();
    assert_eq!(
        shared.lock().unwrap().writes().len(),
        2,
        "one PUT lost, one won"
    );
    assert_eq!(held.bundle.len(), 2, "the old authority is trusted on");
    assert!(!held.authority.validity().is_due(late));
    let again = store.ensure(late).await.unwrap();
    assert_eq!(again.authority.certificate(), held.authority.certificate());
    assert_eq!(again.bundle, held.bundle);
}

#[tokio::test]
async fn an_empty_or_broken_secret_is_filled_and_keeps_what_others_put_there() {
    for data in [
        json!(null),
        json!({}),
        json!({"ca.crt": "Zm9v", "ca.key": "/w=="}),
        json!({"note": "aGVsbG8="}),
    ] {
        let (client, shared) = cluster();
        let note = data.get("note").cloned();
        shared.lock().unwrap().secret =
            Some(json!({"metadata": {"name": CA_SECRET, "resourceVersion": "7"}, "data": data}));
        let held = CaStore::new(client, NAMESPACE)
            .ensure(SystemTime::now())
            .await
            .unwrap();
        let secret = shared.lock().unwrap().secret.clone().unwrap();
        let parsed: Secret = serde_json::from_value(secret.clone()).unwrap();
        assert_eq!(text(&parsed, CERTIFICATE_KEY), held.bundle.pem());
        assert_eq!(text(&parsed, PRIVATE_KEY), held.authority.key_pem());
        assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "uid-1");
        assert_eq!(secret["data"].get("note").cloned(), note);
    }
}

#[tokio::test]
async fn a_secret_of_an_earlier_install_is_adopted_and_its_authority_kept() {
    let (client, shared) = cluster();
    let store = CaStore::new(client, NAMESPACE);
    let now = SystemTime::now();
    let before = store.ensure(now).await.unwrap();
    shared.lock().unwrap().deployment_uid = "uid-2";
    let after = store.ensure(now).await.unwrap();
    assert_eq!(
        before.authority.certificate(),
        after.authority.certificate()
    );
    let secret = shared.lock().unwrap().secret.clone().unwrap();
    let owners = secret["metadata"]["ownerReferences"].as_array().unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0]["uid"], "uid-2");
}

#[tokio::test]
async fn a_refusal_names_the_object_and_the_mend() {
    let (client, shared) = cluster();
    shared.lock().unwrap().fail_next = Some(403);
    let why = CaStore::new(client, NAMESPACE)
        .ensure(SystemTime::now())
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        why,
        "cannot read Deployment mbcas-system/mbcas-webhook: injected fault (403); \
         the webhook's Role must allow it and the API server must be reachable"
    );
}

#[tokio::test]
async fn a_secret_that_never_holds_still_is_given_up_for_now() {
    fn meddle(cluster: &mut Cluster) {
        cluster.version += 1;
        let version = json!(cluster.version.to_string());
        cluster.secret = Some(json!({"metadata": {"name": CA_SECRET, "resourceVersion": version}}));
        cluster.before_write = Some(meddle);
    }
    let (client, shared) = cluster();
    shared.lock().unwrap().before_write = Some(meddle);
    let outcome = CaStore::new(client, NAMESPACE)
        .ensure(SystemTime::now() + Duration::from_secs(1))
        .await;
    assert!(
        matches!(outcome, Err(StoreError::Contended(_))),
        "{outcome:?}"
    );
}
