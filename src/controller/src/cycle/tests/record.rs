//! What was decided is kept, and decided again.

use super::*;

/// What the record has, read back.
pub(super) fn recorded(market: &Loop) -> Vec<mbcas_market::decision::Decision<'static>> {
    let lines = market.record.lines(None);
    let lines = lines.iter().map(|line| std::str::from_utf8(line).unwrap());
    lines
        .map(|line| mbcas_market::decision::Decision::read(line.trim_end()).unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_cycles_and_early_turns_decide_is_recorded_and_replayed_bit_for_bit() {
    let (api, view, near) = two_nodes();
    let (mut market, mut candidate) = market(&api, view, true).await;
    let jump = jump(&near);
    for _ in 0..2 {
        market.cycle(Mode::Auto, 4).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        market.at_once(&jump, Mode::Auto, 4).await;
        tokio::time::advance(Duration::from_secs(10)).await;
        candidate.lead().await;
    }
    let recorded = recorded(&market);
    let order: Vec<_> = recorded
        .iter()
        .map(|decision| (decision.turn.word(), decision.snapshot.node.as_str()))
        .collect();
    let turn = [("cycle", "n1"), ("cycle", "n2"), ("early", "n1")];
    assert_eq!(order, [turn, turn].concat());
    for decision in &recorded {
        assert_eq!((decision.replay(), decision.term), (Ok(()), 4));
        let written = decision.plan.writes.iter().map(|write| &write.id);
        let written: BTreeSet<_> = written.collect();
        assert!(written.into_iter().eq(decision.outcomes.keys()));
    }
    let of = |id: &ContainerId, ledger: &Ledger| ledger.demand(id).unwrap().basis_points();
    let id = &recorded[2].plan.clearing.allocations[1].id;
    assert_eq!(id.pod.name, "near");
    let demand = [&recorded[0], &recorded[2], &recorded[3]].map(|one| of(id, &one.plan.ledger));
    assert!(
        demand[0] < demand[1] && demand[1] != demand[2],
        "{demand:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_a_quota_leaves_out_is_recorded_as_the_plan_had_it() {
    let small = |name: &str| {
        let mut small = pod("shop", name, &json!({}));
        for path in [
            "/spec/containers/0/resources/limits",
            "/status/containerStatuses/0/resources/limits",
        ] {
            *small.pointer_mut(path).unwrap() = json!({"cpu": "150m"});
        }
        small
    };
    let (api, mut view) = world(&[small("a"), small("b")]);
    let quota = json!({"metadata": {"name": "q", "namespace": "shop"}, "spec": {"hard": {"limits.cpu": "4"}},
                       "status": {"used": {"limits.cpu": "3500m"}}});
    let quota: k8s_openapi::api::core::v1::ResourceQuota = serde_json::from_value(quota).unwrap();
    crate::cluster::Watched::keep(quota, &mut view);
    let (mut market, _candidate) = market(&api, view, true).await;
    market.cycle(Mode::Auto, 0).await;
    assert_eq!(limits(&api).len(), 1);
    let [decision] = recorded(&market).try_into().unwrap();
    assert_eq!(decision.replay(), Ok(()));
    let became: Vec<_> = decision
        .outcomes
        .iter()
        .map(|(id, word)| (id.pod.name.as_str(), &**word))
        .collect();
    assert_eq!(became.len(), 2);
    assert!(became.contains(&("b", "quota")), "{became:?}");
}
