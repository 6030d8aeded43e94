//! Names, in one place.

/// Namespaces that carry this label with the value [`INJECTION_ENABLED`] take part.
pub const INJECTION_LABEL: &str = "mbcas-injection";
/// The value of [`INJECTION_LABEL`] that means yes.
pub const INJECTION_ENABLED: &str = "enabled";

/// The resources that a pod had before MBCAS touched it, see [`crate::Original`]. Written at admission.
pub const ORIGINAL_ANNOTATION: &str = "mbcas.dev/original";
/// What admission did with the pod: `injected`, or the reason why it was not.
pub const INJECTION_ANNOTATION: &str = "mbcas.dev/injection";
/// What the controller would write where it only recommends.
pub const RECOMMENDATION_ANNOTATION: &str = "mbcas.dev/recommendation";

/// On a namespace, with any value but `false`: its pods are left as they are. Written by its administrator.
pub const FROZEN_ANNOTATION: &str = "mbcas.dev/frozen";
/// On a node, with the value [`MARKET_DISABLED`]: nothing is resized there. Written by its administrator.
pub const MARKET_LABEL: &str = "mbcas.dev/market";
/// The value of [`MARKET_LABEL`] that means no.
pub const MARKET_DISABLED: &str = "disabled";

/// The sidecar's container name.
pub const AGENT_CONTAINER: &str = "mbcas-demand-agent";
/// The name of the sidecar's port.
pub const AGENT_PORT_NAME: &str = "mbcas-demand";
/// The empty volume that keeps the service account's token out of the sidecar.
pub const AGENT_VOLUME: &str = "mbcas-no-token";

/// The field manager of the controller's writes: the single automatic writer.
pub const FIELD_MANAGER: &str = "mbcas";
/// The field manager of writes that a person asked for through the `mbcas` command.
pub const CLI_FIELD_MANAGER: &str = "mbcas-cli";
/// The field manager of what the controller says in a BudgetPolicy's status.
pub const STATUS_FIELD_MANAGER: &str = "mbcas-status";
/// The field manager of [`RECOMMENDATION_ANNOTATION`]; another than that of resizes, as
/// an apply takes back what its manager leaves out.
pub const RECOMMENDATION_FIELD_MANAGER: &str = "mbcas-recommend";
/// The field manager of the one field that the webhook writes: `caBundle`, in its own entries.
pub const CA_BUNDLE_FIELD_MANAGER: &str = "mbcas-certs";

/// The mutating webhook configuration. It sorts before the meshes' own.
pub const WEBHOOK_CONFIGURATION: &str = "00-mbcas";
/// The one webhook in it.
pub const WEBHOOK_NAME: &str = "inject.mbcas.dev";
/// The validating webhook configuration.
pub const VALIDATING_WEBHOOK_CONFIGURATION: &str = "mbcas";
/// The webhook in it that warns about workloads at apply time.
pub const WORKLOADS_WEBHOOK_NAME: &str = "workloads.mbcas.dev";
/// The webhook in it that leaves an audit trail of budget changes.
pub const AUDIT_WEBHOOK_NAME: &str = "audit.mbcas.dev";
/// The webhook's Service, and the name in its certificate.
pub const WEBHOOK_SERVICE: &str = "mbcas-webhook";
/// The Secret that holds the webhook's certificate authority.
pub const CA_SECRET: &str = "mbcas-webhook-ca";
/// On that Secret, with any value: begin a rotation of the authority now. It goes away when that has begun.
pub const ROTATE_ANNOTATION: &str = "mbcas.dev/rotate";
/// Where a certificate from elsewhere is mounted, as `tls.crt` and `tls.key`.
pub const CERTIFICATE_DIR: &str = "/etc/mbcas/tls";
/// The controller's Lease.
pub const CONTROLLER_LEASE: &str = "mbcas-controller";
/// A ConfigMap beside the controller, written by whoever runs it: how far MBCAS goes at most, from the next cycle on.
pub const CONTROLLER_SWITCH: &str = "mbcas-controller";
/// The controller's Deployment, which owns the Lease.
pub const CONTROLLER_DEPLOYMENT: &str = "mbcas-controller";
/// The webhook's Deployment, which owns the CA Secret.
pub const WEBHOOK_DEPLOYMENT: &str = "mbcas-webhook";

/// Where the webhook serves HTTPS.
pub const WEBHOOK_PORT: u16 = 9443;
/// Where every process of ours serves `/livez`, `/readyz` and `/metrics`.
pub const ADMIN_PORT: u16 = 9464;
/// Where the controller serves the record of its last decisions, on that port.
pub const DECISIONS_PATH: &str = "/decisions";

/// Which container a pod's own tools talk to by default; ours is the same unless `mbcas.container` says otherwise.
pub const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";
