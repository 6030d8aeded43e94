//! What a pod is restored to is written by admission alone, and stays true whoever changes the pod after it.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use mbcas_api::Original;
use mbcas_api::names::{INJECTION_ANNOTATION, ORIGINAL_ANNOTATION};
use serde_json::{Value, json};

use crate::support::space::{dry_run, has_agent};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, on_cluster, wait_until};

/// Another record than admission would make of the pod.
const FORGED: &str =
    r#"{"version":1,"participant":"app","containers":{"app":{"request":"8","limit":"64"}}}"#;

fn forger() -> Pod {
    let lab = Lab::serve("web", &[]).request("50m").limit("100m");
    let lab = lab
        .annotate(ORIGINAL_ANNOTATION, FORGED)
        .annotate(INJECTION_ANNOTATION, "injected")
        .annotate("mbcas.dev/", "anything")
        .annotate("example.org/kept", "yes");
    lab.pod()
}

#[test]
fn what_an_author_writes_in_our_name_is_taken_away() {
    on_cluster("forged", Admission::Labelled, async |space| {
        let create = async || space.pods().create(&dry_run(), &forger()).await.unwrap();
        let made = create().await;
        assert!(has_agent(&made));
        let app = &Original::on(&made).unwrap().unwrap().containers["app"];
        assert_eq!(app.limit.as_deref(), Some("100m"));

        let alone = async {
            let made = create().await;
            assert!(!has_agent(&made), "the webhook was there");
            let annotations = made.annotations();
            let ours = annotations.keys().find(|key| key.starts_with("mbcas.dev/"));
            assert_eq!(ours, None);
            assert_eq!(annotations["example.org/kept"], "yes");
        };
        space.release.without_webhook(alone).await;
    });
}

/// Puts a container before the others of every pod that has our agent, so after us. The API server asks those
/// again that it asked before, and changed nothing then.
const PUTS_ONE_BEFORE: &str = r#"
    has(object.spec.initContainers) && object.spec.initContainers.exists(c, c.name == "mbcas-demand-agent")
    && !object.spec.containers.exists(c, c.name == "late")
    ? [JSONPatch{op: "add", path: "/spec/containers/0", value: Object.spec.containers{name: "late", image: "example.org/late"}}]
    : []"#;

#[test]
fn what_another_changes_after_us_is_looked_at_again_and_the_record_stays_true() {
    on_cluster("later", Admission::Labelled, async |space| {
        let policy = json!({
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            },
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": PUTS_ONE_BEFORE}}],
        });
        let name = format!("test-{}", space.name);
        create(space, "MutatingAdmissionPolicy", &policy).await;
        create(
            space,
            "MutatingAdmissionPolicyBinding",
            &json!({"policyName": name}),
        )
        .await;
        let pod = Lab::serve("web", &[]).request("50m").pod();
        let made = wait_until("the policy is in force", SOON, async || {
            let made = space.pods().create(&dry_run(), &pod).await.unwrap();
            let containers = made.spec.iter().flat_map(|spec| &spec.containers);
            let names: Vec<_> = containers.map(|c| c.name.clone()).collect();
            that(names == ["late", "app"], format!("{names:?}")).map(|()| made)
        })
        .await;
        let record = Original::on(&made).unwrap().unwrap();
        assert_eq!(record.participant.as_deref(), Some("app"));
        assert!(record.containers.contains_key("late"), "{record:?}");
        // Its limit is ours from the first look, and no owner's wish at the second.
        assert_eq!(record.containers["app"].limit, None, "{record:?}");
        let limits = made.spec.unwrap().containers[1].resources.clone();
        assert!(limits.unwrap().limits.unwrap().contains_key("cpu"));
    });
}

/// Creates an object that every namespace would see; it goes with the test's own.
async fn create(space: &Space, kind: &str, spec: &Value) {
    let namespaces: Api<Namespace> = Api::all(space.client.clone());
    let uid = namespaces.get(&space.name).await.unwrap().metadata.uid;
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    let resource = ApiResource::from_gvk(&kind);
    let object: DynamicObject = serde_json::from_value(json!({
        "metadata": {
            "name": format!("test-{}", space.name),
            "ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": space.name, "uid": uid}],
        },
        "spec": spec,
    }))
    .unwrap();
    let objects: Api<DynamicObject> = Api::all_with(space.client.clone(), &resource);
    let create = PostParams::default();
    objects.create(&create, &object).await.unwrap();
}
