//! Who may do what: a tenant with every right in its own namespace takes no
//! part of the market's place, and those who were given the verb for it do.

use std::fmt::Debug;

use futures::StreamExt;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use mbcas_core::annotations::Settings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::environment::client_as;
use crate::support::space::dry_run;
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, on_cluster, wait_until};

/// How many questions are put to the API server at once.
const AT_ONCE: usize = 32;

/// Two people with every right in the namespace, and those over namespaces that a platform may give.
struct People {
    /// Has nothing more.
    tenant: Client,
    /// Has been given one verb of ours, cluster-wide.
    holder: Client,
}

impl People {
    /// Its roles go with the namespace, which owns them.
    async fn of(space: &Space, resource: &str, verb: &str) -> Self {
        let namespaces: Api<Namespace> = Api::all(space.client.clone());
        let uid = namespaces.get(&space.name).await.unwrap().metadata.uid;
        let owner =
            json!([{"apiVersion": "v1", "kind": "Namespace", "name": space.name, "uid": uid}]);
        let [tenant, holder] = ["tenant", "holder"].map(|who| format!("{who}-of-{}", space.name));
        let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        let over_namespaces = json!([{"apiGroups": [""], "resources": ["namespaces", "namespaces/status"], "verbs": ["*"]}]);
        let ours = json!([{"apiGroups": ["mbcas.dev"], "resources": [resource], "verbs": [verb]}]);
        for (name, rules, users) in [
            ("over-namespaces", over_namespaces, vec![&tenant, &holder]),
            ("ours", ours, vec![&holder]),
        ] {
            let name = format!("test-{name}-{}", space.name);
            let metadata = json!({"name": name, "ownerReferences": owner});
            let role = json!({"metadata": metadata, "rules": rules});
            create::<ClusterRole>(&Api::all(space.client.clone()), role).await;
            let binding = binding(&metadata, "ClusterRole", &users);
            create::<ClusterRoleBinding>(&Api::all(space.client.clone()), binding).await;
        }
        let metadata = json!({"name": "everything"});
        let own = || space.client.clone();
        let role = json!({"metadata": metadata, "rules": everything});
        create::<Role>(&Api::namespaced(own(), &space.name), role).await;
        let binding = binding(&metadata, "Role", &[&tenant, &holder]);
        create::<RoleBinding>(&Api::namespaced(own(), &space.name), binding).await;
        let people = Self {
            tenant: client_as(&tenant).await,
            holder: client_as(&holder).await,
        };
        // Until the API server knows, it would refuse them by itself, and no policy would be asked.
        let questions = [
            (&people.tenant, "", "namespaces", "patch"),
            (&people.tenant, "mbcas.dev", "budgetpolicies", "create"),
            (&people.holder, "mbcas.dev", resource, verb),
        ];
        for (who, group, resource, verb) in questions {
            wait_until("the roles are in force", SOON, async || {
                let may = may(who, &space.name, group, resource, verb).await;
                that(may, format!("{verb} {resource} is not allowed"))
            })
            .await;
        }
        people
    }
}

/// Whether `who` is allowed something, in the namespace or everywhere.
async fn may(who: &Client, namespace: &str, group: &str, resource: &str, verb: &str) -> bool {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(who.clone());
    let asked = json!({"spec": {"resourceAttributes": {
        "namespace": namespace, "group": group, "resource": resource, "verb": verb,
    }}});
    let review = serde_json::from_value(asked).unwrap();
    let answer = reviews.create(&PostParams::default(), &review).await;
    answer.unwrap().status.is_some_and(|status| status.allowed)
}

fn binding(metadata: &Value, kind: &str, users: &[&String]) -> Value {
    let users = users
        .iter()
        .map(|name| json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}));
    json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata["name"]},
        "subjects": users.collect::<Vec<_>>(),
    })
}

pub(crate) async fn create<K>(api: &Api<K>, object: Value)
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// The API server's words, which must be those of `policy`.
fn refused_by<T: Debug>(policy: &str, answer: kube::Result<T>) -> String {
    match answer {
        Err(kube::Error::Api(status))
            if status
                .message
                .contains(&format!("ValidatingAdmissionPolicy '{policy}'")) =>
        {
            status.message
        }
        other => panic!("{policy} is not who answered: {other:?}"),
    }
}

