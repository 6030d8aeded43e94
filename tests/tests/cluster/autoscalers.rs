//! Other autoscalers of the same workloads: the vertical one comes first, the horizontal one is told.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use mbcas_core::exposition::samples;
use serde_json::json;

use crate::support::space::{is_ready, limit_of};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, http, on_cluster, wait_until};

/// A kind that was missing is looked for every half minute; then a few cycles.
const SEEN: Duration = Duration::from_mins(2);

/// The kind's own name.
const KIND: &str = "verticalpodautoscalers.autoscaling.k8s.io";

#[test]
fn a_vertical_autoscaler_comes_first_and_a_horizontal_one_is_told() {
    on_cluster("autoscalers", Admission::Labelled, async |space| {
        let installed = define(space).await;
        let target =
            |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
        let sizing = json!({
            "apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", "metadata": {"name": "sizing"},
            "spec": {"targetRef": target("sized"), "updatePolicy": {"updateMode": "Recreate"}},
        });
        let sizing: DynamicObject = serde_json::from_value(sizing).unwrap();
        wait_until("the API server serves the kind", SOON, async || {
            let created = vertical(space)
                .create(&PostParams::default(), &sizing)
                .await;
            created.map(drop).map_err(|why| why.to_string())
        })
        .await;
        let scaling = json!({
            "metadata": {"name": "scaling"},
            "spec": {"scaleTargetRef": target("scaled"), "minReplicas": 1, "maxReplicas": 1, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]},
        });
        let scaling: HorizontalPodAutoscaler = serde_json::from_value(scaling).unwrap();
        let horizontal = Api::namespaced(space.client.clone(), &space.name);
        horizontal
            .create(&PostParams::default(), &scaling)
            .await
            .unwrap();
        wait_until("every kind is watched", SEEN, async || {
            let unseen = metric(space, "mbcas_unseen_kinds").await?;
            that(unseen <= 0.0, format!("{unseen} kinds are not"))
        })
        .await;

        // Both so tight that the market would raise them whatever they use.
        let [sized, scaled] = [start(space, "sized").await, start(space, "scaled").await];
        space.limit(&scaled, SEEN, |limit| limit > 30).await;
        for (name, reason) in [
            ("sizing", "VerticalAutoscaler"),
            ("scaling", "HorizontalAutoscaler"),
        ] {
            let note = space.event(&space.name, name, reason, SEEN).await;
            figure!("{name}: {note}");
        }
        assert!(metric(space, "mbcas_hpa_containers").await.unwrap() >= 1.0);
        let metrics = space.release.metrics().await.unwrap();
        let restrained = samples(&metrics, "mbcas_restrained_containers");
        let by_vertical = restrained.filter(|series| series.label("reason") == Some("vpa"));
        assert!(by_vertical.map(|series| series.value).sum::<f64>() >= 1.0);
        space.release.after_cycles(3.0).await;
        assert_eq!(
            limit_of(&space.pod(&sized).await),
            Some(30),
            "MBCAS resized what another sizes"
        );

        let off = Patch::Merge(json!({"spec": {"updatePolicy": {"updateMode": "Off"}}}));
        let params = PatchParams::default();
        vertical(space)
            .patch("sizing", &params, &off)
            .await
            .unwrap();
        let limit = space.limit(&sized, SEEN, |limit| limit > 30).await;
        figure!("vertical autoscaler acts: 30m; switched off: {limit}m");
        if installed {
            let kinds: Api<CustomResourceDefinition> = Api::all(space.client.clone());
            kinds.delete(KIND, &DeleteParams::default()).await.unwrap();
        }
    });
}

fn vertical(space: &Space) -> Api<DynamicObject> {
    let kind =
        kube::core::GroupVersionKind::gvk("autoscaling.k8s.io", "v1", "VerticalPodAutoscaler");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(space.client.clone(), &space.name, &resource)
}

/// Makes the kind known, unless it is. Whether it was not.
async fn define(space: &Space) -> bool {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {
            "name": KIND,
            // Without it the API server takes nobody's word for a name of Kubernetes' own group.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test of MBCAS"},
        },
        "spec": {
            "group": "autoscaling.k8s.io", "scope": "Namespaced",
            "names": {"kind": "VerticalPodAutoscaler", "plural": "verticalpodautoscalers", "shortNames": ["vpa"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": open}}],
        },
    });
    let definition = serde_json::from_value(definition).unwrap();
    let kinds: Api<CustomResourceDefinition> = Api::all(space.client.clone());
    match kinds.create(&PostParams::default(), &definition).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 409 => false,
        Err(error) => panic!("{error}"),
    }
}

/// Starts a Deployment; its pod's name when that is ready.
async fn start(space: &Space, name: &str) -> String {
    let lab = Lab::serve(name, &[]).request("20m").limit("30m");
    let deployments: Api<Deployment> = Api::namespaced(space.client.clone(), &space.name);
    let params = PostParams::default();
    deployments
        .create(&params, &lab.deployment())
        .await
        .unwrap();
    wait_until("its pod is ready", SOON, async || {
        let ours = ListParams::default().labels(&format!("app={name}"));
        let pods = space.pods().list(&ours).await.unwrap().items;
        let ready = pods.iter().find(|pod| is_ready(pod));
        ready
            .map(ResourceExt::name_any)
            .ok_or_else(|| format!("{} pods", pods.len()))
    })
    .await
}

/// The sum of the leader's series of this name; zero where there are none.
async fn metric(space: &Space, series: &str) -> Result<f64, String> {
    let metrics = space.release.metrics().await?;
    Ok(http::sum_of(&metrics, series).unwrap_or(0.0))
}
