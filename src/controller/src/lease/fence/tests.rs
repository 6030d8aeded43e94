use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::fake::{Clients, FakeApi, Shared, paused_clock};
use crate::lease::rule::Term;
use crate::lease::times::SETTLED;

/// A pod, a term that ends in ten seconds, and a client in the term `epoch`.
fn office(epoch: i32) -> (Shared, Leader, watch::Sender<Option<Term>>, Api<Pod>) {
    let api = FakeApi::shared();
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}});
    api.lock().unwrap().pods = vec![pod];
    let until = paused_clock() + std::time::Duration::from_secs(10);
    let (term, receiver) = watch::channel(Some(Term { epoch: 5, until }));
    let leader = Leader::new(receiver, paused_clock);
    let pods = Api::namespaced(fenced(&api.client(), &leader, epoch), "n");
    (api, leader, term, pods)
}

async fn write(pods: &Api<Pod>) -> Result<Pod, kube::Error> {
    let patch = Patch::Apply(json!({}));
    pods.patch_resize("p", &PatchParams::apply("mbcas"), &patch)
        .await
}

fn written(api: &Shared) -> usize {
    api.lock().unwrap().writes.len()
}

#[tokio::test(start_paused = true)]
async fn what_is_written_in_the_term_passes() {
    let (api, _leader, _term, pods) = office(5);
    write(&pods).await.unwrap();
    assert_eq!(written(&api), 1);
}

#[tokio::test(start_paused = true)]
async fn after_the_term_reading_passes_and_writing_does_not() {
    let (api, _leader, _term, pods) = office(5);
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    pods.get("p").await.unwrap();
    let refused = write(&pods).await.unwrap_err();
    assert_eq!(Fenced::of(&refused), Some(Fenced::NotLeading(5)));
    assert_eq!(written(&api), 0);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_term_decided_is_not_written_in_a_later_one() {
    let (api, _leader, _term, pods) = office(4);
    let refused = write(&pods).await.unwrap_err();
    assert_eq!(Fenced::of(&refused), Some(Fenced::NotLeading(4)));
    assert_eq!(written(&api), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_given_up_and_holds_up_giving_back_until_it_has_settled() {
    let (api, leader, _term, pods) = office(5);
    leader.settled().await; // nothing is under way
    api.lock().unwrap().is_silent = true;
    let begun = tokio::time::Instant::now();
    let (unanswered, ()) = tokio::join!(write(&pods), async {
        while written(&api) == 0 {
            tokio::task::yield_now().await;
        }
        leader.settled().await;
    });
    assert_eq!(
        Fenced::of(&unanswered.unwrap_err()),
        Some(Fenced::Unanswered)
    );
    let waited = begun.elapsed();
    assert!((SETTLED..SETTLED + WRITE).contains(&waited), "{waited:?}");
}

#[test]
fn the_api_server_is_told_how_long_it_may_take() {
    for (uri, bounded) in [
        ("/api/v1/pods/p/resize", "/api/v1/pods/p/resize?timeout=2s"),
        (
            "/api/v1/pods/p/resize?force=true",
            "/api/v1/pods/p/resize?force=true&timeout=2s",
        ),
        (
            "/api/v1/pods/p/resize?",
            "/api/v1/pods/p/resize?&timeout=2s",
        ),
    ] {
        let mut uri = Uri::from_static(uri);
        bound(&mut uri).unwrap();
        assert_eq!(uri, bounded);
    }
}
