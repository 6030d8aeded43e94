//! An API server and pods to talk about, for tests.

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::client::Body;
use mbcas_core::annotations::Mode;
use mbcas_core::{Budget, ContainerId, Demand, MilliCpu, PodId};
use mbcas_market::decision::{Decision, Turn};
use mbcas_market::{Ledger, NodeSnapshot, NodeSupply, Observed};
use serde_json::{Value, json};
use tower_test::mock::{self, Handle, SendResponse};

use crate::args::Installation;
use crate::connect::Cluster;

/// The server's end of a connection.
pub(crate) struct Server(Handle<Request<Body>, Response<Body>>);

/// One request, to be answered.
pub(crate) struct Asked {
    /// Method and path, as in `GET /api/v1/nodes/a`.
    pub(crate) what: String,
    /// The query.
    pub(crate) query: String,
    /// The body; null where there is none.
    pub(crate) body: Value,
    answer: SendResponse<Response<Body>>,
}

/// A cluster whose context has the namespace `shop`, and its server.
pub(crate) fn cluster() -> (Cluster, Server) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "shop");
    (
        Cluster {
            client,
            named: None,
            usual: "shop".to_owned(),
        },
        Server(handle),
    )
}

/// How a command ended. One that waits for ever (for an answer that no test gives) is a failure.
pub(crate) async fn end<T>(command: tokio::task::JoinHandle<T>) -> T {
    let ended = tokio::time::timeout(Duration::from_hours(1), command);
    ended.await.expect("the command waits for ever").unwrap()
}

/// A cluster that gives these answers in turn, texts as they stand, and what it was asked for:
/// paths with their queries.
pub(crate) fn telling(answers: Vec<Value>) -> (Cluster, tokio::task::JoinHandle<Vec<String>>) {
    let (cluster, Server(mut handle)) = cluster();
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let Some((request, send)) = handle.next_request().await else {
                break;
            };
            asked.push(request.uri().to_string());
            let body = match &answer {
                Value::String(text) => text.clone().into_bytes(),
                other => serde_json::to_vec(other).unwrap(),
            };
            let status = answer["code"].as_u64().unwrap_or(200);
            let answer = Response::builder().status(u16::try_from(status).unwrap());
            send.send_response(answer.body(Body::from(body)).unwrap());
        }
        asked
    });
    (cluster, server)
}

/// The Lease that `mbcas-controller-7` holds.
pub(crate) fn lease() -> Value {
    json!({"metadata": {"name": "mbcas-controller"}, "spec": {"holderIdentity": "mbcas-controller-7_00ff"}})
}

/// Where that controller's admin port is reached.
pub(crate) const LEADER: &str =
    "/api/v1/namespaces/mbcas-system/pods/mbcas-controller-7:9464/proxy";

/// A record of two cycles and an early turn of node `node-1`, where `shop/web` and `shop/hog` share 1800m.
pub(crate) fn record() -> Vec<Decision<'static>> {
    let pod = |name: &str, budget| {
        let id = PodId {
            namespace: "shop".into(),
            name: name.into(),
            uid: "11aa".into(),
        };
        let observed = Observed {
            request: MilliCpu::new(100),
            limit: Some(MilliCpu::new(1_000)),
            min_cpu: None,
            max_cpu: None,
            budget: Budget::new(budget).unwrap().into(),
            is_scaled: false,
            demand: Demand::NEUTRAL,
            measured: None,
            usage: None,
            starting: false,
            mode: Mode::Auto,
        };
        (ContainerId::new(id, "app"), observed)
    };
    let mut snapshot = NodeSnapshot {
        node: "node-1".into(),
        supply: NodeSupply {
            allocatable: MilliCpu::new(1_800),
            cores: MilliCpu::new(2_000),
            ..NodeSupply::default()
        },
        participants: [pod("web", 600), pod("hog", 200)].into(),
        non_participants: Vec::new(),
    };
    let settings = mbcas_market::policy::Settings {
        rule: mbcas_market::Rule::Proportional,
        ..mbcas_market::policy::Settings::default()
    };
    let policy = mbcas_market::Policy::new(settings).unwrap();
    let mut ledger = Ledger::default();
    let mut turn = |seconds, turn| {
        let now = Duration::from_secs(seconds);
        let plan = mbcas_market::plan(&snapshot, &ledger, &policy, now);
        let outcomes = plan.writes.iter().map(|w| (w.id.clone(), "done".into()));
        let decision = Decision {
            time: Duration::from_secs(1_800_000_000 + seconds),
            term: 3,
            turn,
            now,
            policy,
            outcomes: outcomes.collect(),
            snapshot: Cow::Owned(snapshot.clone()),
            ledger: Cow::Owned(ledger.clone()),
            plan: Cow::Owned(plan.clone()),
        };
        for write in &plan.writes {
            snapshot.participants.get_mut(&write.id).unwrap().limit = Some(write.to);
        }
        ledger = plan.ledger;
        decision
    };
    vec![
        turn(15, Turn::Cycle),
        turn(20, Turn::Early),
        turn(30, Turn::Cycle),
    ]
}

