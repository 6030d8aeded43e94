//! One pod, and one resize of it by the actuator alone.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use mbcas_actuator::{
    ApplyError, ResizePlan, ResizePolicy, ResizeRequest, Settled, resize, settle,
};
use mbcas_core::Quantity;
use serde_json::{Value, json};

use super::{Lab, Space};

/// As whom the tests write.
pub(crate) const MANAGER: &str = "mbcas-test";
/// A kubelet of 1.36 or later needs 0.16 s.
const CONFIRMED: Duration = Duration::from_secs(20);

/// Another CPU limit of the container `app`.
pub(crate) fn cpu(amount: &str) -> ResizeRequest {
    ResizeRequest {
        cpu: Some(Quantity::parse(amount).unwrap()),
        container: Some("app".to_owned()),
        ..ResizeRequest::default()
    }
}

/// The same of the sides that `policy` names.
pub(crate) fn by(policy: ResizePolicy, amount: &str) -> ResizeRequest {
    ResizeRequest {
        policy,
        ..cpu(amount)
    }
}

/// A pod `web` with these resources, edited; Ready.
pub(crate) async fn started(
    space: &Space,
    resources: &Value,
    edit: impl FnOnce(&mut Value),
) -> Pod {
    let mut pod = serde_json::to_value(Lab::serve("web", &[]).bare_pod()).unwrap();
    pod["spec"]["containers"][0]["resources"] = resources.clone();
    edit(&mut pod);
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let created = space.pods().create(&PostParams::default(), &pod).await;
    created.unwrap();
    space.ready("web").await
}

/// 100m to 200m.
pub(crate) fn burstable() -> Value {
    json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}})
}

/// Resizes `web`, and waits until its kubelet has done it.
pub(crate) async fn resized(
    space: &Space,
    request: &ResizeRequest,
) -> Result<ResizePlan, ApplyError> {
    let pods = space.pods();
    let (plan, applied) = resize(&pods, "web", request, MANAGER, false).await?;
    let generation = applied.and_then(|applied| applied.generation);
    match settle(&pods, &plan, generation.or(plan.generation), CONFIRMED).await {
        Settled::Done(after) => figure!("{:?}: confirmed after {after:.2?}", request.policy),
        other => panic!("{request:?}: {other:?}"),
    }
    Ok(plan)
}
