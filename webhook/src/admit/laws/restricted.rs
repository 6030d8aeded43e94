//! Pod Security *restricted*, as the Pod Security Standards state it.

use serde_json::Value;

/// The volumes that it allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Whether the pod of `spec` would be let into such a namespace.
pub(super) fn admits(spec: &Value) -> bool {
    let context = &spec["securityContext"];
    let of_host = ["hostNetwork", "hostPID", "hostIPC"];
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|l| &spec[l]);
    let mut containers = lists.into_iter().filter_map(Value::as_array).flatten();
    let mut volumes = spec["volumes"].as_array().into_iter().flatten();
    of_host.iter().all(|field| spec[field] != true)
        && volumes.all(is_harmless)
        && context["runAsUser"] != 0
        && containers.all(|container| is_confined(container, context))
}

fn is_harmless(volume: &Value) -> bool {
    let fields = volume.as_object().into_iter().flatten();
    let mut sources = fields.filter(|(field, _)| *field != "name");
    sources.all(|(source, _)| VOLUMES.contains(&source.as_str()))
}

fn is_confined(container: &Value, pod: &Value) -> bool {
    let own = &container["securityContext"];
    let inherited = |field: &str| {
        if own[field].is_null() {
            pod[field].clone()
        } else {
            own[field].clone()
        }
    };
    let has = |list: &Value, allowed: &dyn Fn(&Value) -> bool| {
        list.as_array().into_iter().flatten().all(allowed)
    };
    let drops = own["capabilities"]["drop"].as_array();
    let ports = &container["ports"];
    own["privileged"] != true
        && own["allowPrivilegeEscalation"] == false
        && drops.is_some_and(|drops| drops.iter().any(|what| what == "ALL"))
        && has(&own["capabilities"]["add"], &|what| {
            what == "NET_BIND_SERVICE"
        })
        && inherited("runAsNonRoot") == true
        && own["runAsUser"] != 0
        && ["RuntimeDefault", "Localhost"].contains(
            &inherited("seccompProfile")["type"]
                .as_str()
                .unwrap_or_default(),
        )
        && (own["procMount"].is_null() || own["procMount"] == "Default")
        && has(ports, &|port| {
            port["hostPort"].is_null() || port["hostPort"] == 0
        })
}