/// The same as the controller serves it.
pub(crate) fn lines(record: &[Decision<'_>]) -> String {
    let lines = record
        .iter()
        .map(|decision| decision.line().unwrap() + "\n");
    lines.collect()
}

/// A refusal in these words.
pub(crate) fn refused(code: u16, message: &str) -> Value {
    let reason = if code == 404 { "NotFound" } else { "Other" };
    json!({"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code})
}

/// The installation that is meant unless another is named.
pub(crate) fn installation() -> Installation {
    Installation {
        controller_namespace: "mbcas-system".to_owned(),
    }
}

impl Server {
    /// The request that comes next.
    pub(crate) async fn next(&mut self) -> Asked {
        self.next_if_any().await.expect("the client is gone")
    }

    /// The request that comes next; none when the client is gone.
    pub(crate) async fn next_if_any(&mut self) -> Option<Asked> {
        let next = tokio::time::timeout(Duration::from_mins(10), self.0.next_request());
        let (request, answer) = next.await.expect("no request comes")?;
        let method: &Method = request.method();
        let what = format!("{method} {}", request.uri().path());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let bytes = request.into_body().collect_bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Some(Asked {
            what,
            query,
            body,
            answer,
        })
    }

    /// Answers the request that comes next, which must be `what`.
    pub(crate) async fn expect(&mut self, what: &str, body: &Value) {
        let asked = self.next().await;
        assert_eq!(asked.what, what);
        asked.answer(200, body);
    }
}

impl Asked {
    /// Answers it.
    pub(crate) fn answer(self, code: u16, body: &Value) {
        let body = Body::from(serde_json::to_vec(body).unwrap());
        self.answer
            .send_response(Response::builder().status(code).body(body).unwrap());
    }

    /// Answers it with a failure in these words.
    pub(crate) fn refuse(self, code: u16, message: &str, details: &Value) {
        let reason = if code == 404 { "NotFound" } else { "Other" };
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": code, "message": message, "reason": reason, "details": details,
        });
        self.answer(code, &status);
    }
}

/// A running pod `shop/NAME` on node `node-1` whose container `app` has these CPU
/// amounts, in spec and status, and whose record says `original`.
pub(crate) fn pod(name: &str, request: &str, limit: &str, original: Option<&str>) -> Value {
    let resources = json!({
        "requests": { "cpu": request, "memory": "16Mi" },
        "limits": { "cpu": limit, "memory": "32Mi" },
    });
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "shop", "uid": "11aa", "resourceVersion": "70", "generation": 3 },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "app", "resources": resources }] },
        "status": {
            "phase": "Running",
            "qosClass": "Burstable",
            "observedGeneration": 3,
            "containerStatuses": [{
                "name": "app", "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
                "state": { "running": {} },
                "resources": resources,
            }],
        },
    });
    if let Some(original) = original {
        pod["metadata"]["annotations"] = json!({ "mbcas.dev/original": original });
    }
    pod
}

/// The same as the client knows it.
pub(crate) fn typed(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).unwrap()
}

/// The words of a real API server for a field that another resizer owns.
pub(crate) fn contested_by(manager: &str) -> (String, Value) {
    let conflict = format!("conflict with \"{manager}\" with subresource \"resize\"");
    let field = ".spec.containers[name=\"app\"].resources.limits.cpu";
    let cause = json!({ "reason": "FieldManagerConflict", "message": conflict, "field": field });
    (
        format!("Apply failed with 1 conflict: {conflict}: {field}"),
        json!({ "causes": [cause] }),
    )
}
