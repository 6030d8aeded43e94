//! Pods behind an API server with optimistic concurrency, and kubelets that take their time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::api::Api;
use kube::client::Body;
use mbcas_core::units::MilliCpu;
use mbcas_core::{ContainerId, PodId};
use mbcas_market::{LimitReason, Plan, Reasoning, Write};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::service_fn;

use super::Actuator;
use crate::fake::{Clients, FakeApi, paused_clock};
use crate::lease::Candidate;

/// A change of `shop/NAME`'s limit, in millicores; growth needs a donor.
pub(super) fn write(name: &str, from: u64, to: u64) -> Write {
    Write {
        id: ContainerId::new(
            PodId {
                namespace: "shop".into(),
                name: name.into(),
                uid: name.into(),
            },
            "app",
        ),
        from: Some(MilliCpu::new(from)),
        to: MilliCpu::new(to),
        reason: Reasoning::CapBinds {
            cap: MilliCpu::new(to),
        },
        limit_reason: LimitReason::Rule,
        needs_donor: true,
    }
}

/// A node's plan of these writes.
pub(super) fn plan(writes: impl IntoIterator<Item = Write>) -> Plan {
    Plan {
        writes: writes.into_iter().collect(),
        ..Plan::default()
    }
}

/// What the kubelet makes of resizes.
#[derive(Clone, Debug)]
pub(super) enum Kubelet {
    /// Does them after this long.
    After(Duration),
    /// Notes this condition instead: type, reason.
    Says(&'static str, &'static str),
}

/// An answer that comes instead of the write.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) body: Value,
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn of(code: u16, message: &str, causes: &[&str]) -> Self {
        let causes: Vec<_> = causes
            .iter()
            .map(|cause| json!({"reason": cause}))
            .collect();
        let details = json!({"name": "x", "kind": "pods", "causes": causes});
        let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "reason": "Whatever", "message": message, "details": details});
        Self {
            code,
            body,
            retry_after: None,
        }
    }

    pub(super) fn stale() -> Self {
        Self::of(409, "the object has been modified", &[])
    }

    pub(super) fn busy(seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::of(429, "Too many requests", &[])
        }
    }
}

/// Every write that was tried.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub(super) at: Instant,
    pub(super) pod: String,
    /// The limit in it.
    pub(super) to: u64,
}

struct Actor {
    pod: Value,
    kubelet: Kubelet,
    /// When the status will show the spec.
    due: Option<Instant>,
    refusals: VecDeque<Refusal>,
}

/// The whole of it.
#[derive(Default)]
pub(super) struct State {
    actors: BTreeMap<String, Actor>,
    pub(super) tried: Vec<Tried>,
    /// Before this everything is answered with 429, and how often it was.
    pub(super) storm: Option<(Instant, u64, usize)>,
    /// The most that all limits ever added up to, each counted with the larger of spec and status.
    pub(super) worst: u64,
    /// The most pods that were ever written and not confirmed at once.
    pub(super) in_flight: usize,
}

#[derive(Clone, Default)]
pub(super) struct Stage(Arc<Mutex<State>>);

impl Stage {
    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Puts `shop/NAME` there, with a request of 10m and this limit.
    pub(super) fn pod(&self, name: &str, limit: u64, kubelet: Kubelet) -> &Self {
        let resources = json!({"requests": {"cpu": "10m"}, "limits": {"cpu": format!("{limit}m")}});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "1", "generation": 1},
            "spec": {"nodeName": "n1", "containers": [{"name": "app", "resources": resources}]},
            "status": {
                "phase": "Running", "qosClass": "Burstable", "observedGeneration": 1,
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "app", "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "resources": resources}],
            },
        });
        let actor = Actor {
            pod,
            kubelet,
            due: None,
            refusals: VecDeque::new(),
        };
        self.state().actors.insert(name.to_owned(), actor);
        self
    }

    /// The next writes to `name` are answered so.
    pub(super) fn refuse(&self, name: &str, refusals: impl IntoIterator<Item = Refusal>) {
        let mut state = self.state();
        state
            .actors
            .get_mut(name)
            .unwrap()
            .refusals
            .extend(refusals);
    }

    /// Changes the pod behind everybody's back.
    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        edit(&mut self.state().actors.get_mut(name).unwrap().pod);
    }

    pub(super) fn spec(&self, name: &str) -> u64 {
        self.state().actors[name].spec()
    }

    /// The limits that were tried, in order.
    pub(super) fn order(&self) -> Vec<(String, u64)> {
        let state = self.state();
        state.tried.iter().map(|t| (t.pod.clone(), t.to)).collect()
    }

    pub(super) fn client(&self) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let stage = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let stage = stage.clone();
            async move {
                let (head, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let answer = stage.state().handle(&head.method, head.uri.path(), &body);
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        Client::new(service, "default")
    }

    /// A hand on this stage, which leads for 10 s, or as long as the candidate looks again.
    pub(super) async fn hand(&self) -> (Actuator, Candidate) {
        let leases = FakeApi::shared().client();
        let (mut candidate, leader) = Candidate::new(
            Api::namespaced(leases.clone(), "m"),
            Api::namespaced(leases, "m"),
            "a",
            paused_clock,
        );
        candidate.lead().await;
        (Actuator::new(self.client(), leader), candidate)
    }

    /// The same, leading for ever.
    pub(super) async fn leading_hand(&self) -> Actuator {
        let (hand, mut candidate) = self.hand().await;
        tokio::spawn(async move {
            loop {
                candidate.live(Duration::from_secs(2)).await;
            }
        });
        hand
    }
}

