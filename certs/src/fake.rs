//! An API server that knows one Deployment, one Secret and our two webhook
//! configurations, with the rules that matter here: resourceVersions, 404, 409,
//! server-side apply that merges `webhooks` by name and drops what an apply no
//! longer names, and watches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream::{self, StreamExt};
use http::header::DATE;
use http::{Method, Request, Response};
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Frame};
use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822::DateTimePrinter;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower_test::mock;

use crate::bundle::Bundle;

pub(crate) const NAMESPACE: &str = "mbcas-system";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/mbcas-system/deployments/mbcas-webhook";
const SECRETS: &str = "/api/v1/namespaces/mbcas-system/secrets";
const SECRET: &str = "/api/v1/namespaces/mbcas-system/secrets/mbcas-webhook-ca";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// Our entries, and the configuration that each is in.
pub(crate) const ENTRIES: [(&str, &str); 3] = [
    ("00-mbcas", "inject.mbcas.dev"),
    ("mbcas", "workloads.mbcas.dev"),
    ("mbcas", "audit.mbcas.dev"),
];

type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// What the server holds, and what was asked of it.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// What its clock shows, which every answer carries.
    clock: fn() -> SystemTime,
    pub(crate) deployment_uid: &'static str,
    pub(crate) secret: Option<Value>,
    /// By name.
    pub(crate) configurations: BTreeMap<&'static str, Value>,
    pub(crate) version: u64,
    pub(crate) calls: Vec<String>,
    /// Runs before the next write, once: another replica that is quicker.
    pub(crate) before_write: Option<fn(&mut Self)>,
    /// The next call is answered with this status.
    pub(crate) fail_next: Option<u16>,
    /// Calls whose method and path begin like this are answered with 403.
    pub(crate) forbidden: Option<&'static str>,
    /// Calls whose method and path begin like this are answered by something before it, which knows no time.
    pub(crate) down: Option<&'static str>,
    watches: Vec<(&'static str, UnboundedSender<Value>)>,
    /// What each entry carried, since when.
    pub(crate) history: Vec<(Instant, BTreeMap<&'static str, Bundle>)>,
}

pub(crate) type Shared = Arc<Mutex<Cluster>>;

/// A fresh install: the chart's objects and nothing of ours.
pub(crate) fn cluster(clock: fn() -> SystemTime) -> (Client, Shared) {
    let entry = |name: &str| {
        json!({"name": name, "clientConfig": {"service": {"name": "mbcas-webhook", "namespace": NAMESPACE}},
               "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2})
    };
    let configuration = |kind: &str, name: &str, webhooks: &[&str]| {
        let webhooks: Vec<_> = webhooks.iter().map(|name| entry(name)).collect();
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
               "metadata": {"name": name, "resourceVersion": "1"}, "webhooks": webhooks})
    };
    let mutating = configuration(
        "MutatingWebhookConfiguration",
        "00-mbcas",
        &["other.example.org", "inject.mbcas.dev"],
    );
    let validating = configuration(
        "ValidatingWebhookConfiguration",
        "mbcas",
        &["workloads.mbcas.dev", "audit.mbcas.dev"],
    );
    let cluster = Cluster {
        clock,
        deployment_uid: "uid-1",
        secret: None,
        configurations: BTreeMap::from([("00-mbcas", mutating), ("mbcas", validating)]),
        version: 1,
        calls: Vec::new(),
        before_write: None,
        fail_next: None,
        forbidden: None,
        down: None,
        watches: Vec::new(),
        history: Vec::new(),
    };
    let shared = Arc::new(Mutex::new(cluster));
    (client(&shared), shared)
}

/// One more client of the same cluster.
pub(crate) fn client(shared: &Shared) -> Client {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Answer>>();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
            let mut cluster = shared.lock().unwrap();
            let call = format!("{} {path}", parts.method);
            if cluster.down.is_some_and(|start| call.starts_with(start)) {
                let nothing = Answer::new(StreamBody::new(stream::empty()));
                let answer = Response::builder().status(502);
                respond.send_response(answer.body(nothing).unwrap());
                continue;
            }
            let (code, values) = if query.contains("watch=true") {
                cluster.watch(path, query)
            } else {
                let (code, value) = cluster.answer(&parts.method, path, query, &body);
                (code, stream::iter([value]).boxed())
            };
            let lines = values.map(|value| Ok(Frame::data(Bytes::from(format!("{value}\n")))));
            let body = Answer::new(StreamBody::new(lines));
            let date = Timestamp::try_from((cluster.clock)()).unwrap();
            let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date);
            let answer = Response::builder().status(code);
            respond.send_response(answer.header(DATE, date.unwrap()).body(body).unwrap());
        }
    });
    Client::new(service, NAMESPACE)
}

