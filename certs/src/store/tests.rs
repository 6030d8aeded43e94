use std::time::Duration;

use k8s_openapi::ByteString;
use serde_json::json;

use super::*;
use crate::fake::{Cluster, NAMESPACE, cluster};
use crate::rotation::Data;
use crate::schedule::AUTHORITY_LIFETIME;

fn data(cluster: &Cluster) -> Data {
    let secret: Secret = serde_json::from_value(cluster.secret.clone().unwrap()).unwrap();
    secret.data.unwrap()
}

#[tokio::test]
async fn the_first_replica_creates_and_the_second_adopts() {
    let (client, shared) = cluster(SystemTime::now);
    let now = SystemTime::now();
    let store = CaStore::new(client.clone(), NAMESPACE);
    let (first, event) = store.ensure(|| now, None).await.unwrap();
    assert_eq!(event, Some(Event::Created));
    let store = CaStore::new(client, NAMESPACE);
    let (second, event) = store.ensure(|| now, None).await.unwrap();
    assert_eq!(event, None);
    assert_eq!(first.bundle(now), second.bundle(now));
    let mut cluster = shared.lock().unwrap();
    assert_eq!(
        cluster.writes(),
        ["POST /api/v1/namespaces/mbcas-system/secrets"]
    );
    let secret = cluster.secret.clone().unwrap();
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["uid"], &owner["kind"]),
        (&json!("uid-1"), &json!("Deployment"))
    );
    assert_eq!(owner.get("blockOwnerDeletion"), None);
    assert_eq!(secret["type"], "Opaque");
}

#[tokio::test]
async fn who_loses_the_race_to_create_adopts_the_winners_authority() {
    let (client, shared) = cluster(SystemTime::now);
    shared.lock().unwrap().before_write = Some(|cluster: &mut Cluster| {
        let known = Known {
            now: SystemTime::now(),
            settled: None,
            asked: false,
        };
        let mut data = Data::new();
        Authorities::advance(&data, known)
            .unwrap()
            .0
            .write(&mut data);
        let owners = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "mbcas-webhook", "uid": "uid-1"}]);
        cluster.secret = Some(
            json!({"metadata": {"name": CA_SECRET, "resourceVersion": "7", "ownerReferences": owners}, "data": data}),
        );
    });
    let store = CaStore::new(client, NAMESPACE);
    let (held, event) = store.ensure(SystemTime::now, None).await.unwrap();
    assert_eq!(event, None, "the winner's step is not ours");
    let key = data(&shared.lock().unwrap())["ca.key"].clone();
    assert_eq!(key, ByteString(held.signing().key_pem().into_bytes()));
}

#[tokio::test]
async fn a_lost_race_to_rotate_reads_again_and_nobody_announces_twice() {
    let (client, shared) = cluster(SystemTime::now);
    let store = CaStore::new(client, NAMESPACE);
    let now = SystemTime::now();
    store.ensure(|| now, None).await.unwrap();
    shared.lock().unwrap().writes();
    shared.lock().unwrap().before_write = Some(|cluster: &mut Cluster| {
        let mut secret = cluster.secret.clone().unwrap();
        secret["metadata"]["resourceVersion"] = json!("99");
        cluster.secret = Some(secret);
    });
    let late = now + AUTHORITY_LIFETIME / 4 * 3;
    let (held, event) = store.ensure(|| late, None).await.unwrap();
    assert_eq!(event, Some(Event::Announced));
    assert_eq!(
        shared.lock().unwrap().writes().len(),
        2,
        "one PUT lost, one won"
    );
    assert_eq!(held.bundle(late).len(), 2);
    let (again, event) = store.ensure(|| late, None).await.unwrap();
    assert_eq!((again.bundle(late), event), (held.bundle(late), None));
}

