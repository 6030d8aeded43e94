//! One resize at a time, by the actuator alone: what a real API server and kubelet
//! make of it, and that what we refuse or fit beforehand is what they would refuse.

use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use mbcas_actuator::bounds::{Bounds, Constraint, Quota, Range};
use mbcas_actuator::{
    ApplyError, Ban, Progress, Refusal, ResizePlan, ResizePolicy, ResizeRequest, Settled, apply,
    plan, resize, settle,
};
use serde_json::{Value, json};

use crate::support::environment::{local_cluster, local_kubelet, output_of};
use crate::support::one::{MANAGER, burstable, by, cpu, resized, started};
use crate::support::space::{cgroup, container, limit_of, millicores, restarts};
use crate::support::wait::that;
use crate::support::{Lab, SOON, Space, on_any_cluster, wait_until};

/// What the API server says to the same change without us in between; nothing is changed.
async fn raw(space: &Space, resources: &Value) -> Result<Pod, String> {
    let tried = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patch = json!({"spec": {"containers": [{"name": "app", "resources": resources}]}});
    let answer = space
        .pods()
        .patch_resize("web", &tried, &Patch::Strategic(patch))
        .await;
    match answer {
        Ok(pod) => Ok(pod),
        Err(kube::Error::Api(status)) => Err(format!("{} {}", status.code, status.message)),
        Err(other) => panic!("{other}"),
    }
}

/// CPU request and limit as the container runs.
fn amounts(pod: &Pod) -> (u64, u64) {
    let resources = container(pod, "app").unwrap().resources.clone().unwrap();
    let (requests, limits) = (resources.requests.unwrap(), resources.limits.unwrap());
    (millicores(&requests["cpu"].0), millicores(&limits["cpu"].0))
}

fn taking_over(amount: &str) -> ResizeRequest {
    ResizeRequest {
        take_over: true,
        ..cpu(amount)
    }
}

#[test]
fn each_policy_moves_its_sides_down_to_the_kernel_without_a_restart() {
    on_any_cluster("hand-policies", async |space| {
        let before = started(space, &burstable(), |_| {}).await;
        for (policy, amount, expected) in [
            (ResizePolicy::Limits, "300m", (100, 300)),
            (ResizePolicy::Requests, "150m", (150, 300)),
            (ResizePolicy::Both, "250m", (250, 250)),
            (ResizePolicy::Requests, "110m", (110, 250)),
            (ResizePolicy::Limits, "110m", (110, 110)),
        ] {
            resized(space, &by(policy, amount)).await.unwrap();
            let pod = space.pod("web").await;
            assert_eq!(amounts(&pod), expected, "{policy}");
            assert_eq!(cgroup(&pod, "app").unwrap().quota(), Some(expected.1));
            assert_eq!((pod.uid(), restarts(&pod)), (before.uid(), 0));
        }
    });
}

#[test]
fn classes_stay_as_they_are_and_the_api_server_sees_to_that_too() {
    on_any_cluster("hand-classes", async |space| {
        let exact = json!({"cpu": "200m", "memory": "64Mi"});
        started(space, &json!({"requests": exact, "limits": exact}), |_| {}).await;
        let refused = resized(space, &cpu("300m")).await.unwrap_err();
        assert!(matches!(
            refused,
            ApplyError::Refused(Refusal::QosWouldChange { .. })
        ));
        let said = raw(space, &json!({"limits": {"cpu": "300m"}})).await;
        let said = said.unwrap_err();
        figure!("Guaranteed, limit alone: {said}");
        assert!(said.contains("QOS"), "{said}");
        let both = ResizeRequest {
            both_if_guaranteed: true,
            ..cpu("300m")
        };
        resized(space, &both).await.unwrap();
        let pod = space.pod("web").await;
        assert_eq!(amounts(&pod), (300, 300));
        let class = pod.status.unwrap().qos_class;
        assert_eq!(class.as_deref(), Some("Guaranteed"));
    });
    on_any_cluster("hand-nearly", async |space| {
        // Burstable by its CPU limit alone: a limit equal to the request is refused, a quantum more is not.
        let nearly = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
        started(space, &nearly, |_| {}).await;
        let said = raw(space, &json!({"limits": {"cpu": "100m"}})).await;
        assert!(said.unwrap_err().contains("QOS"));
        let fitted = ResizeRequest {
            bounds: Some(Bounds::default()),
            ..cpu("50m")
        };
        let plan = resized(space, &fitted).await.unwrap();
        assert_eq!(plan.bound_by, Some(Constraint::QosClass));
        assert_eq!(limit_of(&space.pod("web").await), Some(110));
    });
    on_any_cluster("hand-best-effort", async |space| {
        started(space, &json!({}), |_| {}).await;
        let refused = resized(space, &by(ResizePolicy::Both, "100m")).await;
        assert!(matches!(
            refused,
            Err(ApplyError::Refused(Refusal::QosWouldChange {
                hint: "absent",
                ..
            }))
        ));
        let some = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}});
        let said = raw(space, &some).await.unwrap_err();
        figure!("BestEffort: {said}");
        assert!(said.contains("QOS"), "{said}");
    });
}

