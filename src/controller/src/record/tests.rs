use http::Request;
use http_body_util::BodyExt;
use mbcas_core::annotations::Mode;
use mbcas_core::units::{Budget, Demand, MilliCpu};
use mbcas_core::{ContainerId, PodId};
use mbcas_market::policy::Settings;
use mbcas_market::{NodeSupply, Observed, Rule, plan};
use tower::ServiceExt;

use super::*;

/// A node with so many participants that have to be written to.
fn node(name: &str, participants: usize) -> NodeSnapshot {
    let observed = Observed {
        request: MilliCpu::new(100),
        limit: Some(MilliCpu::new(64_000)),
        min_cpu: None,
        max_cpu: None,
        budget: Budget::DEFAULT.into(),
        is_scaled: false,
        demand: Demand::NEUTRAL,
        measured: None,
        usage: None,
        starting: false,
        mode: Mode::Auto,
    };
    let id = |number: usize| {
        let pod = PodId {
            namespace: "shop".into(),
            name: format!("web-5d4f6c7b8d-{number:05}"),
            uid: format!("6f1c2b9e-4c8e-4a57-9a3f-{number:012}"),
        };
        ContainerId::new(pod, "app")
    };
    NodeSnapshot {
        node: name.into(),
        supply: NodeSupply {
            allocatable: MilliCpu::new(16_000),
            cores: MilliCpu::new(16_000),
            ..NodeSupply::default()
        },
        participants: (0..participants)
            .map(|number| (id(number), observed.clone()))
            .collect(),
        non_participants: Vec::new(),
    }
}

fn occasion() -> Occasion {
    let settings = Settings {
        rule: Rule::Proportional,
        ..Settings::default()
    };
    Occasion {
        term: 1,
        turn: Turn::Cycle,
        now: Duration::from_mins(1),
        policy: Policy::new(settings).unwrap(),
    }
}

/// One turn over `nodes`, as it comes; returns which of them were noted beforehand.
fn turn(record: &Record, nodes: &[NodeSnapshot]) -> Vec<usize> {
    let occasion = occasion();
    let decide = |node| plan(node, &Ledger::default(), &occasion.policy, occasion.now);
    let plans: Vec<Plan> = nodes.iter().map(decide).collect();
    let drafts = record.drafts(nodes, &plans);
    let chosen = drafts.chosen.iter().map(|(at, _)| *at).collect();
    let (ledgers, outcomes) = (BTreeMap::new(), Outcomes::new());
    record.keep(occasion, drafts, nodes, &ledgers, &plans, &outcomes);
    chosen
}

/// The nodes of the lines that are kept.
fn kept(record: &Record) -> Vec<String> {
    let lines = record.lines(None);
    let lines = lines.iter().map(|line| std::str::from_utf8(line).unwrap());
    let node = |line: &str| {
        Decision::read(line.trim_end())
            .unwrap()
            .snapshot
            .node
            .clone()
    };
    lines.map(node).collect()
}

/// How large a line about a node with so many participants is.
fn size(participants: usize) -> usize {
    let record = Record::default();
    turn(&record, &[node("n1", participants)]);
    record.kept().bytes
}

#[test]
fn the_oldest_decisions_make_room_and_the_bound_holds() {
    let nodes = ["n1", "n2"].map(|name| node(name, 3));
    let record = Record::new(size(3) * 5 + 100);
    for _ in 0..4 {
        turn(&record, &nodes);
        let kept = record.kept();
        let bytes: usize = kept.lines.iter().map(Line::bytes).sum();
        assert!(bytes == kept.bytes && bytes <= kept.most);
    }
    assert_eq!(kept(&record), ["n2", "n1", "n2", "n1", "n2"]);
    assert_eq!(record.lines(Some("n1")).len(), 2);
}

#[test]
fn where_one_cycle_is_too_much_nodes_take_turns_and_nothing_is_written_down_for_nothing() {
    let nodes: Vec<_> = (0..9).map(|n| node(&format!("n{n}"), 4)).collect();
    assert!(size(4) < PARTICIPANT * 8, "{}", size(4));
    let record = Record::new(size(4) * 4 + 100);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let noted = turn(&record, &nodes);
        assert!((4..9).contains(&noted.len()), "{noted:?}");
        seen.push(kept(&record).concat());
    }
    assert_eq!(seen, ["n0n1n2n3", "n4n5n6n7", "n8n0n1n2"]);

    // One that has no room by itself keeps nobody else from it.
    let nodes = [node("n1", 40), node("n2", 1)];
    turn(&record, &nodes);
    assert_eq!(kept(&record).last().unwrap(), "n2");
}

#[test]
fn what_became_of_a_write_is_told_for_each_that_the_plan_had() {
    let nodes = [node("n1", 3)];
    let occasion = occasion();
    let mut plans = vec![plan(
        &nodes[0],
        &Ledger::default(),
        &occasion.policy,
        occasion.now,
    )];
    let record = Record::default();
    let drafts = record.drafts(&nodes, &plans);
    let writes = plans[0].writes.clone();
    assert_eq!(writes.len(), 3);
    plans[0].writes.truncate(1);
    let wanted = writes[1].to;
    plans[0]
        .held
        .push((writes[1].id.clone(), HoldReason::WriteBudget { wanted }));
    let outcomes = Outcomes::from([(writes[0].id.clone(), crate::actuate::Outcome::Unconfirmed)]);
    record.keep(
        occasion,
        drafts,
        &nodes,
        &BTreeMap::new(),
        &plans,
        &outcomes,
    );

    let lines = record.lines(None);
    let decision = Decision::read(std::str::from_utf8(&lines[0]).unwrap()).unwrap();
    assert_eq!(decision.replay(), Ok(()));
    let words = writes.iter().map(|write| &*decision.outcomes[&write.id]);
    assert!(words.eq(["unconfirmed", "write_budget", "quota"]));
}

#[tokio::test]
async fn the_record_is_served_of_all_nodes_or_of_one() {
    let record = Record::default();
    turn(&record, &["n1", "n2"].map(|name| node(name, 1)));
    let router = router(record);
    for (path, lines) in [
        ("/decisions", 2),
        ("/decisions?node=n2", 1),
        ("/decisions?node=n3", 0),
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/x-ndjson");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        assert_eq!(text.lines().count(), lines, "{path}");
        assert!(
            text.lines()
                .all(|line| Decision::read(line).unwrap().replay().is_ok())
        );
    }
}
