use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::namespace::Rules;

fn agent() -> AgentSpec {
    AgentSpec::usual("i")
}

fn namespace(ranges: Value, quotas: &[Value]) -> Namespace {
    let quota = |quota: &Value| Quota::of(&serde_json::from_value(quota.clone()).unwrap());
    let rules = Rules {
        limit_ranges: serde_json::from_value(ranges).unwrap(),
        quotas: quotas.iter().filter_map(quota).collect(),
        ..Rules::default()
    };
    Namespace {
        rules: Arc::new(rules),
        ..Namespace::default()
    }
}

fn spec() -> PodSpec {
    serde_json::from_value(json!({"containers": [
        {"name": "app", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}},
    ]}))
    .unwrap()
}

fn within(ranges: Value) -> Result<[String; 4], SkipReason> {
    let agent = agent();
    let fitted = fitted(&agent, &spec(), &namespace(ranges, &[]))?.into_owned();
    Ok([
        fitted.cpu_request,
        fitted.cpu_limit,
        fitted.memory_request,
        fitted.memory_limit,
    ])
}

#[test]
fn a_sidecar_that_fits_is_as_its_operator_wrote_it() {
    let fits = within(
        json!([{"type": "Container", "min": {"cpu": "10m"}, "max": {"cpu": "4", "memory": "1Gi"}}]),
    );
    assert_eq!(fits.unwrap(), ["10m", "200m", "16Mi", "32Mi"]);
    // What it was given before counts for claims and for the whole node.
    assert!(within(json!([{"type": "PersistentVolumeClaim", "max": {"storage": "1"}}])).is_ok());
}

#[test]
fn a_containers_range_moves_it() {
    let raised = within(json!([{"type": "Container", "min": {"cpu": "50m", "memory": "20Mi"}}]));
    assert_eq!(raised.unwrap(), ["50m", "200m", "20971520", "32Mi"]);
    let lowered = within(json!([{"type": "Container", "max": {"cpu": "100m", "memory": "24Mi"}}]));
    assert_eq!(lowered.unwrap(), ["10m", "100m", "16Mi", "25165824"]);
    let ratio = within(json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "4"}}]));
    assert_eq!(ratio.unwrap(), ["50m", "200m", "16Mi", "32Mi"]);
    let ratio = within(
        json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "3", "memory": "1.5"}}]),
    );
    assert_eq!(ratio.unwrap()[0], "67m");
}

#[test]
fn a_range_that_no_sidecar_fits_skips() {
    for range in [
        json!([{"type": "Container", "min": {"cpu": "300m"}, "max": {"cpu": "200m"}}]),
        json!([{"type": "Container", "min": {"memory": "64Mi"}}, {"type": "Container", "max": {"memory": "32Mi"}}]),
        // It would hardly start.
        json!([{"type": "Container", "max": {"cpu": "49m"}}]),
        json!([{"type": "Container", "max": {"memory": "7Mi"}}]),
        // It would be Guaranteed.
        json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "1", "memory": "1"}}]),
    ] {
        assert_eq!(
            within(range.clone()),
            Err(SkipReason::LimitRange),
            "{range}"
        );
    }
}

#[test]
fn a_pods_range_counts_the_whole_pod() {
    assert!(within(json!([{"type": "Pod", "max": {"cpu": "2200m"}}])).is_ok());
    assert_eq!(
        within(json!([{"type": "Pod", "max": {"cpu": "2199m"}}])),
        Err(SkipReason::LimitRange)
    );
    assert_eq!(
        within(json!([{"type": "Pod", "maxLimitRequestRatio": {"cpu": "2"}}])),
        Err(SkipReason::LimitRange)
    );
    assert!(within(json!([{"type": "Pod", "maxLimitRequestRatio": {"cpu": "3"}}])).is_ok());
}

fn quota(hard: &Value, used: &Value, more: &Value) -> Value {
    let mut quota = json!({"spec": {"hard": hard}, "status": {"used": used}});
    quota["spec"]
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    quota
}

fn beside(quota: &Value, spec: &PodSpec) -> Result<(), SkipReason> {
    let quotas = [quota.clone()];
    fitted(&agent(), spec, &namespace(json!([]), &quotas)).map(drop)
}

#[test]
fn a_quota_needs_room_for_the_pod_and_the_sidecar() {
    let full = |resource: &str, hard: &str| {
        quota(
            &json!({resource: hard}),
            &json!({resource: "1"}),
            &json!({}),
        )
    };
    assert_eq!(beside(&full("requests.cpu", "2010m"), &spec()), Ok(()));
    assert_eq!(
        beside(&full("requests.cpu", "2009m"), &spec()),
        Err(SkipReason::Quota)
    );
    assert_eq!(
        beside(&full("cpu", "2009m"), &spec()),
        Err(SkipReason::Quota)
    );
    assert_eq!(beside(&full("limits.cpu", "3200m"), &spec()), Ok(()));
    assert_eq!(
        beside(&full("limits.cpu", "3199m"), &spec()),
        Err(SkipReason::Quota)
    );
    assert_eq!(
        beside(&full("limits.memory", "1056Mi"), &spec()),
        Err(SkipReason::Quota)
    );
    assert_eq!(beside(&full("limits.memory", "1057Mi"), &spec()), Ok(()));
    assert_eq!(beside(&full("count/pods", "1"), &spec()), Ok(()));
}

#[test]
fn a_quota_is_only_about_the_pods_in_its_scope() {
    let full = |more: Value| {
        let one = json!({"requests.cpu": "1"});
        quota(&one, &one, &more)
    };
    let priority = |operator: &str| {
        full(json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}}))
    };
    let mut high = spec();
    high.priority_class_name = Some("high".to_owned());
    assert_eq!(
        beside(&full(json!({"scopes": ["Terminating"]})), &spec()),
        Ok(())
    );
    assert_eq!(
        beside(&full(json!({"scopes": ["NotTerminating"]})), &spec()),
        Err(SkipReason::Quota)
    );
    assert_eq!(
        beside(&full(json!({"scopes": ["BestEffort"]})), &spec()),
        Ok(())
    );
    assert_eq!(
        beside(&full(json!({"scopes": ["NotBestEffort"]})), &spec()),
        Err(SkipReason::Quota)
    );
    assert_eq!(beside(&priority("In"), &spec()), Ok(()));
    assert_eq!(beside(&priority("In"), &high), Err(SkipReason::Quota));
    assert_eq!(beside(&priority("NotIn"), &high), Ok(()));
    assert_eq!(
        beside(&priority("DoesNotExist"), &spec()),
        Err(SkipReason::Quota)
    );
    assert_eq!(beside(&priority("Exists"), &high), Err(SkipReason::Quota));
}

#[test]
fn init_containers_count_as_the_api_server_counts_them() {
    let part =
        |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
    let mut sidecar = part("mesh", "300m");
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({"initContainers": [part("early", "900m"), sidecar, part("late", "700m")], "containers": [part("app", "500m")]});
    let spec = serde_json::from_value(spec).unwrap();
    // early alone 900, late beside mesh 1000, app beside mesh 800.
    assert_eq!(used(&spec, "cpu", false), 1_000);
    assert_eq!(used(&spec, "cpu", true), 0);
}