#[test]
fn a_container_that_would_restart_and_a_sidecar_that_nobody_named_are_left_alone() {
    on_any_cluster("hand-restart", async |space| {
        let policy = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        started(space, &burstable(), |pod| {
            pod["spec"]["containers"][0]["resizePolicy"] = policy;
        })
        .await;
        let refused = resized(space, &cpu("300m")).await.unwrap_err();
        assert!(matches!(
            refused,
            ApplyError::Refused(Refusal::WouldRestart(_, "cpu"))
        ));
        assert_eq!(restarts(&space.pod("web").await), 0);
    });
    on_any_cluster("hand-sidecar", async |space| {
        started(space, &burstable(), |pod| {
            let mut side = pod["spec"]["containers"][0].clone();
            side["name"] = json!("side");
            side["restartPolicy"] = json!("Always");
            side.as_object_mut().unwrap().remove("readinessProbe");
            side["command"] = json!(["/bin/mbcas-lab", "burn", "--threads", "1"]);
            pod["spec"]["initContainers"] = json!([side]);
        })
        .await;
        let unnamed = ResizeRequest {
            container: None,
            ..cpu("300m")
        };
        assert_eq!(resized(space, &unnamed).await.unwrap().container, "app");
        let limit = |pod: &Pod| {
            let limits = container(pod, "side")?.resources.as_ref()?.limits.clone()?;
            Some(limits["cpu"].0.clone())
        };
        assert_eq!(limit(&space.pod("web").await).as_deref(), Some("200m"));
        let named = ResizeRequest {
            container: Some("side".to_owned()),
            ..cpu("250m")
        };
        resized(space, &named).await.unwrap();
        let pod = space.pod("web").await;
        assert_eq!(limit(&pod).as_deref(), Some("250m"));
        assert_eq!(container(&pod, "side").unwrap().restart_count, 0);
    });
}

#[test]
fn a_pod_with_resources_of_its_own_is_resized_within_them() {
    on_any_cluster("hand-pod-level", async |space| {
        let own = json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "500m"}});
        started(space, &burstable(), |pod| pod["spec"]["resources"] = own).await;
        let refused = resized(space, &cpu("300m")).await.unwrap_err();
        let is_refused = |error: &ApplyError, holds: fn(&Refusal) -> bool| matches!(error, ApplyError::Refused(why) if holds(why));
        // As to a server before 1.36.
        assert!(
            is_refused(&refused, |why| matches!(why, Refusal::PodLevelResources(_))),
            "{refused}"
        );
        let knowing = |amount| ResizeRequest {
            pod_level: true,
            ..cpu(amount)
        };
        resized(space, &knowing("300m")).await.unwrap();
        let pod = space.pod("web").await;
        assert_eq!((amounts(&pod), restarts(&pod)), ((100, 300), 0));
        assert_eq!(cgroup(&pod, "app").unwrap().quota(), Some(300));
        let above = resized(space, &knowing("600m")).await.unwrap_err();
        assert!(
            is_refused(&above, |why| matches!(why, Refusal::AbovePod { .. })),
            "{above}"
        );
        let said = raw(space, &json!({"limits": {"cpu": "600m"}})).await;
        assert!(said.is_err(), "the API server takes it");
    });
}

