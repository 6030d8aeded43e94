//! An API server that holds no cluster and yet serves one of any size: lists in pages, watches
//! with bookmarks, and events when they are asked for.
//!
//! `apiserver ADDRESS PODS` serves until it is told to end. Whoever measures says what happens:
//!
//! | asked with POST | |
//! | --- | --- |
//! | `/bench/events?N` | sends N events of pods: of ten eight change one, one takes one away, one brings another |
//! | `/bench/relist` | ends the watches of pods with 410, so that their clients list anew |
//! | `/bench/lead` | lets whoever asks have the Lease, which it refuses before |
//!
//! `GET /bench/state` tells how many lists of pods were served to their end, how many watches of
//! pods are open, and how many events were taken.

#![allow(clippy::unwrap_used)] // a tool of ours, not a part of the controller
#![allow(missing_docs)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use futures::channel::mpsc;
use futures::{SinkExt, Stream, StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

mod fleet;

use fleet::{Fleet, below, node};

/// How often an idle watch gets a bookmark.
const BOOKMARK: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Args {
    /// Where to listen.
    address: SocketAddr,
    /// How many pods the cluster has.
    pods: usize,
    /// Where the nodes' kubelets listen; nobody does by default.
    #[arg(long, default_value = "1")]
    kubelet_port: u16,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct Server {
    fleet: Mutex<Fleet>,
    kubelet_port: u16,
    version: AtomicU64,
    lists: AtomicUsize,
    sent: AtomicUsize,
    leads: AtomicBool,
    lease: Mutex<Option<Value>>,
    watches: Mutex<Vec<mpsc::Sender<String>>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let server = Arc::new(Server {
        fleet: Mutex::new(Fleet::new(args.pods)),
        kubelet_port: args.kubelet_port,
        version: AtomicU64::new(1_000),
        lists: AtomicUsize::new(0),
        sent: AtomicUsize::new(0),
        leads: AtomicBool::new(false),
        lease: Mutex::new(None),
        watches: Mutex::new(Vec::new()),
    });
    let listener = TcpListener::bind(args.address).await?;
    println!("listening");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = server.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut answer = Response::new(Full::new(text.into()).boxed_unsync());
    *answer.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    answer
}

fn refusal(code: u16, reason: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code});
    text(StatusCode::from_u16(code).unwrap(), status.to_string())
}

fn streamed(lines: impl Stream<Item = String> + Send + 'static) -> Response<Body> {
    let frames = lines.map(|line| Ok(Frame::data(Bytes::from(line))));
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
}

fn resource(name: &str) -> Value {
    json!({"name": name, "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get", "list", "patch", "update"]})
}

/// What `query` says about `key`.
fn asked<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