#[test]
fn only_holders_of_the_verb_decide_which_namespaces_take_part() {
    on_cluster("guard-label", Admission::Unlabelled, async |space| {
        let people = People::of(space, "injectionlabels", "use").await;
        let of = |client: &Client| Api::<Namespace>::all(client.clone());
        let (tenant, holder) = (of(&people.tenant), of(&people.holder));
        let label = |key: &str, value: Option<&str>| {
            Patch::Merge(json!({"metadata": {"labels": {key: value}}}))
        };
        let (plain, name) = (PatchParams::default(), space.name.as_str());

        let enabled = label("mbcas-injection", Some("enabled"));
        let answer = refused_by(
            "mbcas-guard-namespaces",
            tenant.patch(name, &plain, &enabled).await,
        );
        figure!("refused: {answer}");
        refused_by(
            "mbcas-guard-namespaces",
            tenant.patch_status(name, &plain, &enabled).await,
        );
        let fresh = |labels: Value| {
            serde_json::from_value(
                json!({"metadata": {"name": format!("{name}-b"), "labels": labels}}),
            )
            .unwrap()
        };
        let labelled: Namespace = fresh(json!({"mbcas-injection": "enabled"}));
        refused_by(
            "mbcas-guard-namespaces",
            tenant.create(&dry_run(), &labelled).await,
        );
        holder.create(&dry_run(), &labelled).await.unwrap();
        tenant
            .create(&dry_run(), &fresh(json!({"team": "blue"})))
            .await
            .unwrap();

        holder.patch(name, &plain, &enabled).await.unwrap();
        refused_by(
            "mbcas-guard-namespaces",
            tenant
                .patch(name, &plain, &label("mbcas-injection", None))
                .await,
        );
        refused_by(
            "mbcas-guard-namespaces",
            tenant
                .patch(name, &plain, &label("mbcas-injection", Some("no")))
                .await,
        );
        tenant
            .patch(name, &plain, &label("team", Some("blue")))
            .await
            .unwrap();
        holder
            .patch(name, &plain, &label("mbcas-injection", None))
            .await
            .unwrap();
    });
}

#[test]
fn only_holders_of_the_verb_resize_past_the_market() {
    on_cluster("guard-resize", Admission::Labelled, async |space| {
        let people = People::of(space, "resizeoverrides", "use").await;
        space
            .start(&Lab::serve("web", &[]).request("100m").limit("300m"))
            .await;
        let of = |client: &Client| Api::<Pod>::namespaced(client.clone(), &space.name);
        let (tenant, holder) = (of(&people.tenant), of(&people.holder));
        // Tried, and not done: the market moves the limit meanwhile.
        let tried = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let resize = |list: &str, what: &str, amount: &str| {
            Patch::Strategic(
                json!({"spec": {"containers": [{"name": "app", "resources": {list: {what: amount}}}]}}),
            )
        };
        let answer = tenant
            .patch_resize("web", &tried, &resize("limits", "cpu", "1777m"))
            .await;
        figure!("refused: {}", refused_by("mbcas-guard-resize", answer));
        let answer = tenant
            .patch_resize("web", &tried, &resize("requests", "cpu", "77m"))
            .await;
        refused_by("mbcas-guard-resize", answer);
        tenant
            .patch_resize("web", &tried, &resize("requests", "memory", "16Mi"))
            .await
            .unwrap();
        holder
            .patch_resize("web", &tried, &resize("limits", "cpu", "1777m"))
            .await
            .unwrap();

        // The mend that the message names.
        let mode = Patch::Merge(json!({"metadata": {"annotations": {"mbcas.mode": "recommend"}}}));
        tenant
            .patch("web", &PatchParams::default(), &mode)
            .await
            .unwrap();
        tenant
            .patch_resize("web", &tried, &resize("limits", "cpu", "1777m"))
            .await
            .unwrap();
    });
}