#[tokio::test]
async fn an_empty_or_broken_secret_is_filled_and_keeps_what_others_put_there() {
    for data in [
        json!(null),
        json!({}),
        json!({"ca.crt": "Zm9v", "ca.key": "/w=="}),
        json!({"note": "aGVsbG8="}),
    ] {
        let (client, shared) = cluster(SystemTime::now);
        let note = data.get("note").cloned();
        shared.lock().unwrap().secret =
            Some(json!({"metadata": {"name": CA_SECRET, "resourceVersion": "7"}, "data": data}));
        let store = CaStore::new(client, NAMESPACE);
        let now = SystemTime::now();
        let (held, _) = store.ensure(|| now, None).await.unwrap();
        let (again, event) = store.ensure(|| now, None).await.unwrap();
        assert_eq!((again.bundle(now), event), (held.bundle(now), None));
        let secret = shared.lock().unwrap().secret.clone().unwrap();
        assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "uid-1");
        assert_eq!(secret["data"].get("note").cloned(), note);
    }
}

#[tokio::test]
async fn a_secret_of_an_earlier_install_is_adopted_and_its_authority_kept() {
    let (client, shared) = cluster(SystemTime::now);
    let store = CaStore::new(client, NAMESPACE);
    let now = SystemTime::now();
    let (before, _) = store.ensure(|| now, None).await.unwrap();
    shared.lock().unwrap().deployment_uid = "uid-2";
    let (after, event) = store.ensure(|| now, None).await.unwrap();
    assert_eq!((after.bundle(now), event), (before.bundle(now), None));
    let secret = shared.lock().unwrap().secret.clone().unwrap();
    let owners = secret["metadata"]["ownerReferences"].as_array().unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0]["uid"], "uid-2");
}

#[tokio::test]
async fn a_rotation_that_was_asked_for_begins_once() {
    let (client, shared) = cluster(SystemTime::now);
    let store = CaStore::new(client, NAMESPACE);
    let now = SystemTime::now();
    store.ensure(|| now, None).await.unwrap();
    shared.lock().unwrap().ask_for_rotation();
    let (held, event) = store.ensure(|| now, None).await.unwrap();
    assert_eq!(event, Some(Event::Announced));
    let bundle = held.bundle(now);
    let (_, event) = store.ensure(|| now, Some(&bundle)).await.unwrap();
    assert_eq!(event, Some(Event::Switched));
    let (_, event) = store.ensure(|| now, Some(&bundle)).await.unwrap();
    assert_eq!(event, None);
    let secret = shared.lock().unwrap().secret.clone().unwrap();
    assert_eq!(secret["metadata"]["annotations"], json!({}));
}

#[tokio::test]
async fn a_refusal_names_the_object_and_the_mend() {
    let (client, shared) = cluster(SystemTime::now);
    let store = CaStore::new(client, NAMESPACE);
    for (call, said) in [
        (
            "GET /apis/apps",
            "cannot read Deployment mbcas-system/mbcas-webhook",
        ),
        (
            "GET /api/v1",
            "cannot read Secret mbcas-system/mbcas-webhook-ca",
        ),
        ("POST", "cannot create Secret mbcas-system/mbcas-webhook-ca"),
    ] {
        shared.lock().unwrap().forbidden = Some(call);
        let why = store.ensure(SystemTime::now, None).await.unwrap_err();
        assert_eq!(
            why.to_string(),
            format!(
                "{said}: not allowed (403); the webhook's Role must allow it and the API server must be reachable"
            )
        );
    }
}

#[tokio::test]
async fn a_secret_that_never_holds_still_is_given_up_for_now() {
    fn meddle(cluster: &mut Cluster) {
        cluster.version += 1;
        let version = json!(cluster.version.to_string());
        cluster.secret = Some(json!({"metadata": {"name": CA_SECRET, "resourceVersion": version}}));
        cluster.before_write = Some(meddle);
    }
    let (client, shared) = cluster(SystemTime::now);
    shared.lock().unwrap().before_write = Some(meddle);
    let store = CaStore::new(client, NAMESPACE);
    let later = SystemTime::now() + Duration::from_secs(1);
    let outcome = store.ensure(|| later, None).await;
    assert!(matches!(outcome, Err(StoreError::Contended(_))));
}