#[test]
fn more_than_the_node_has_is_infeasible_at_once() {
    on_any_cluster("hand-infeasible", async |space| {
        started(space, &burstable(), |_| {}).await;
        let error = resized(space, &by(ResizePolicy::Both, "10k"))
            .await
            .unwrap_err();
        figure!("infeasible: {error}");
        assert!(matches!(error, ApplyError::Infeasible { .. }), "{error}");
        assert_eq!(amounts(&space.pod("web").await), (100, 200));
        // Limits are nobody's business there: more than the node has is taken and done.
        resized(space, &cpu("10k")).await.unwrap();
    });
}

/// How long the kubelet may take to say that it has no room.
const SAID: Duration = Duration::from_secs(5);

#[test]
fn what_has_no_room_beside_others_is_deferred_and_taken_back() {
    on_any_cluster("hand-deferred", async |space| {
        started(space, &burstable(), |_| {}).await;
        // The node has 1500m for pods: either fits, both do not.
        let neighbour = Lab::serve("neighbour", &[]).request("800m").bare_pod();
        let pods = space.pods();
        pods.create(&PostParams::default(), &neighbour)
            .await
            .unwrap();
        space.ready("neighbour").await;
        let wanted = by(ResizePolicy::Both, "900m");
        let (plan, applied) = resize(&pods, "web", &wanted, MANAGER, false).await.unwrap();
        let outcome = settle(&pods, &plan, applied.unwrap().generation, SAID).await;
        let Settled::TimedOut(Progress::Deferred(why)) = outcome else {
            panic!("{outcome:?}");
        };
        figure!("deferred: {why}");
        let spec = |pod: Pod| pod.spec.unwrap().containers[0].resources.clone().unwrap();
        let now = spec(space.pod("web").await).requests.unwrap();
        assert_eq!(now["cpu"].0, "900m", "the spec takes the room all the same");

        let undo = plan.undo().unwrap();
        resized(space, &undo).await.unwrap();
        let pod = space.pod("web").await;
        assert_eq!(amounts(&pod), (100, 200));
        assert_eq!(spec(pod.clone()).requests.unwrap()["cpu"].0, "100m");
        assert_eq!(restarts(&pod), 0);
        // And it fits when the neighbour has gone.
        pods.delete("neighbour", &DeleteParams::default().grace_period(0))
            .await
            .unwrap();
        wait_until("the neighbour is gone", SOON, async || {
            let found = pods.get_opt("neighbour").await.unwrap();
            that(found.is_none(), "it is there")
        })
        .await;
        resized(space, &wanted).await.unwrap();
    });
}

