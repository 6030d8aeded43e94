//! What a namespace's BudgetPolicy, LimitRange and ResourceQuota do to its pods,
//! and who hears of it.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use mbcas_api::BudgetPolicy;
use mbcas_api::names::{AGENT_CONTAINER, INJECTION_ANNOTATION};
use mbcas_core::exposition::samples;
use serde_json::{Value, json};

use crate::cli::mbcas;
use crate::support::space::{dry_run, has_agent};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, on_cluster, wait_until};

fn policy(spec: &Value) -> BudgetPolicy {
    named("default", spec)
}

fn named(name: &str, spec: &Value) -> BudgetPolicy {
    serde_json::from_value(json!({
        "apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy", "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

fn policies(space: &Space) -> Api<BudgetPolicy> {
    Api::namespaced(space.client.clone(), &space.name)
}

fn lab(budget: Option<&str>) -> Lab {
    let lab = Lab::serve("web", &[]).request("50m");
    match budget {
        Some(budget) => lab.annotate("mbcas.budget", budget),
        None => lab,
    }
}

/// What the API server makes of `pod`, or its words; nothing is created.
async fn tried(space: &Space, pod: &Pod) -> Result<Pod, String> {
    match space.pods().create(&dry_run(), pod).await {
        Ok(pod) => Ok(pod),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(other) => panic!("{other}"),
    }
}

fn annotation(pod: &Pod, key: &str) -> Option<String> {
    pod.annotations().get(key).cloned()
}

/// Puts a policy in force, and waits until every replica of the webhook knows:
/// three answers in a row that carry its default.
async fn in_force(space: &Space, spec: Value) {
    let wanted = spec["budget"]["default"].to_string();
    policies(space)
        .create(&PostParams::default(), &policy(&spec))
        .await
        .unwrap();
    wait_until("the policy is in force", SOON, async || {
        for _ in 0..3 {
            let pod = tried(space, &lab(None).pod()).await?;
            let found = annotation(&pod, "mbcas.budget");
            that(found.as_ref() == Some(&wanted), format!("{found:?}"))?;
        }
        Ok(())
    })
    .await;
}

#[test]
fn a_policy_fills_in_what_is_not_said_and_refuses_what_is_too_much() {
    on_cluster("budget", Admission::Labelled, async |space| {
        let spec = json!({
            "budget": {"default": 70, "max": 600}, "cpu": {"maxPerPod": "2"}, "mode": "recommend",
        });
        in_force(space, spec).await;
        let pod = tried(space, &lab(None).pod()).await.unwrap();
        for (key, value) in [
            ("mbcas.budget", "70"),
            ("mbcas.maxCPU", "2"),
            ("mbcas.mode", "recommend"),
        ] {
            assert_eq!(annotation(&pod, key).as_deref(), Some(value), "{key}");
        }
        let refused = tried(space, &lab(Some("900")).pod()).await.unwrap_err();
        figure!("refused: {refused}");
        for word in [
            "inject.mbcas.dev",
            "mbcas.budget=\"900\"",
            "allows 1 to 600",
            "write for example \"600\"",
        ] {
            assert!(refused.contains(word), "{refused}");
        }
    });
}

#[test]
fn a_namespaces_total_holds_and_deletion_frees() {
    on_cluster("total", Admission::Labelled, async |space| {
        in_force(space, json!({"budget": {"default": 10, "total": 500}})).await;
        let create = async |name: &str, budget: &str| {
            let lab = Lab::serve(name, &[])
                .request("10m")
                .annotate("mbcas.budget", budget);
            space
                .pods()
                .create(&PostParams::default(), &lab.pod())
                .await
                .map_err(|error| error.to_string())
        };
        create("first", "300").await.unwrap();
        // Whichever replica is asked: the one that admitted remembers, the other one watches.
        wait_until("both replicas know", SOON, async || {
            for _ in 0..4 {
                let refused = tried(space, &lab(Some("300")).pod()).await;
                let refused = refused.err().ok_or("300 more were let through")?;
                that(
                    refused.contains("has 200 of 500 left beside 1 pods"),
                    refused,
                )?;
            }
            Ok(())
        })
        .await;
        create("second", "200").await.unwrap();
        wait_until("nothing is left", SOON, async || {
            let refused = tried(space, &lab(Some("1")).pod()).await.err();
            that(
                refused.is_some_and(|why| why.contains("has 0 of 500 left")),
                "there is room",
            )
        })
        .await;
        space
            .pods()
            .delete("first", &DeleteParams::default().grace_period(0))
            .await
            .unwrap();
        wait_until("its budget is free again", SOON, async || {
            for _ in 0..3 {
                tried(space, &lab(Some("300")).pod()).await?;
            }
            Ok(())
        })
        .await;
    });
}

/// As after a race of two replicas, which know of each other's pods too late: what
/// is let in is more than the total. The market holds the total all the same.
#[test]
fn what_was_let_in_beyond_a_total_is_held_to_it_by_the_market() {
    on_cluster("overshoot", Admission::Labelled, async |space| {
        in_force(space, json!({"budget": {"default": 10, "total": 1000}})).await;
        for name in ["first", "second"] {
            let lab = Lab::serve(name, &[]).request("10m");
            space.start(&lab.annotate("mbcas.budget", "300")).await;
        }
        let stands = async |total: u64, each: f64, condition: (&str, &str)| {
            let patch = json!({"spec": {"budget": {"total": total}}});
            policies(space)
                .patch("default", &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap();
            wait_until("the total is held", SOON, async || {
                let metrics = space.release.metrics().await?;
                let budgets: Vec<_> = samples(&metrics, "mbcas_budget")
                    .filter(|sample| sample.label("namespace") == Some(&space.name))
                    .map(|sample| sample.value)
                    .collect();
                that(budgets == [each, each], format!("budgets {budgets:?}"))?;
                let policy = policies(space).get("default").await.unwrap();
                let status = policy.status.ok_or("there is no status")?;
                let found = status
                    .conditions
                    .iter()
                    .find(|c| c.type_ == "Overcommitted");
                let found = found.map(|c| (c.status.as_str(), c.reason.as_str()));
                that(found == Some(condition), format!("{found:?}"))?;
                let used = (status.pods, status.budget_used);
                that(used == (Some(2), Some(600)), format!("{used:?}"))
            })
            .await;
        };
        stands(1000, 300.0, ("False", "WithinAllotment")).await;
        stands(400, 200.0, ("True", "BudgetsExceeded")).await;
        stands(600, 300.0, ("False", "WithinAllotment")).await;
    });
}

#[test]
fn a_policy_that_clamps_creates_with_less() {
    on_cluster("clamp", Admission::Labelled, async |space| {
        in_force(
            space,
            json!({"budget": {"default": 20, "max": 600}, "onExceed": "Clamp"}),
        )
        .await;
        let pod = tried(space, &lab(Some("900")).pod()).await.unwrap();
        assert_eq!(annotation(&pod, "mbcas.budget").as_deref(), Some("600"));
    });
}

#[test]
fn the_api_server_refuses_policies_that_contradict_themselves() {
    on_cluster("policies", Admission::Unlabelled, async |space| {
        let cases = [
            (named("another", &json!({})), "its name is default"),
            (
                policy(&json!({"budget": {"min": 5, "max": 4}})),
                "budget.min is above budget.max",
            ),
            (
                policy(&json!({"budget": {"min": 5, "default": 4}})),
                "budget.default is not between",
            ),
            (
                policy(&json!({"budget": {"total": 5, "default": 6}})),
                "budget.default is above budget.total",
            ),
            (
                policy(&json!({"budget": {"total": 5, "min": 6}})),
                "budget.min is above budget.total",
            ),
            (
                policy(&json!({"defaults": {"cpuRequest": "2"}, "cpu": {"maxPerPod": "1"}})),
                "defaults.cpuRequest is above cpu.maxPerPod",
            ),
            (
                policy(&json!({"cpu": {"minPerPod": "2", "maxPerPod": "1500m"}})),
                "cpu.minPerPod is above cpu.maxPerPod",
            ),
            (
                policy(&json!({"cpu": {"minPerPod": "2", "floorTotal": 1}})),
                "cpu.minPerPod is above cpu.floorTotal",
            ),
        ];
        for (policy, why) in cases {
            let answer = policies(space).create(&dry_run(), &policy).await;
            let answer = answer.expect_err("it was let through").to_string();
            assert!(answer.contains(why), "{why}: {answer}");
        }
        // What our own types would not even write.
        let url = format!(
            "/apis/mbcas.dev/v1alpha1/namespaces/{}/budgetpolicies?dryRun=All",
            space.name
        );
        for (spec, why) in [
            (
                json!({"cpu": {"maxPerPod": "9m"}}),
                "must be an amount of CPU from 10m to 10k",
            ),
            (
                json!({"cpu": {"maxPerPod": "1e001"}}),
                "must be an amount of CPU from 10m to 10k",
            ),
            (
                json!({"cpu": {"maxPerPod": "lots"}}),
                "must be an amount of CPU from 10m to 10k",
            ),
            (
                json!({"cpu": {"maxPerPod": 10_001}}),
                "must be an amount of CPU from 10m to 10k",
            ),
            (json!({"cpu": {"maxPerPod": 0.5}}), "spec.cpu.maxPerPod"),
            (
                json!({"budget": {"total": 0}}),
                "greater than or equal to 1",
            ),
            (
                json!({"budget": {"max": 1_000_001}}),
                "less than or equal to 1000000",
            ),
            (json!({"onExceed": "Ask"}), "Unsupported value"),
            (json!({"mode": "fast"}), "Unsupported value"),
        ] {
            let mut body = serde_json::to_value(policy(&json!({}))).unwrap();
            body["spec"] = spec.clone();
            let request = http::Request::post(&url).header("content-type", "application/json");
            let request = request.body(serde_json::to_vec(&body).unwrap()).unwrap();
            let answer = space.client.request::<Value>(request).await;
            let answer = answer.expect_err("it was let through").to_string();
            assert!(answer.contains(why), "{spec}: {answer}");
        }
        let whole = json!({
            "budget": {"total": 1000, "default": 100, "min": 10, "max": 600},
            "cpu": {"minPerPod": "50m", "maxPerPod": 4, "floorTotal": "2.5"},
            "defaults": {"cpuRequest": "100m"},
            "mode": "auto", "agent": "Sidecar", "optOut": "Allow", "onExceed": "Deny",
        });
        policies(space)
            .create(&dry_run(), &policy(&whole))
            .await
            .unwrap();
    });
}

#[test]
fn a_pod_without_resources_gets_its_policys_request() {
    on_cluster("defaults", Admission::Labelled, async |space| {
        in_force(
            space,
            json!({"budget": {"default": 30}, "defaults": {"cpuRequest": "40m"}}),
        )
        .await;
        let pod = tried(space, &Lab::serve("web", &[]).pod()).await.unwrap();
        let app = serde_json::to_value(&pod.spec.as_ref().unwrap().containers[0]).unwrap();
        assert_eq!(app.pointer("/resources/requests/cpu"), Some(&json!("40m")));
        assert!(has_agent(&pod));
    });
}

/// The sidecar's resources, as they would be.
async fn sidecar(space: &Space) -> Option<Value> {
    let pod = tried(space, &lab(None).limit("80m").pod()).await.unwrap();
    let inits = pod.spec.unwrap().init_containers.unwrap_or_default();
    let agent = inits
        .into_iter()
        .find(|container| container.name == AGENT_CONTAINER)?;
    Some(serde_json::to_value(agent.resources).unwrap())
}

#[test]
fn a_limit_range_moves_the_sidecar_and_a_full_quota_keeps_it_out() {
    on_cluster("room", Admission::Labelled, async |space| {
        let ranges: Api<LimitRange> = Api::namespaced(space.client.clone(), &space.name);
        let range = json!({
            "metadata": {"name": "small"},
            "spec": {"limits": [{"type": "Container", "min": {"cpu": "20m"}, "max": {"cpu": "90m"}}]},
        });
        ranges
            .create(
                &PostParams::default(),
                &serde_json::from_value(range).unwrap(),
            )
            .await
            .unwrap();
        wait_until("the sidecar fits the LimitRange", SOON, async || {
            for _ in 0..3 {
                let found = sidecar(space).await.ok_or("there is none")?;
                that(
                    found["requests"]["cpu"] == "20m" && found["limits"]["cpu"] == "90m",
                    found.to_string(),
                )?;
            }
            Ok(())
        })
        .await;
        let (status, out, err) = mbcas(&["check", "--pre"]);
        assert_eq!(status, 0, "{out}{err}");
        let listed = format!(
            "namespace {}: its LimitRange makes the demand agent take 20m to 90m of CPU",
            space.name
        );
        assert!(out.contains(&listed), "{out}");
        let quotas: Api<ResourceQuota> = Api::namespaced(space.client.clone(), &space.name);
        // Room for the app's 50m, and none for 20m more.
        let quota =
            json!({"metadata": {"name": "tight"}, "spec": {"hard": {"requests.cpu": "60m"}}});
        quotas
            .create(
                &PostParams::default(),
                &serde_json::from_value(quota).unwrap(),
            )
            .await
            .unwrap();
        wait_until("the quota keeps the sidecar out", SOON, async || {
            for _ in 0..3 {
                let pod = tried(space, &lab(None).limit("80m").pod()).await?;
                let mark = annotation(&pod, INJECTION_ANNOTATION);
                that(
                    mark.as_deref() == Some("quota") && !has_agent(&pod),
                    format!("{mark:?}"),
                )?;
            }
            Ok(())
        })
        .await;
    });
}

/// What everybody who makes pods can be asked to make them of, with where it is written.
fn workloads() -> [(&'static str, &'static str, Value); 6] {
    let lab = lab(Some("lots")).deployment();
    let (selector, template) = {
        let spec = serde_json::to_value(lab.spec.unwrap()).unwrap();
        (spec["selector"].clone(), spec["template"].clone())
    };
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let of_pods = json!({"selector": selector, "template": template});
    let mut named = of_pods.clone();
    named["serviceName"] = json!("web");
    let job = json!({"template": once});
    let cron = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}});
    [
        ("apps", "Deployment", of_pods.clone()),
        ("apps", "ReplicaSet", of_pods.clone()),
        ("apps", "DaemonSet", of_pods),
        ("apps", "StatefulSet", named),
        ("batch", "Job", job),
        ("batch", "CronJob", cron),
    ]
}

#[test]
fn a_workloads_author_is_warned_when_applying_it() {
    on_cluster("warnings", Admission::Labelled, async |space| {
        for (group, kind, spec) in workloads() {
            let plural = format!("{}s", kind.to_lowercase());
            let url = format!("/apis/{group}/v1/namespaces/{}/{plural}", space.name);
            let object = json!({
                "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "web"}, "spec": spec,
            });
            let wanted =
                format!("the pods of this {kind} will be refused: annotation mbcas.budget=");
            wait_until("a warning comes", SOON, async || {
                let warnings = space.warnings(&url, &object).await?;
                that(
                    warnings.iter().any(|warning| warning.contains(&wanted)),
                    format!("{kind}: {warnings:?}"),
                )
            })
            .await;
        }
    });
}

/// Who the API server takes us for.
async fn myself(space: &Space) -> String {
    let reviews: Api<SelfSubjectReview> = Api::all(space.client.clone());
    let asked = SelfSubjectReview::default();
    let answer = reviews
        .create(&PostParams::default(), &asked)
        .await
        .unwrap();
    let user = answer.status.and_then(|status| status.user_info);
    user.and_then(|user| user.username).unwrap()
}

#[test]
fn changed_budgets_leave_a_trail() {
    on_cluster("audit", Admission::Labelled, async |space| {
        in_force(space, json!({"budget": {"default": 40, "max": 600}})).await;
        space.start(&lab(Some("100"))).await;
        let merge = |patch: Value| Patch::Merge(patch);
        let budget = merge(json!({"metadata": {"annotations": {"mbcas.budget": "200"}}}));
        space
            .pods()
            .patch("web", &PatchParams::default(), &budget)
            .await
            .unwrap();
        let max = merge(json!({"spec": {"budget": {"max": 700}}}));
        policies(space)
            .patch("default", &PatchParams::default(), &max)
            .await
            .unwrap();
        // A change that is not made leaves no trail.
        let unmade = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let max = merge(json!({"spec": {"budget": {"max": 800}}}));
        policies(space)
            .patch("default", &unmade, &max)
            .await
            .unwrap();

        let events: Api<Event> = Api::namespaced(space.client.clone(), &space.name);
        let notes = wait_until("events tell of both changes", SOON, async || {
            let found = events.list(&ListParams::default()).await.unwrap();
            let ours = found
                .items
                .into_iter()
                .filter(|event| event.reason.as_deref() == Some("BudgetChanged"));
            let notes: Vec<_> = ours.filter_map(|event| event.note).collect();
            let tells = |what: &str| notes.iter().any(|note| note.contains(what));
            that(
                tells("mbcas.budget: \"100\" → \"200\"") && tells("spec.budget.max: 600 → 700"),
                format!("{notes:?}"),
            )?;
            Ok(notes)
        })
        .await;
        figure!("noted: {}", notes.join("\nnoted: "));
        let who = myself(space).await;
        assert!(
            notes
                .iter()
                .all(|note| note.starts_with(&format!("{who} "))),
            "{who}: {notes:?}"
        );
        assert!(!notes.iter().any(|note| note.contains("800")), "{notes:?}");
    });
}