impl Cluster {
    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let listed = *method == Method::GET && [MUTATING, VALIDATING].contains(&path);
        let verb = if listed { "LIST" } else { method.as_str() };
        let call = format!("{verb} {path}");
        let forbidden = self.forbidden.is_some_and(|start| call.starts_with(start));
        self.calls.push(call);
        if forbidden {
            return refused(403, "not allowed");
        }
        if let Some(code) = self.fail_next.take() {
            return refused(code, "injected fault");
        }
        if method != Method::GET
            && let Some(act) = self.before_write.take()
        {
            act(self);
        }
        if let Some(name) = configuration(path) {
            return match *method {
                Method::GET => found(self.configurations.get(name)),
                Method::PATCH => self.apply(name, query, body),
                _ => refused(403, "not allowed"),
            };
        }
        match (method.as_str(), path) {
            ("GET", MUTATING | VALIDATING) => (200, self.list(path, query)),
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
            _ => refused(403, "not allowed"),
        }
    }

    fn list(&self, path: &str, query: &str) -> Value {
        let items: Vec<_> = selected(path, query)
            .and_then(|name| self.configurations.get(name))
            .into_iter()
            .collect();
        let metadata = json!({"resourceVersion": self.version.to_string()});
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "List", "metadata": metadata, "items": items})
    }

    fn watch(&mut self, path: &str, query: &str) -> (u16, stream::BoxStream<'static, Value>) {
        let call = format!("WATCH {path}");
        let forbidden = self.forbidden.is_some_and(|start| call.starts_with(start));
        self.calls.push(call);
        let Some(name) = selected(path, query).filter(|_| !forbidden) else {
            let (code, status) = refused(403, "not allowed");
            return (code, stream::iter([status]).boxed());
        };
        let (sender, events) = unbounded();
        self.watches.push((name, sender));
        (200, events.boxed())
    }

    /// Somebody changes a configuration: `change` sees it, and watches hear of it.
    pub(crate) fn change(&mut self, name: &'static str, change: impl FnOnce(&mut Value)) -> Value {
        self.version += 1;
        let configuration = self.configurations.get_mut(name).unwrap();
        change(configuration);
        configuration["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let configuration = configuration.clone();
        let event = json!({"type": "MODIFIED", "object": configuration});
        self.watches.retain(|(watched, sender)| {
            *watched != name || sender.unbounded_send(event.clone()).is_ok()
        });
        let carried = ENTRIES.map(|(_, entry)| (entry, self.carried(entry)));
        self.history.push((Instant::now(), BTreeMap::from(carried)));
        configuration
    }

    fn store_secret(&mut self, mut secret: Value) -> Value {
        self.version += 1;
        secret["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.secret = Some(secret.clone());
        secret
    }

    fn apply(&mut self, name: &'static str, query: &str, patch: &Value) -> (u16, Value) {
        assert!(
            query.contains("fieldManager=mbcas-certs") && query.contains("force=true"),
            "{query}"
        );
        let Some(configuration) = self.configurations.get(name) else {
            return refused(404, "not found");
        };
        if version(patch) != version(configuration) {
            return refused(409, "the object has been modified");
        }
        assert_eq!(patch["kind"], configuration["kind"]);
        let applied = patch["webhooks"].as_array().unwrap().clone();
        let configuration = self.change(name, |configuration| {
            for webhook in configuration["webhooks"].as_array_mut().unwrap() {
                let named = applied
                    .iter()
                    .find(|entry| entry["name"] == webhook["name"]);
                let client = webhook["clientConfig"].as_object_mut().unwrap();
                match named {
                    Some(entry) => {
                        let fields = entry["clientConfig"].as_object().unwrap();
                        assert_eq!(fields.len(), 1, "only caBundle: {entry}");
                        assert_eq!(entry.as_object().unwrap().len(), 2, "{entry}");
                        client.extend(fields.clone());
                    }
                    // What we owned and no longer name is removed.
                    None => drop(client.remove("caBundle")),
                }
            }
        });
        let there = |entry: &Value| {
            let webhooks = configuration["webhooks"].as_array().unwrap();
            webhooks
                .iter()
                .any(|webhook| webhook["name"] == entry["name"])
        };
        assert!(
            applied.iter().all(there),
            "an apply would make an entry anew: {patch}"
        );
        (200, configuration)
    }

    /// What one of our entries carries.
    pub(crate) fn carried(&self, entry: &str) -> Bundle {
        let text = self.webhook(entry).and_then(|webhook| {
            let field = webhook["clientConfig"].get("caBundle")?.clone();
            let bytes: k8s_openapi::ByteString = serde_json::from_value(field).unwrap();
            String::from_utf8(bytes.0).ok()
        });
        Bundle::read(&text.unwrap_or_default())
    }

    fn webhook(&self, entry: &str) -> Option<&Value> {
        let mut webhooks = self
            .configurations
            .values()
            .flat_map(|configuration| configuration["webhooks"].as_array().unwrap());
        webhooks.find(|webhook| webhook["name"] == entry)
    }

    /// Somebody applies the chart again in a way that drops our field.
    pub(crate) fn wipe(&mut self, name: &'static str) {
        self.change(name, |configuration| {
            for webhook in configuration["webhooks"].as_array_mut().unwrap() {
                webhook["clientConfig"]
                    .as_object_mut()
                    .unwrap()
                    .remove("caBundle");
            }
        });
    }

    /// Somebody else says whom the API server trusts when it calls `entry`.
    pub(crate) fn trust(&mut self, entry: &str, bundle: &Bundle) {
        let (name, _) = ENTRIES
            .into_iter()
            .find(|(_, name)| *name == entry)
            .unwrap();
        self.change(name, |configuration| {
            let mut webhooks = configuration["webhooks"].as_array_mut().unwrap().iter_mut();
            let webhook = webhooks.find(|webhook| webhook["name"] == entry).unwrap();
            webhook["clientConfig"]["caBundle"] = json!(ByteString(bundle.pem().into_bytes()));
        });
    }

    /// Somebody asks for a rotation.
    pub(crate) fn ask_for_rotation(&mut self) {
        let mut secret = self.secret.clone().unwrap();
        secret["metadata"]["annotations"] = json!({"mbcas.dev/rotate": ""});
        self.store_secret(secret);
    }

    /// The calls that wrote something, since the last question.
    pub(crate) fn writes(&mut self) -> Vec<String> {
        let calls = std::mem::take(&mut self.calls);
        calls
            .into_iter()
            .filter(|call| {
                !["GET", "LIST", "WATCH"]
                    .iter()
                    .any(|verb| call.starts_with(verb))
            })
            .collect()
    }
}

/// The configuration that a path names.
fn configuration(path: &str) -> Option<&'static str> {
    [(MUTATING, "00-mbcas"), (VALIDATING, "mbcas")]
        .into_iter()
        .find(|(folder, name)| path == format!("{folder}/{name}"))
        .map(|(_, name)| name)
}

/// The configuration that a list or a watch asks for: none, without the name that RBAC needs.
fn selected(path: &str, query: &str) -> Option<&'static str> {
    let name = configuration(&format!(
        "{path}/{}",
        if path == MUTATING {
            "00-mbcas"
        } else {
            "mbcas"
        }
    ))?;
    let selector = format!("fieldSelector=metadata.name%3D{name}");
    query
        .split('&')
        .any(|part| part == selector)
        .then_some(name)
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