fn budget_policies(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("mbcas.dev", "v1alpha1", "BudgetPolicy");
    let resource = ApiResource::from_gvk_with_plural(&kind, "budgetpolicies");
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn budget_policy(spec: &Value) -> DynamicObject {
    let (version, kind) = ("mbcas.dev/v1alpha1", "BudgetPolicy");
    let object =
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": "default"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

#[test]
fn only_holders_of_the_verb_write_budget_policies() {
    on_cluster("guard-budgets", Admission::Labelled, async |space| {
        let people = People::of(space, "budgetpolicies", "administer").await;
        let of = |client: &Client| budget_policies(client, &space.name);
        let (tenant, holder, plain) = (
            of(&people.tenant),
            of(&people.holder),
            PostParams::default(),
        );
        let policy = budget_policy(&json!({"budget": {"max": 200}}));
        let richer = Patch::Merge(json!({"spec": {"budget": {"max": 1_000_000}}}));
        let (changed, gone) = (PatchParams::default(), DeleteParams::default());

        let answer = refused_by(
            "mbcas-guard-budgetpolicies",
            tenant.create(&plain, &policy).await,
        );
        figure!("refused: {answer}");
        holder.create(&plain, &policy).await.unwrap();
        refused_by(
            "mbcas-guard-budgetpolicies",
            tenant.patch("default", &changed, &richer).await,
        );
        refused_by(
            "mbcas-guard-budgetpolicies",
            tenant.delete("default", &gone).await,
        );
        refused_by(
            "mbcas-guard-budgetpolicies",
            tenant
                .delete_collection(&gone, &ListParams::default())
                .await,
        );
        holder.patch("default", &changed, &richer).await.unwrap();
        let status = Patch::Merge(json!({"status": {"conditions": []}}));
        refused_by(
            "mbcas-guard-budgetpolicies",
            holder.patch_status("default", &changed, &status).await,
        );
        holder.delete("default", &gone).await.unwrap();
    });
}

/// The cluster adds what is labelled for it to `view` by itself.
#[test]
fn whoever_may_view_a_namespace_reads_its_budget_policy_and_writes_nothing() {
    on_cluster("guard-view", Admission::Labelled, async |space| {
        let viewer = format!("viewer-of-{}", space.name);
        let view = json!({
            "metadata": {"name": "viewers"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": viewer, "apiGroup": "rbac.authorization.k8s.io"}],
        });
        let bindings = Api::namespaced(space.client.clone(), &space.name);
        create::<RoleBinding>(&bindings, view).await;
        let plain = PostParams::default();
        let policy = budget_policy(&json!({"budget": {"max": 200}}));
        let policies = budget_policies(&space.client, &space.name);
        policies.create(&plain, &policy).await.unwrap();
        let client = client_as(&viewer).await;
        let seen = budget_policies(&client, &space.name);
        let read = wait_until("the viewer reads it", SOON, async || {
            seen.get("default").await.map_err(|why| why.to_string())
        })
        .await;
        assert_eq!(read.data["spec"]["budget"]["max"], 200);
        for verb in ["create", "update", "patch", "delete", "administer"] {
            let may = may(&client, &space.name, "mbcas.dev", "budgetpolicies", verb).await;
            assert!(!may, "{verb}");
        }
    });
}

#[test]
fn namespaces_and_owners_take_their_budget_policies_with_them() {
    on_cluster("guard-garbage", Admission::Unlabelled, async |space| {
        let maps: Api<ConfigMap> = Api::namespaced(space.client.clone(), &space.name);
        let map = serde_json::from_value(json!({"metadata": {"name": "owner"}})).unwrap();
        let map = maps.create(&PostParams::default(), &map).await.unwrap();
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": map.metadata.uid}]);
        let mut policy = budget_policy(&json!({}));
        policy.metadata.owner_references = serde_json::from_value(owner).unwrap();
        let policies = budget_policies(&space.client, &space.name);
        policies
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
        maps.delete("owner", &DeleteParams::default())
            .await
            .unwrap();
        wait_until("the collector takes the policy", SOON, async || {
            let left = policies.get_opt("default").await.unwrap();
            that(left.is_none(), "it is still there")
        })
        .await;
        // Left behind on purpose: the namespace does not go until the policy does.
        let policy = budget_policy(&json!({}));
        policies
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
    });
}

#[test]
fn bounds_hold_with_the_webhook_gone() {
    on_cluster("bounds", Admission::Labelled, async |space| {
        let bounds = json!({
            "budget": {"min": 10, "max": 200}, "cpu": {"minPerPod": "50m", "maxPerPod": "2"},
            "optOut": "Deny", "onExceed": "Clamp",
        });
        let lab = || {
            Lab::serve("web", &[])
                .request("50m")
                .annotate("mbcas.budget", "100")
        };
        space.start(&lab()).await;
        let policies = budget_policies(&space.client, &space.name);
        policies
            .create(&PostParams::default(), &budget_policy(&bounds))
            .await
            .unwrap();
        let table = async {
            let create = async |key: &str, value: &str| {
                let mut pod = lab().annotate(key, value).pod();
                pod.metadata.name = Some("new".to_owned());
                space.pods().create(&dry_run(), &pod).await
            };
            // The API server hears of the policy a moment late.
            wait_until("the bounds hold", SOON, async || {
                that(
                    create("mbcas.budget", "201").await.is_err(),
                    "201 was let through",
                )
            })
            .await;
            for (key, value, fits) in [
                ("mbcas.budget", "9", false),
                ("mbcas.budget", "10", true),
                ("mbcas.budget", "200", true),
                ("mbcas.minCPU", "49m", false),
                ("mbcas.minCPU", "0.05", true),
                ("mbcas.maxCPU", "2001m", false),
                ("mbcas.maxCPU", "2", true),
                ("mbcas.enabled", "false", false),
                ("mbcas.enabled", "true", true),
            ] {
                let answer = create(key, value).await;
                if fits {
                    answer.unwrap();
                } else {
                    let answer = refused_by("mbcas-bounds", answer);
                    figure!("refused: {answer}");
                }
                let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
                let tried = PatchParams {
                    dry_run: true,
                    ..PatchParams::default()
                };
                let answer = space.pods().patch("web", &tried, &patch).await;
                if fits {
                    answer.unwrap();
                } else {
                    refused_by("mbcas-bounds", answer);
                }
            }
        };
        space.release.without_webhook(table).await;
    });
}

/// Amounts of CPU beside the bounds and beside each other, written in several ways.
fn amounts() -> Vec<String> {
    let odd = [
        "",
        "m",
        "+",
        ".",
        "Ki",
        "1e",
        "1e400",
        "NaN",
        "8Ki",
        "10Ki",
        "1Ei",
        "-1",
        "00000010m",
        "1 m",
        "½",
    ];
    let mut texts: Vec<String> = odd.map(str::to_owned).to_vec();
    for edge in [10_000_000_i64, 250_000_000, 10_000_000_000_000] {
        for step in [-1_000_000, -999_999, -1, 0, 1, 500_000, 1_000_000] {
            let nanos = edge + step;
            let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
            texts.extend([
                format!("{nanos}n"),
                format!("{whole}.{rest:09}"),
                format!("{nanos}00e-11"),
            ]);
        }
    }
    texts
}

#[test]
fn the_api_servers_cel_reads_amounts_of_cpu_as_we_do() {
    on_cluster("amounts", Admission::Labelled, async |space| {
        let judge = async {
            let pairs = amounts().into_iter().flat_map(|text| {
                let whole = [
                    (text.clone(), "10k".to_owned()),
                    ("10m".to_owned(), text.clone()),
                ];
                whole.into_iter().chain([(text, "250m".to_owned())])
            });
            // There are hundreds.
            let answers = futures::stream::iter(pairs).map(async |(min, max)| {
                let annotations = [("mbcas.minCPU", &min), ("mbcas.maxCPU", &max)];
                let annotations =
                    annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
                let ours = Settings::parse(&annotations.clone().into()).is_ok();
                let mut pod = Lab::serve("web", &[]).request("1m").bare_pod();
                pod.annotations_mut().extend(annotations);
                let theirs = space.pods().create(&dry_run(), &pod).await;
                assert_eq!(theirs.is_ok(), ours, "min {min:?}, max {max:?}: {theirs:?}");
                ours
            });
            let answers: Vec<bool> = answers.buffer_unordered(AT_ONCE).collect().await;
            let taken = answers.iter().filter(|taken| **taken).count();
            let refused = answers.len() - taken;
            figure!(
                "{taken} pairs of bounds are taken by parser and API server, {refused} refused by both"
            );
        };
        space.release.without_webhook(judge).await;
    });
}
