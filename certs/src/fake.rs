//! An API server that knows one Deployment, one Secret and one webhook
//! configuration, with the rules that matter here: resourceVersions, 404, 409,
//! and server-side apply that merges `webhooks` by name.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

pub(crate) const NAMESPACE: &str = "mbcas-system";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/mbcas-system/deployments/mbcas-webhook";
const SECRETS: &str = "/api/v1/namespaces/mbcas-system/secrets";
const SECRET: &str = "/api/v1/namespaces/mbcas-system/secrets/mbcas-webhook-ca";
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/00-mbcas";

/// What the server holds, and what was asked of it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) deployment_uid: &'static str,
    pub(crate) secret: Option<Value>,
    pub(crate) configuration: Option<Value>,
    pub(crate) version: u64,
    pub(crate) calls: Vec<String>,
    /// Runs before the next write, once: another replica that is quicker.
    pub(crate) before_write: Option<fn(&mut Self)>,
    /// The next call is answered with this status.
    pub(crate) fail_next: Option<u16>,
}

pub(crate) type Shared = Arc<Mutex<Cluster>>;

/// A fresh install: the chart's objects and nothing of ours.
pub(crate) fn cluster() -> (Client, Shared) {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "00-mbcas", "resourceVersion": "1"},
        "webhooks": [
            {"name": "other.example.org", "clientConfig": {"url": "https://other"}, "sideEffects": "None",
             "admissionReviewVersions": ["v1"]},
            {"name": "inject.mbcas.dev", "clientConfig": {"service": {"name": "mbcas-webhook", "namespace": NAMESPACE}},
             "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2}],
    });
    let cluster = Cluster {
        deployment_uid: "uid-1",
        secret: None,
        configuration: Some(configuration),
        version: 1,
        calls: Vec::new(),
        before_write: None,
        fail_next: None,
    };
    let shared = Arc::new(Mutex::new(cluster));
    (client(&shared), shared)
}

/// One more client of the same cluster.
pub(crate) fn client(shared: &Shared) -> Client {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (code, value) = shared.lock().unwrap().answer(
                &parts.method,
                parts.uri.path(),
                parts.uri.query(),
                &body,
            );
            let body = Body::from(serde_json::to_vec(&value).unwrap());
            respond.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    Client::new(service, NAMESPACE)
}

impl Cluster {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        self.calls.push(format!("{method} {path}"));
        if let Some(code) = self.fail_next.take() {
            return refused(code, "injected fault");
        }
        if method != Method::GET
            && let Some(act) = self.before_write.take()
        {
            act(self);
        }
        match (method.as_str(), path) {
            ("GET", DEPLOYMENT) => (
                200,
                json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "mbcas-webhook", "namespace": NAMESPACE, "uid": self.deployment_uid}}),
            ),
            ("GET", SECRET) => found(self.secret.as_ref()),
            ("POST", SECRETS) if self.secret.is_some() => refused(409, "already exists"),
            ("POST", SECRETS) => (201, self.store_secret(body.clone())),
            ("PUT", SECRET) => match self.secret.as_ref().map(version) {
                None => refused(404, "not found"),
                Some(now) if now != version(body) => refused(409, "the object has been modified"),
                Some(_) => (200, self.store_secret(body.clone())),
            },
            ("GET", CONFIGURATION) => found(self.configuration.as_ref()),
            ("PATCH", CONFIGURATION) => self.apply(query.unwrap_or_default(), body),
            _ => refused(403, "not allowed"),
        }
    }

    fn store_secret(&mut self, mut secret: Value) -> Value {
        self.version += 1;
        secret["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.secret = Some(secret.clone());
        secret
    }

    fn apply(&mut self, query: &str, patch: &Value) -> (u16, Value) {
        assert!(
            query.contains("fieldManager=mbcas-certs") && query.contains("force=true"),
            "{query}"
        );
        let Some(configuration) = &mut self.configuration else {
            return refused(404, "not found");
        };
        if version(patch) != version(configuration) {
            return refused(409, "the object has been modified");
        }
        assert_eq!(
            patch["webhooks"].as_array().map(Vec::len),
            Some(1),
            "only our own entry: {patch}"
        );
        let entry = &patch["webhooks"][0];
        assert_eq!(
            entry.as_object().unwrap().len(),
            2,
            "only its name and clientConfig: {entry}"
        );
        assert_eq!(
            entry["clientConfig"].as_object().unwrap().len(),
            1,
            "only caBundle: {entry}"
        );
        let webhooks = configuration["webhooks"].as_array_mut().unwrap();
        let ours = webhooks
            .iter_mut()
            .find(|webhook| webhook["name"] == entry["name"])
            .unwrap();
        ours["clientConfig"]["caBundle"] = entry["clientConfig"]["caBundle"].clone();
        self.version += 1;
        configuration["metadata"]["resourceVersion"] = json!(self.version.to_string());
        (200, configuration.clone())
    }

    /// Our entry's `caBundle`, in base64.
    pub(crate) fn ca_bundle(&self) -> Option<&str> {
        self.configuration.as_ref()?["webhooks"][1]["clientConfig"]["caBundle"].as_str()
    }

    /// Somebody applies the chart again in a way that drops our field.
    pub(crate) fn wipe_ca_bundle(&mut self) {
        self.version += 1;
        let version = json!(self.version.to_string());
        let configuration = self.configuration.as_mut().unwrap();
        configuration["webhooks"][1]["clientConfig"]
            .as_object_mut()
            .unwrap()
            .remove("caBundle");
        configuration["metadata"]["resourceVersion"] = version;
    }

    /// The calls that wrote something, since the last question.
    pub(crate) fn writes(&mut self) -> Vec<String> {
        let calls = std::mem::take(&mut self.calls);
        calls
            .into_iter()
            .filter(|call| !call.starts_with("GET"))
            .collect()
    }
}

fn found(object: Option<&Value>) -> (u16, Value) {
    object.map_or_else(|| refused(404, "not found"), |object| (200, object.clone()))
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
}

fn refused(code: u16, message: &str) -> (u16, Value) {
    let reason = match code {
        404 => "NotFound",
        409 if message == "already exists" => "AlreadyExists",
        409 => "Conflict",
        403 => "Forbidden",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code,
    });
    (code, status)
}