impl Server {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let plural = path.rsplit('/').next().unwrap_or_default();
        match (&parts.method, path) {
            (_, path) if path.starts_with("/bench/") => self.bench(plural, query).await,
            (_, path) if path.contains("/leases") => {
                let body = body.collect().await.map(http_body_util::Collected::to_bytes);
                let body = serde_json::from_slice(&body.unwrap_or_default());
                self.lease(&parts.method, body.unwrap_or_default())
            }
            (&Method::GET, "/version") => text(StatusCode::OK, json!({"major": "1", "minor": "37", "gitVersion": "v1.37.2", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}).to_string()),
            (&Method::GET, "/api/v1") => text(StatusCode::OK, json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [resource("pods"), resource("pods/resize")]}).to_string()),
            (
                &Method::GET,
                "/api/v1/pods"
                | "/api/v1/nodes"
                | "/api/v1/namespaces"
                | "/api/v1/limitranges"
                | "/api/v1/resourcequotas"
                | "/apis/autoscaling/v2/horizontalpodautoscalers"
                | "/apis/mbcas.dev/v1alpha1/budgetpolicies",
            ) => {
                let is_watch = matches!(asked(query, "watch"), Some("true" | "1"));
                if is_watch { self.watch(plural) } else { self.list(plural, query) }
            }
            _ => refusal(404, "NotFound"),
        }
    }

    /// Every object of a kind: how many, and each one's text.
    fn kind(self: &Arc<Self>, plural: &str) -> (usize, Box<dyn Fn(usize) -> String + Send>) {
        let server = self.clone();
        let version = self.version.load(Ordering::Relaxed);
        let (pods, nodes) = {
            let fleet = lock(&self.fleet);
            (fleet.pods(), fleet.nodes())
        };
        match plural {
            "pods" => (
                pods,
                Box::new(move |number| lock(&server.fleet).pod(number, version)),
            ),
            "nodes" => (
                nodes,
                Box::new(move |number| node(number, server.kubelet_port, version)),
            ),
            "namespaces"
            | "budgetpolicies"
            | "limitranges"
            | "resourcequotas"
            | "horizontalpodautoscalers" => {
                let names = lock(&self.fleet).labelled();
                let plural = plural.to_owned();
                (
                    names.len(),
                    Box::new(move |number| in_namespace(&plural, &names[number], version)),
                )
            }
            _ => (0, Box::new(|_| String::new())),
        }
    }

    fn list(self: Arc<Self>, plural: &str, query: &str) -> Response<Body> {
        let (all, object) = self.kind(plural);
        let from = asked(query, "continue")
            .and_then(|at| at.parse().ok())
            .unwrap_or(0);
        let limit = asked(query, "limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(all);
        let to = all.min(from + limit);
        let mut metadata =
            json!({"resourceVersion": self.version.load(Ordering::Relaxed).to_string()});
        if to < all {
            metadata["continue"] = json!(to.to_string());
            metadata["remainingItemCount"] = json!(all - to);
        }
        let head = format!(r#"{{"kind":"List","apiVersion":"v1","metadata":{metadata},"items":["#);
        let items = (from..to).map(move |number| {
            let comma = if number == from { "" } else { "," };
            format!("{comma}{}", object(number))
        });
        let is_last = plural == "pods" && to == all;
        let foot = stream::once(async move {
            self.lists
                .fetch_add(usize::from(is_last), Ordering::Relaxed);
            "]}\n".to_owned()
        });
        streamed(stream::iter([head]).chain(stream::iter(items)).chain(foot))
    }

    fn watch(self: Arc<Self>, plural: &str) -> Response<Body> {
        let (sender, events) = mpsc::channel(16);
        if plural == "pods" {
            lock(&self.watches).push(sender);
        } else {
            // It lasts as long as its client does, and nothing happens.
            std::mem::forget(sender);
        }
        let kind = match plural {
            "pods" => "Pod",
            "nodes" => "Node",
            _ => "Other",
        };
        let bookmarks = stream::unfold(self, move |server| async move {
            tokio::time::sleep(BOOKMARK).await;
            let version = server.version.load(Ordering::Relaxed).to_string();
            let object =
                json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": version}});
            Some((Some(event("BOOKMARK", &object.to_string())), server))
        });
        // The watch ends when nobody sends events any more.
        let events = events.map(Some).chain(stream::iter([None]));
        let lines = stream::select(events, bookmarks);
        streamed(
            lines
                .take_while(|line| std::future::ready(line.is_some()))
                .filter_map(std::future::ready),
        )
    }

    async fn bench(&self, what: &str, query: &str) -> Response<Body> {
        match what {
            "events" => self.events(query.parse().unwrap_or(1)).await,
            "relist" => {
                let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410});
                let watches = std::mem::take(&mut *lock(&self.watches));
                for mut watch in watches {
                    drop(watch.send(event("ERROR", &gone.to_string())).await);
                }
            }
            "lead" => self.leads.store(true, Ordering::Relaxed),
            _ => {}
        }
        let watches = lock(&self.watches)
            .iter()
            .filter(|watch| !watch.is_closed())
            .count();
        let (lists, sent) = (
            self.lists.load(Ordering::Relaxed),
            self.sent.load(Ordering::Relaxed),
        );
        text(
            StatusCode::OK,
            json!({"lists": lists, "watches": watches, "events": sent}).to_string(),
        )
    }

    async fn events(&self, count: usize) {
        for number in 0..count as u64 {
            let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
            let line = {
                let mut fleet = lock(&self.fleet);
                let pods = fleet.pods();
                // A pod that is taken away is the one that another is brought for.
                let seed = if number % 10 == 9 {
                    version - 1
                } else {
                    version
                };
                let pod = below(seed, pods);
                let what = match number % 10 {
                    8 => "DELETED",
                    9 => "ADDED",
                    _ => "MODIFIED",
                };
                match what {
                    "ADDED" => fleet.replace(pod),
                    "MODIFIED" => fleet.change(pod),
                    _ => {}
                }
                let pod = fleet.pod(pod, version);
                event(
                    what,
                    &format!(r#"{{"kind":"Pod","apiVersion":"v1",{}"#, &pod[1..]),
                )
            };
            let watches = lock(&self.watches).clone();
            for mut watch in watches {
                drop(watch.send(line.clone()).await);
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lease(&self, method: &Method, mut lease: Value) -> Response<Body> {
        if !self.leads.load(Ordering::Relaxed) {
            return refusal(403, "Forbidden");
        }
        let mut held = lock(&self.lease);
        if method == Method::GET {
            return held.as_ref().map_or_else(
                || refusal(404, "NotFound"),
                |lease| text(StatusCode::OK, lease.to_string()),
            );
        }
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        lease["metadata"]["resourceVersion"] = json!(version.to_string());
        let lease = held.insert(lease);
        text(StatusCode::OK, lease.to_string())
    }
}

fn event(what: &str, object: &str) -> String {
    format!("{{\"type\":\"{what}\",\"object\":{object}}}\n")
}

/// The one object of a kind that `namespace` has; for namespaces, itself.
fn in_namespace(plural: &str, namespace: &str, version: u64) -> String {
    let version = version.to_string();
    let meta = |name: &str| json!({"name": name, "namespace": namespace, "uid": namespace, "resourceVersion": version});
    let object = match plural {
        "namespaces" => {
            json!({"metadata": {"name": namespace, "resourceVersion": version, "labels": {"mbcas-injection": "enabled"}}})
        }
        "budgetpolicies" => {
            json!({"metadata": meta("default"), "spec": {"budget": {"total": 5_000, "default": 100, "min": 50, "max": 500}, "cpu": {"maxPerPod": "4"}}})
        }
        "limitranges" => {
            json!({"metadata": meta("limits"), "spec": {"limits": [{"type": "Container", "max": {"cpu": "8"}}]}})
        }
        "resourcequotas" => {
            json!({"metadata": meta("compute"), "spec": {"hard": {"limits.cpu": "2k"}}, "status": {"hard": {"limits.cpu": "2k"}, "used": {"limits.cpu": "1k"}}})
        }
        _ => {
            json!({"metadata": meta("web"), "spec": {"maxReplicas": 10, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}})
        }
    };
    object.to_string()
}
