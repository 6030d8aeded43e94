//! Two that both want everything get what the market has by their budgets, and nobody less than that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::Api;
use mbcas_core::exposition::samples;

use crate::support::cgroup::{Cgroup, used_by_the_machine};
use crate::support::space::{cgroup, limit_of, millicores, restarts};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Space, on_cluster, wait_until};

/// What both request, and so have whatever happens.
const FLOOR: f64 = 100.0;
const BUDGETS: [(&str, f64); 2] = [("gold", 600.0), ("bronze", 100.0)];
/// How far from its due a share may be.
const TOLERANCE: f64 = 0.15;
/// Limits have settled when they have stood for longer than any cooldown lasts: a
/// reversal waits for 60 s, and for a cycle.
const CALM: Duration = Duration::from_secs(70);
/// For how long is measured, and how often it is tried on a machine that is busy.
const WINDOW: Duration = Duration::from_secs(30);
const WINDOWS: u32 = 4;
/// The market settles within its longest cooldown and a few cycles.
const SETTLED: Duration = Duration::from_mins(4);

#[test]
fn cpu_used_above_the_floors_follows_budgets() {
    on_cluster("contention", Admission::Labelled, async |space| {
        space.start(&Lab::bystander()).await;
        for (name, budget) in BUDGETS {
            let lab = Lab::burn(name, 2).request("100m").limit("1");
            space
                .start(&lab.annotate("mbcas.budget", &budget.to_string()))
                .await;
        }
        let limits = calm(space).await;
        let used = used(space).await;

        let above: Vec<f64> = used.iter().map(|used| used - FLOOR).collect();
        let budgets: f64 = BUDGETS.iter().map(|(_, budget)| budget).sum();
        // What the market has to divide. Beyond it is what the machine has left, for whoever takes it.
        let all = capacity(space).await - FLOOR - FLOOR;
        let mut table = vec!["name     budget   limit    used   above the floor   due".to_owned()];
        let mut off = Vec::new();
        for (index, (name, budget)) in BUDGETS.into_iter().enumerate() {
            let due = all * budget / budgets;
            let (limit, used, above) = (limits[index], used[index], above[index]);
            table.push(format!(
                "{name:8} {budget:6} {limit:6}m {used:6.0}m {above:16.0}m {due:4.0}m"
            ));
            off.push((above - due) / due);
        }
        figure!("{}", table.join("\n"));
        let [gold, bronze] = off[..] else {
            panic!("{off:?}")
        };
        assert!(
            bronze.abs() <= TOLERANCE,
            "off by {bronze:.2} of what is due"
        );
        assert!(gold >= -TOLERANCE, "misses {gold:.2} of what is due");
        for (name, _) in BUDGETS {
            assert_eq!(restarts(&space.pod(name).await), 0, "{name} was restarted");
        }
    });
}

async fn limits(space: &Space) -> Vec<u64> {
    let mut limits = Vec::new();
    for (name, _) in BUDGETS {
        limits.push(limit_of(&space.pod(name).await).unwrap());
    }
    limits
}

/// The limits when they have come to rest somewhere else than they began.
async fn calm(space: &Space) -> Vec<u64> {
    let (mut last, mut since) = (limits(space).await, Instant::now());
    wait_until("the limits rest", SETTLED, async || {
        let now = limits(space).await;
        if now != last {
            (last, since) = (now.clone(), Instant::now());
        }
        that(
            since.elapsed() >= CALM && now[0] > now[1],
            format!("{now:?}m for {:?}", since.elapsed()),
        )?;
        Ok(now)
    })
    .await
}

/// Millicores that each has used in a window in which the node had what it
/// promises: where others on the machine take more than what is kept from pods,
/// the kernel's weights decide and not our limits. If there is no such window
/// the last one counts, and the run says so.
async fn used(space: &Space) -> Vec<f64> {
    let kept = kept_from_pods(space).await;
    let mut groups = Vec::new();
    for (name, _) in BUDGETS {
        groups.push(cgroup(&space.pod(name).await, "app").unwrap());
    }
    let all = || {
        let pods = groups.iter().map(Cgroup::used);
        let machine = [used_by_the_machine(), groups[0].used_by_all_pods()];
        pods.chain(machine).collect::<Vec<_>>()
    };
    for attempt in 1.. {
        let (before, at) = (all(), Instant::now());
        tokio::time::sleep(WINDOW).await;
        let seconds = at.elapsed().as_secs_f64();
        let spent = all().into_iter().zip(before);
        let spent = spent.map(|(after, before)| after.saturating_sub(before).as_secs_f64());
        let mut used: Vec<_> = spent.map(|spent| 1000.0 * spent / seconds).collect();
        let (pods, machine) = (used.pop().unwrap(), used.pop().unwrap());
        let others = machine - pods;
        if others <= kept {
            return used;
        }
        if attempt == WINDOWS {
            figure!(
                "others on this machine use {others:.0}m, and the node keeps {kept:.0}m for them"
            );
            return used;
        }
    }
    unreachable!("the loop returns")
}

/// What the market of the one node has, in millicores.
async fn capacity(space: &Space) -> f64 {
    let metrics = space.release.metrics().await.unwrap();
    let mut nodes = samples(&metrics, "mbcas_capacity_mcores");
    nodes.next().unwrap().value
}

/// What of the node's CPU is not for pods, in millicores.
#[allow(clippy::cast_precision_loss)] // some 10^4 millicores
async fn kept_from_pods(space: &Space) -> f64 {
    let node = space
        .pod(BUDGETS[0].0)
        .await
        .spec
        .unwrap()
        .node_name
        .unwrap();
    let nodes: Api<Node> = Api::all(space.client.clone());
    let status = nodes.get(&node).await.unwrap().status.unwrap();
    let cpu = |list: Option<BTreeMap<String, Quantity>>| millicores(&list.unwrap()["cpu"].0) as f64;
    cpu(status.capacity) - cpu(status.allocatable)
}