#[test]
fn limit_ranges_are_met_to_the_quantum() {
    // A limit is never below its request, so that a minimum binds requests alone.
    let (limits, requests) = (ResizePolicy::Limits, ResizePolicy::Requests);
    let max = json!({"max": {"cpu": "305m"}});
    let min = json!({"min": {"cpu": "75m"}});
    let ratio = json!({"maxLimitRequestRatio": {"cpu": "2.55"}});
    for (item, policy, wanted, nearest, next, constraint) in [
        (
            max,
            limits,
            "900m",
            (100, 300),
            "310m",
            Constraint::RangeMax,
        ),
        (min, requests, "20m", (80, 200), "70m", Constraint::RangeMin),
        (
            ratio,
            limits,
            "900m",
            (100, 250),
            "260m",
            Constraint::RangeRatio,
        ),
    ] {
        let test = constraint.word().replace('_', "-");
        on_any_cluster(&test, async |space| {
            started(space, &burstable(), |_| {}).await;
            let mut item = item;
            item["type"] = json!("Container");
            let range = json!({"metadata": {"name": "range"}, "spec": {"limits": [item]}});
            let range: LimitRange = serde_json::from_value(range).unwrap();
            let ranges: Api<LimitRange> = Api::namespaced(space.client.clone(), &space.name);
            ranges.create(&PostParams::default(), &range).await.unwrap();
            // The API server hears of it a moment late.
            let side = policy.to_string();
            let said = wait_until("the range is in force", SOON, async || {
                let beyond = raw(space, &json!({ &side: {"cpu": next} })).await;
                let through = || format!("{next} was let through");
                beyond.err().ok_or_else(through)
            })
            .await;
            figure!("{test}, {next}: {said}");
            let range = Range::of(&range.spec.unwrap().limits[0]).unwrap();
            let fitted = ResizeRequest {
                bounds: Some(Bounds {
                    ranges: vec![range],
                    ..Bounds::default()
                }),
                ..by(policy, wanted)
            };
            let plan = resized(space, &fitted).await.unwrap();
            assert_eq!(plan.bound_by, Some(constraint));
            assert_eq!(amounts(&space.pod("web").await), nearest);
            let error = resized(space, &by(policy, next)).await.unwrap_err();
            assert_eq!(error.outcome(), "limit_range", "{error}");
        });
    }
}

#[test]
fn a_quota_on_limits_is_met_to_the_quantum() {
    on_any_cluster("hand-quota", async |space| {
        started(space, &burstable(), |_| {}).await;
        let quota =
            json!({"metadata": {"name": "quota"}, "spec": {"hard": {"limits.cpu": "355m"}}});
        let quotas: Api<ResourceQuota> = Api::namespaced(space.client.clone(), &space.name);
        let quota = serde_json::from_value(quota).unwrap();
        quotas.create(&PostParams::default(), &quota).await.unwrap();
        let counted = async || {
            let quota = quotas.get("quota").await.unwrap();
            let used = quota.status.as_ref().and_then(|s| s.used.clone());
            that(
                used.is_some_and(|used| used["limits.cpu"].0 == "200m"),
                "not counted",
            )?;
            Ok(quota)
        };
        let seen = wait_until("the quota has counted", SOON, counted).await;
        let error = resized(space, &cpu("360m")).await.unwrap_err();
        figure!("quota: {error}");
        assert!(
            matches!(error, ApplyError::Forbidden { by: Ban::Quota, .. }),
            "{error}"
        );
        let fitted = ResizeRequest {
            bounds: Some(Bounds {
                quotas: vec![Quota::of(&seen).unwrap()],
                ..Bounds::default()
            }),
            ..cpu("900m")
        };
        let plan = resized(space, &fitted).await.unwrap();
        assert_eq!(plan.bound_by, Some(Constraint::Quota));
        assert_eq!(limit_of(&space.pod("web").await), Some(350));
        // Whatever is full, giving back is always possible.
        resized(space, &cpu("150m")).await.unwrap();
    });
}

