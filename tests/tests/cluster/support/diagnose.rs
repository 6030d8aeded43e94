//! What a failed test leaves on the screen: enough to see why without the cluster.

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};

use super::release::NAMESPACE;

/// Lines of log of each of our own pods.
const LINES: i64 = 25;

/// Prints the pods and events of `namespace`, and the last words of controller and webhook.
pub(crate) async fn diagnose(client: &Client, namespace: &str) {
    println!("--- pods of {namespace}");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in pods
        .list(&ListParams::default())
        .await
        .into_iter()
        .flatten()
    {
        tell_pod(&pod);
    }
    println!("--- events of {namespace}");
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    for event in events
        .list(&ListParams::default())
        .await
        .into_iter()
        .flatten()
    {
        let (object, reason) = (event.involved_object.name, event.reason);
        println!(
            "{} {}: {}",
            object.unwrap_or_default(),
            reason.unwrap_or_default(),
            event.message.unwrap_or_default()
        );
    }
    let ours: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    for pod in ours
        .list(&ListParams::default())
        .await
        .into_iter()
        .flatten()
    {
        println!("--- log of {NAMESPACE}/{}", pod.name_any());
        tell_pod(&pod);
        let last = LogParams {
            tail_lines: Some(LINES),
            ..LogParams::default()
        };
        println!(
            "{}",
            ours.logs(&pod.name_any(), &last)
                .await
                .unwrap_or_else(|why| why.to_string())
        );
    }
}

fn tell_pod(pod: &Pod) {
    let status = pod.status.clone().unwrap_or_default();
    println!(
        "{} {}",
        pod.name_any(),
        status.phase.as_deref().unwrap_or("?")
    );
    for condition in status.conditions.iter().flatten() {
        let message = condition.message.as_deref().unwrap_or_default();
        println!("  {}={} {message}", condition.type_, condition.status);
    }
    let statuses = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    statuses.for_each(tell_container);
}

fn tell_container(container: &ContainerStatus) {
    let (name, restarts) = (&container.name, container.restart_count);
    let text =
        |value: Option<serde_json::Value>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
    let json = |value: &Option<_>| text(value.as_ref().and_then(|v| serde_json::to_value(v).ok()));
    println!(
        "  {name}: ready={} restarts={restarts} state={} last={}",
        container.ready,
        json(&container.state),
        json(&container.last_state)
    );
    println!(
        "    resources={}",
        text(
            container
                .resources
                .as_ref()
                .and_then(|r| serde_json::to_value(r).ok())
        )
    );
}
