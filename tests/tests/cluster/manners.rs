//! What the controller leaves alone although it could be resized, on a real API server and kubelet.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use mbcas_actuator::{ApplyError, Refusal, ResizePolicy, ResizeRequest};
use mbcas_core::Quantity;
use serde_json::json;

use crate::support::one::{burstable, by, cpu, resized, started};
use crate::support::space::{cgroup, is_ready};
use crate::support::wait::that;
use crate::support::{SOON, Space, on_any_cluster, wait_until};

/// As the controller asks.
fn considerate(amount: &str) -> ResizeRequest {
    ResizeRequest {
        considerate: Some(Timestamp::now()),
        ..cpu(amount)
    }
}

async fn refusal(space: &Space, request: &ResizeRequest) -> Refusal {
    match resized(space, request).await {
        Err(ApplyError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_that_is_looked_at_stays_as_it_was_found() {
    on_any_cluster("manners-debugged", async |space| {
        let pod = started(space, &burstable(), |_| {}).await;
        let image = &pod.spec.unwrap().containers[0].image;
        let debugger = json!({"spec": {"ephemeralContainers": [
            {"name": "debugger", "image": image, "command": ["/bin/mbcas-lab", "serve", "--port", "9000", "--health-port", "9001"]},
        ]}});
        let (params, patch) = (PatchParams::default(), Patch::Strategic(debugger));
        let pods = space.pods();
        pods.patch_ephemeral_containers("web", &params, &patch)
            .await
            .unwrap();
        let refused = refusal(space, &considerate("300m")).await;
        assert!(matches!(refused, Refusal::Debugged(_)), "{refused}");
        // A person may.
        resized(space, &cpu("300m")).await.unwrap();
    });
}

#[test]
fn nothing_is_taken_from_a_pod_that_is_not_ready_and_nothing_done_to_one_on_its_way_out() {
    on_any_cluster("manners-unready", async |space| {
        started(space, &burstable(), |pod| {
            pod["spec"]["terminationGracePeriodSeconds"] = json!(20);
            // Ready as long as its process answers.
            pod["spec"]["containers"][0]["readinessProbe"]["failureThreshold"] = json!(1);
        })
        .await;
        let app = cgroup(&space.pod("web").await, "app").unwrap();
        let stopped = app.stop();
        wait_until("it is not ready", SOON, async || {
            let pod: Pod = space.pod("web").await;
            that(!is_ready(&pod), "it is ready")
        })
        .await;
        let refused = refusal(space, &considerate("150m")).await;
        assert!(matches!(refused, Refusal::NotReady(_)), "{refused}");
        resized(space, &considerate("300m")).await.unwrap();

        // It does not hear the signal to end, and so goes after its grace.
        space
            .pods()
            .delete("web", &DeleteParams::default())
            .await
            .unwrap();
        let refused = refusal(space, &considerate("400m")).await;
        assert!(matches!(refused, Refusal::Ended(_)), "{refused}");
        drop(stopped);
    });
}

#[test]
fn memory_is_raised_and_lowered_only_where_that_is_asked_for() {
    on_any_cluster("manners-memory", async |space| {
        let resources = json!({"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
        started(space, &resources, |_| {}).await;
        let memory = |amount: &str| ResizeRequest {
            cpu: None,
            memory: Some(Quantity::parse(amount).unwrap()),
            ..by(ResizePolicy::Limits, "1")
        };
        resized(space, &memory("96Mi")).await.unwrap();
        assert_eq!(most_memory(space).await, 96 << 20);
        let refused = refusal(space, &memory("80Mi")).await;
        assert!(matches!(refused, Refusal::LowersMemory { .. }), "{refused}");
        assert_eq!(most_memory(space).await, 96 << 20);
        let lowered = ResizeRequest {
            lower_memory: true,
            ..memory("80Mi")
        };
        resized(space, &lowered).await.unwrap();
        assert_eq!(most_memory(space).await, 80 << 20);
    });
}

/// What the kernel allows the container, in bytes.
async fn most_memory(space: &Space) -> u64 {
    let most = cgroup(&space.pod("web").await, "app")
        .unwrap()
        .most_memory();
    most.expect("no limit of memory")
}