#[test]
fn a_replacement_under_the_same_name_is_never_patched() {
    on_any_cluster("hand-replaced", async |space| {
        let first = started(space, &burstable(), |_| {}).await;
        let request = ResizeRequest {
            uid: first.uid(),
            ..cpu("300m")
        };
        let old = plan(&first, &request, MANAGER).unwrap();
        let now = DeleteParams::default().grace_period(0);
        space.pods().delete("web", &now).await.unwrap();
        wait_until("the pod goes", SOON, async || {
            let found = space.pods().get_opt("web").await.unwrap();
            that(found.is_none(), "it is still there")
        })
        .await;
        started(space, &burstable(), |_| {}).await;
        let error = apply(&space.pods(), &old, false).await.unwrap_err();
        figure!("a plan for the pod before: {error}");
        assert!(
            matches!(error, ApplyError::Gone(_) | ApplyError::Stale(_)),
            "{error}"
        );
        let mut unversioned = old;
        let metadata = unversioned.patch["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        let error = apply(&space.pods(), &unversioned, false).await.unwrap_err();
        figure!("the same without a version: {error}");
        assert!(
            matches!(error, ApplyError::Gone(_) | ApplyError::Stale(_)),
            "{error}"
        );
        let error = resized(space, &request).await.unwrap_err();
        assert!(
            matches!(error, ApplyError::Refused(Refusal::Replaced(_))),
            "{error}"
        );
        assert_eq!(amounts(&space.pod("web").await), (100, 200));
    });
}

/// A server-side apply of these resources, exactly so.
fn intent(pod: &Pod, manager: &str, resources: &Value) -> ResizePlan {
    let mut plan = plan(pod, &cpu("999m"), manager).unwrap();
    plan.patch["spec"] = json!({"containers": [{"name": "app", "resources": resources}]});
    plan
}

#[test]
fn an_apply_repeats_what_it_owns_and_yields_to_other_resizers() {
    on_any_cluster("hand-owners", async |space| {
        let created = started(space, &burstable(), |_| {}).await;
        // A creator is taken over without being asked; a version that is old is only stale.
        let old = plan(&created, &cpu("210m"), MANAGER).unwrap();
        resized(space, &by(ResizePolicy::Both, "300m"))
            .await
            .unwrap();
        let error = apply(&space.pods(), &old, false).await.unwrap_err();
        assert!(matches!(error, ApplyError::Stale(_)), "{error}");

        // An incomplete intent removes: a limit refuses that, a request is raised silently to the limit.
        let now = space.pod("web").await;
        let requests_only = intent(&now, MANAGER, &json!({"requests": {"cpu": "300m"}}));
        let error = apply(&space.pods(), &requests_only, false)
            .await
            .unwrap_err();
        figure!("an intent without the limit: {error}");
        assert_eq!(error.outcome(), "invalid_removal");
        let limits_only = intent(&now, MANAGER, &json!({"limits": {"cpu": "400m"}}));
        let raised = apply(&space.pods(), &limits_only, true).await.unwrap();
        let resources = raised.pod.spec.unwrap().containers[0].resources.clone();
        figure!("an intent without the request: {resources:?}");
        assert_eq!(resources.unwrap().requests.unwrap()["cpu"].0, "400m");
        // Ours is complete: the request stays.
        resized(space, &cpu("400m")).await.unwrap();
        assert_eq!(amounts(&space.pod("web").await), (300, 400));

        // Another resizer is not forced past, unless a person says so.
        let claim = taking_over("500m");
        let other = resize(&space.pods(), "web", &claim, "other", false).await;
        other.unwrap();
        let error = resized(space, &cpu("600m")).await.unwrap_err();
        figure!("another resizer: {error}");
        assert!(matches!(error, ApplyError::Contested { .. }), "{error}");
        resized(space, &taking_over("600m")).await.unwrap();
        assert_eq!(amounts(&space.pod("web").await), (300, 600));
    });
}

#[test]
fn a_kubelet_that_is_killed_in_mid_resize_finishes_it_when_it_is_back() {
    on_any_cluster("hand-kubelet", async |space| {
        started(space, &burstable(), |_| {}).await;
        let Some(pid) = local_kubelet() else {
            figure!("not the local cluster: its kubelet is left alone");
            return;
        };
        output_of(Command::new("kill").args(["-KILL", &pid]));
        let pods = space.pods();
        let (plan, applied) = resize(&pods, "web", &cpu("300m"), MANAGER, false)
            .await
            .unwrap();
        let generation = applied.unwrap().generation;
        let waited = settle(&pods, &plan, generation, Duration::from_secs(3)).await;
        // The spec says one thing and the status another: only the status counts.
        let still = matches!(waited, Settled::TimedOut(_));
        output_of(local_cluster().arg("up"));
        assert!(still, "no kubelet, and yet {waited:?}");
        let done = settle(&pods, &plan, generation, SOON).await;
        figure!("kubelet killed: {waited:?} without it, {done:?} after it was back");
        assert!(matches!(done, Settled::Done(_)), "{done:?}");
        let pod = space.pod("web").await;
        assert_eq!(cgroup(&pod, "app").unwrap().quota(), Some(300));
        assert_eq!(restarts(&pod), 0);
    });
}
