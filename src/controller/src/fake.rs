//! A small API server for tests: a Lease with optimistic concurrency, pods that
//! take resizes or not, and a note of every write.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use mbcas_runtime::clock::Moment;

/// The server's state.
#[allow(clippy::struct_excessive_bools)] // independent switches of a fake
#[derive(Debug, Default)]
pub(crate) struct FakeApi {
    lease: Option<Value>,
    version: u64,
    /// Writes to pods are noted and never answered.
    pub(crate) is_silent: bool,
    /// The uid of the controller's Deployment, while there is one.
    pub(crate) deployment: Option<&'static str>,
    /// Whether `pods/resize` is served.
    pub(crate) resize: bool,
    /// The 37 of 1.37; empty: it does not say.
    pub(crate) minor: &'static str,
    /// Whether another manager owns the limits that are written.
    pub(crate) is_contested: bool,
    /// The pods, whole.
    pub(crate) pods: Vec<Value>,
    /// Whether it answers no question about the switch.
    pub(crate) is_down: bool,
    /// What the switch says, if it is there.
    pub(crate) switch: Option<Value>,
    /// Every other write: statuses, events, recommendations.
    pub(crate) notes: Vec<(String, Value)>,
    /// Every write to a pod: path and body.
    pub(crate) writes: Vec<(String, Value)>,
}

/// tokio's clock, which tests wind on, for a candidate.
pub(crate) fn paused_clock() -> Moment {
    static LONG_AGO: OnceLock<std::time::Instant> = OnceLock::new();
    let hour = Duration::from_hours(1);
    let zero = LONG_AGO.get_or_init(|| std::time::Instant::now().checked_sub(hour).unwrap());
    Moment::after_zero(tokio::time::Instant::now().into_std().duration_since(*zero))
}

/// The server, shared by its clients.
pub(crate) type Shared = Arc<Mutex<FakeApi>>;

/// Gives clients of a shared server.
pub(crate) trait Clients {
    fn client(&self) -> Client;
}

impl Clients for Shared {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(answer(&api, request).await) }
        });
        Client::new(service, "default")
    }
}

async fn answer(api: &Shared, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let is_write = head.method == Method::PATCH;
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let (status, answer) = api
        .lock()
        .unwrap()
        .handle(&head.method, head.uri.path(), body);
    if is_write && api.lock().unwrap().is_silent {
        std::future::pending::<()>().await;
    }
    Response::builder()
        .status(status)
        .body(Body::from(serde_json::to_vec(&answer).unwrap()))
        .unwrap()
}

fn refusal(code: u16, reason: &str) -> (StatusCode, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
    (StatusCode::from_u16(code).unwrap(), status)
}

/// What an API server answers to a server-side apply of a field that somebody else owns.
fn contested() -> (StatusCode, Value) {
    let (code, mut status) = refusal(409, "Conflict");
    let conflict = "conflict with \"other-resizer\" with subresource \"resize\"";
    let field = ".spec.containers[name=\"app\"].resources.limits.cpu";
    let cause = json!({"reason": "FieldManagerConflict", "message": conflict, "field": field});
    status["details"] = json!({"causes": [cause]});
    (code, status)
}

impl FakeApi {
    pub(crate) fn shared() -> Shared {
        Arc::new(Mutex::new(Self {
            resize: true,
            deployment: Some("deployment-uid"),
            ..Self::default()
        }))
    }

    pub(crate) fn lease_holder(&self) -> Option<String> {
        self.lease
            .as_ref()?
            .pointer("/spec/holderIdentity")?
            .as_str()
            .map(str::to_owned)
    }

    /// Somebody deletes the Lease.
    pub(crate) fn delete_lease(&mut self) {
        self.lease = None;
    }

    /// Somebody changes the Lease's `spec`.
    pub(crate) fn edit_lease(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut lease = self.lease.clone().unwrap();
        edit(&mut lease["spec"]);
        let version = lease["metadata"]["resourceVersion"].clone();
        lease["metadata"]["resourceVersion"] = version;
        self.handle_lease(&Method::PUT, lease);
    }

    /// The Lease's `spec`.
    pub(crate) fn lease_spec(&self) -> Value {
        self.lease.as_ref().unwrap()["spec"].clone()
    }

    pub(crate) fn lease_owner(&self) -> Option<String> {
        self.lease
            .as_ref()?
            .pointer("/metadata/ownerReferences/0/name")?
            .as_str()
            .map(str::to_owned)
    }

    fn handle(&mut self, method: &Method, path: &str, body: Value) -> (StatusCode, Value) {
        if path.contains("/leases") {
            return self.handle_lease(method, body);
        }
        if path.ends_with("/deployments/mbcas-controller") {
            let Some(uid) = self.deployment else {
                return refusal(404, "NotFound");
            };
            let metadata = json!({"name": "mbcas-controller", "uid": uid});
            return (
                StatusCode::OK,
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}),
            );
        }
        if path == "/api/v1" {
            return (StatusCode::OK, self.resources());
        }
        if path == "/version" && !self.minor.is_empty() {
            let version = json!({"major": "1", "minor": self.minor, "gitVersion": "", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
            return (StatusCode::OK, version);
        }
        if path.contains("/configmaps/") {
            if self.is_down {
                return refusal(403, "Forbidden");
            }
            let answer = |data| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": data});
            let found = self
                .switch
                .clone()
                .map(|data| (StatusCode::OK, answer(data)));
            return found.unwrap_or_else(|| refusal(404, "NotFound"));
        }
        if path.ends_with("/status") || path.contains("/events") {
            self.notes.push((path.to_owned(), body.clone()));
            let body = if path.contains("/pods/") {
                json!({"metadata": {}})
            } else {
                body
            };
            return (StatusCode::OK, body);
        }
        let name = path.split('/').nth(6).unwrap_or_default().to_owned();
        let pod = self
            .pods
            .iter()
            .find(|pod| pod["metadata"]["name"] == name.as_str())
            .cloned();
        match (method, pod) {
            (&Method::GET, Some(pod)) => (StatusCode::OK, pod),
            (&Method::PATCH, Some(pod)) => {
                self.writes.push((path.to_owned(), body));
                if self.is_contested {
                    return contested();
                }
                (StatusCode::OK, pod)
            }
            _ => refusal(404, "NotFound"),
        }
    }

    fn resources(&self) -> Value {
        let pods = json!({"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"]});
        let resize = json!({"name": "pods/resize", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get", "patch", "update"]});
        let resources = if self.resize {
            vec![pods, resize]
        } else {
            vec![pods]
        };
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": resources})
    }

    fn handle_lease(&mut self, method: &Method, mut body: Value) -> (StatusCode, Value) {
        match (method, &self.lease) {
            (&Method::GET, Some(lease)) => return (StatusCode::OK, lease.clone()),
            (&Method::GET | &Method::PUT, None) => return refusal(404, "NotFound"),
            (&Method::POST, Some(_)) => return refusal(409, "AlreadyExists"),
            (&Method::PUT, Some(lease))
                if lease.pointer("/metadata/resourceVersion")
                    != body.pointer("/metadata/resourceVersion") =>
            {
                return refusal(409, "Conflict");
            }
            _ => {}
        }
        self.version += 1;
        body["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(body.clone());
        (StatusCode::OK, body)
    }
}
