use serde_json::json;

use super::{Field, Ownership};
use crate::fixtures::{owner, owner_of, pod};
use crate::request::{Resource, Side};

fn field(side: Side, resource: Resource) -> Field {
    Field {
        init: false,
        container: "app".into(),
        side,
        resource,
    }
}

fn ownership(entries: &[serde_json::Value]) -> Ownership {
    Ownership::of(
        &pod(|p| p["metadata"]["managedFields"] = json!(entries)),
        "mbcas",
    )
}

#[test]
fn what_we_applied_through_resize_is_ours() {
    let ownership = ownership(&[owner(
        "mbcas",
        "Apply",
        Some("resize"),
        &["limits.cpu", "requests.memory"],
    )]);
    let ours = [
        field(Side::Limits, Resource::Cpu),
        field(Side::Requests, Resource::Memory),
    ];
    assert_eq!(ownership.ours, ours.into());
    assert!(ownership.resizers.is_empty());
}

#[test]
fn creators_and_the_kubelet_own_nothing_that_counts() {
    let all = [
        "limits.cpu",
        "requests.cpu",
        "limits.memory",
        "requests.memory",
    ];
    let ownership = ownership(&[
        owner("kubectl-client-side-apply", "Update", None, &all),
        owner("kube-controller-manager", "Update", None, &all),
        owner("argocd-controller", "Apply", None, &all),
        owner("kubelet", "Update", Some("status"), &all),
    ]);
    assert_eq!(ownership, Ownership::default());
}

#[test]
fn our_own_name_without_the_subresource_or_without_apply_is_not_us() {
    let ownership = ownership(&[
        owner("mbcas", "Apply", None, &["limits.memory"]),
        owner("mbcas", "Update", Some("resize"), &["limits.cpu"]),
    ]);
    assert!(ownership.ours.is_empty());
    assert_eq!(
        ownership.resizers,
        [("mbcas".to_owned(), field(Side::Limits, Resource::Cpu))]
    );
}

#[test]
fn another_resizer_is_known_by_name_and_field() {
    let ownership = ownership(&[owner("vpa", "Update", Some("resize"), &["limits.cpu"])]);
    assert_eq!(
        ownership.resizer_of(&field(Side::Limits, Resource::Cpu)),
        Some("vpa")
    );
    assert_eq!(
        ownership.resizer_of(&field(Side::Requests, Resource::Cpu)),
        None
    );
    assert_eq!(
        ownership.resizer_of(&field(Side::Limits, Resource::Memory)),
        None
    );
    let of_sidecar = Field {
        init: true,
        ..field(Side::Limits, Resource::Cpu)
    };
    assert_eq!(ownership.resizer_of(&of_sidecar), None);
}

#[test]
fn sidecars_are_told_apart_from_containers() {
    let entry = owner_of(
        "f:initContainers",
        "mesh",
        "mbcas",
        "Apply",
        Some("resize"),
        &["limits.cpu"],
    );
    let ours = ownership(&[entry]).ours;
    let sidecar = Field {
        init: true,
        container: "mesh".into(),
        side: Side::Limits,
        resource: Resource::Cpu,
    };
    assert_eq!(ours, [sidecar].into());
}

#[test]
fn entries_that_make_no_sense_are_passed_over() {
    let broken = json!({
        "manager": "mbcas", "operation": "Apply", "subresource": "resize", "fieldsType": "FieldsV1",
        "fieldsV1": { "f:spec": { "f:containers": {
            "k:{broken": { "f:resources": { "f:limits": { "f:cpu": {} } } },
            "k:{\"port\":1}": { "f:resources": { "f:limits": { "f:cpu": {} } } },
            "v:\"app\"": {},
        }, "f:initContainers": [] } },
    });
    let empty = json!({ "manager": "mbcas", "operation": "Apply", "subresource": "resize" });
    assert_eq!(ownership(&[broken, empty]), Ownership::default());
}