fn milli(text: &Value) -> u64 {
    let quantity = mbcas_core::quantity::Quantity::parse(text.as_str().unwrap()).unwrap();
    quantity.as_cpu().unwrap().get()
}

impl Actor {
    fn spec(&self) -> u64 {
        milli(&self.pod["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    }

    fn status(&self) -> u64 {
        milli(&self.pod["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"])
    }

    /// What the kubelet has done by now.
    fn catch_up(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            let spec = self.pod["spec"]["containers"][0]["resources"].clone();
            self.pod["status"]["containerStatuses"][0]["resources"] = spec;
            self.pod["status"]["observedGeneration"] = self.pod["metadata"]["generation"].clone();
        }
    }

    fn patch(&mut self, to: &Value, now: Instant) {
        let count = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap() + 1;
        let version = count(&self.pod["metadata"]["resourceVersion"]).to_string();
        let generation = self.pod["metadata"]["generation"].as_u64().unwrap() + 1;
        self.pod["metadata"]["resourceVersion"] = json!(version);
        self.pod["metadata"]["generation"] = json!(generation);
        self.pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = to.clone();
        let ready = json!({"type": "Ready", "status": "True"});
        self.pod["status"]["conditions"] = json!([ready]);
        match self.kubelet {
            Kubelet::After(delay) => self.due = Some(now + delay),
            Kubelet::Says(kind, reason) if self.spec() > self.status() => {
                let said = json!({"type": kind, "status": "True", "reason": reason, "observedGeneration": generation});
                self.pod["status"]["conditions"] = json!([ready, said]);
            }
            Kubelet::Says(..) => self.due = Some(now),
        }
    }
}

impl State {
    fn handle(&mut self, method: &Method, path: &str, body: &Value) -> Response<Body> {
        let now = Instant::now();
        if path == "/version" {
            return respond(404, &json!({}), None);
        }
        if let Some((_, seconds, count)) = self.storm.as_mut().filter(|(until, ..)| now < *until) {
            *count += 1;
            let busy = Refusal::busy(*seconds);
            return respond(busy.code, &busy.body, busy.retry_after);
        }
        let name = path.split('/').nth(6).unwrap_or_default().to_owned();
        let Some(actor) = self.actors.get_mut(&name) else {
            let missing = Refusal::of(404, "not found", &[]);
            return respond(404, &missing.body, None);
        };
        actor.catch_up(now);
        if method == Method::GET {
            return respond(200, &actor.pod, None);
        }
        let to = body["spec"]["containers"][0]["resources"]["limits"]["cpu"].clone();
        let refusal = actor.refusals.pop_front();
        let version = &body["metadata"]["resourceVersion"];
        let refusal = refusal.or_else(|| {
            (*version != actor.pod["metadata"]["resourceVersion"]).then(Refusal::stale)
        });
        assert_eq!(body["metadata"]["uid"], actor.pod["metadata"]["uid"]);
        self.tried.push(Tried {
            at: now,
            pod: name.clone(),
            to: milli(&to),
        });
        let answer = if let Some(refusal) = refusal {
            respond(refusal.code, &refusal.body, refusal.retry_after)
        } else {
            actor.patch(&to, now);
            respond(200, &actor.pod, None)
        };
        let limits = self.actors.values_mut().map(|actor| {
            actor.catch_up(now);
            actor.spec().max(actor.status())
        });
        self.worst = self.worst.max(limits.sum());
        let waiting = self.actors.values().filter(|a| a.due.is_some()).count();
        self.in_flight = self.in_flight.max(waiting);
        answer
    }
}

fn respond(code: u16, body: &Value, retry_after: Option<u64>) -> Response<Body> {
    let mut response = Response::builder().status(code);
    if let Some(seconds) = retry_after {
        response = response.header("Retry-After", seconds);
    }
    let body = Body::from(serde_json::to_vec(body).unwrap());
    response.body(body).unwrap()
}
