//! Whoever the market lets go has what it had before, while it runs and without a restart.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Resource;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use mbcas_api::names::INJECTION_LABEL;
use mbcas_api::{BUDGET_POLICY_NAME, BudgetPolicy};
use serde_json::{Value, json};

use crate::support::space::restarts;
use crate::support::{Admission, Lab, SOON, Space, on_cluster};

/// What its owner wrote, in millicores.
const OWN: u64 = 200;

/// How long a return to the market may take: a reversal waits for a minute.
const RETURN: Duration = Duration::from_mins(2);

#[test]
fn opt_out_policy_and_label_each_bring_the_original_limit_back() {
    on_cluster("leaving", Admission::Labelled, async |space| {
        let lab = Lab::burn("app", 1).request("100m").limit("200m");
        let begun = space.start(&lab).await;
        let policies: Api<BudgetPolicy> = Api::namespaced(space.client.clone(), &space.name);

        moved(space).await;
        annotate(space, "false").await;
        returned(space, "opted out").await;
        let said = space.event(&space.name, "app", "Restored", SOON).await;
        assert!(
            said.contains("(opted_out)") && said.contains("→ 200m"),
            "{said}"
        );

        annotate(space, "true").await;
        moved(space).await;
        let policy =
            json!({"metadata": {"name": BUDGET_POLICY_NAME}, "spec": {"mode": "recommend"}});
        let policy = serde_json::from_value(policy).unwrap();
        policies
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
        returned(space, "policy recommends").await;

        policies
            .delete(BUDGET_POLICY_NAME, &DeleteParams::default())
            .await
            .unwrap();
        moved(space).await;
        let namespaces: Api<Namespace> = Api::all(space.client.clone());
        let unlabelled = json!({"metadata": {"labels": {INJECTION_LABEL: Value::Null}}});
        merge(&namespaces, &space.name, &unlabelled).await;
        returned(space, "without the label").await;

        let after = space.pod("app").await;
        assert_eq!(
            (after.meta().uid.clone(), restarts(&after)),
            (begun.metadata.uid, 0)
        );
    });
}

async fn moved(space: &Space) {
    space.limit("app", RETURN, |limit| limit > OWN).await;
}

async fn returned(space: &Space, how: &str) {
    let begin = std::time::Instant::now();
    space.limit("app", SOON, |limit| limit == OWN).await;
    figure!(
        "{how}: the original limit is back after {:.1?}",
        begin.elapsed()
    );
    // And stays.
    space.release.after_cycles(3.0).await;
    space
        .limit("app", Duration::ZERO, |limit| limit == OWN)
        .await;
}

/// Whether the pod takes part, by its owner's word.
async fn annotate(space: &Space, enabled: &str) {
    let word = json!({"metadata": {"annotations": {"mbcas.enabled": enabled}}});
    let pods: Api<Pod> = space.pods();
    merge(&pods, "app", &word).await;
}

async fn merge<K>(objects: &Api<K>, name: &str, change: &Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let patch = Patch::Merge(change);
    objects
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}
