//! Who is satisfied keeps what it needs when others come who would take everything: the trace of a
//! node, from the arrival on, by what was decided and by what the kernel gave.

use std::time::{Duration, Instant};

use mbcas_core::{ContainerId, MilliCpu};
use mbcas_lab::load;
use mbcas_market::decision::{Decision, Turn};
use mbcas_market::{Allocation, Condition, Observed};
use tokio_util::sync::CancellationToken;

use crate::support::space::{cgroup, ip};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, on_cluster, wait_until};

/// What the satisfied one is asked for, in millicores, and how many milliseconds a request takes.
const NEED: u32 = 300;
const WORK: u32 = 20;
/// Of what it needs this much is what the kernel gives it, at least: load comes by chance.
const ENOUGH: f64 = 0.9;
/// For so many cycles the trace goes on after the arrival.
const CYCLES: usize = 20;
/// So many of them may go by before who is satisfied is protected.
const SOON_ENOUGH: usize = 2;

/// One cycle after the arrival.
struct Row {
    after: Duration,
    /// Limits as they ran when it was decided: of the satisfied one, and of both that came.
    limits: [Option<MilliCpu>; 3],
    protected: MilliCpu,
    /// How many of those that came are held to what they are granted.
    short: usize,
    starting: bool,
    condition: Option<Condition>,
}

#[test]
fn who_is_satisfied_is_protected_two_cycles_after_an_arrival() {
    on_cluster("protection", Admission::Labelled, async |space| {
        // By its weight alone it would have a thirteenth of the machine.
        let web = Lab::serve("web", &["--workers", "2"]).annotate("mbcas.budget", "300");
        let web = space.start(&web.request("50m").limit("1500m")).await;
        let stop = CancellationToken::new();
        let load = load::run(arguments(&ip(&web)), stop.clone());
        let arrival = async {
            let usage = cgroup(&web, "app").unwrap();
            wait_until("its need is known", SOON * 2, async || {
                let (need, starting) = need(space).await?;
                let is_known = need.get() >= u64::from(NEED) * 3 / 4 && !starting;
                that(is_known, format!("{need} of {NEED}m"))
            })
            .await;
            for name in ["greedy-1", "greedy-2"] {
                let greedy = Lab::burn(name, 2).request("300m").limit("1500m");
                space.start(&greedy).await;
            }
            let (begin, before) = (Instant::now(), wall());
            let mut trace: Vec<Row> = Vec::new();
            let mut given: Vec<f64> = Vec::new();
            let mut mark = (Instant::now(), usage.used());
            while trace.len() < CYCLES {
                assert!(begin.elapsed() < SOON * 4, "{} cycles", trace.len());
                tokio::time::sleep(Duration::from_millis(500)).await;
                let seen = rows(space, before).await.unwrap();
                if seen.len() > trace.len() {
                    let now = (Instant::now(), usage.used());
                    let took = (now.0 - mark.0).as_secs_f64();
                    let used = now.1.saturating_sub(mark.1).as_secs_f64();
                    given.push(1_000.0 * used / took);
                    mark = now;
                    trace = seen;
                }
            }
            stop.cancel();
            (trace, given)
        };
        let (reports, (trace, given)) = tokio::join!(load, arrival);
        print(&trace, &given);
        figure!(
            "web during all of it: p99 {:?} ms",
            reports.unwrap()[0].p99_ms
        );

        let is_unprotected =
            |row: &Row| matches!(row.condition, Some(Condition::Unprotected { .. }));
        // A start is let run, and the node says what that costs.
        let started = trace.iter().position(|row| row.short == 2 && !row.starting);
        let started = started.expect("those that came are never short");
        for row in &trace[SOON_ENOUGH..started] {
            assert!(is_unprotected(row), "{:.0?}: nothing is said", row.after);
        }
        let after = started + SOON_ENOUGH;
        for row in &trace[after..] {
            assert!(
                !is_unprotected(row),
                "{:.0?}: {:?}",
                row.after,
                row.condition
            );
            assert!(row.protected.get() >= u64::from(NEED), "{}", row.protected);
        }
        let given = &given[after..];
        #[allow(clippy::cast_precision_loss)] // a few
        let mean = given.iter().sum::<f64>() / given.len() as f64;
        assert!(
            mean >= f64::from(NEED) * ENOUGH,
            "the kernel gave it {mean:.0}m"
        );
    });
}

fn print(trace: &[Row], given: &[f64]) {
    let mut table = vec![
        "after    web's limit   greedy's limits   short   protected   kernel gave web   condition"
            .to_owned(),
    ];
    for (row, given) in trace.iter().zip(given) {
        let limit =
            |i: usize| row.limits[i].map_or_else(|| "none".to_owned(), |cpu| cpu.to_string());
        let greedy = format!("{} {}", limit(1), limit(2));
        let condition = row.condition.map_or("", |condition| condition.word());
        let short = if row.starting {
            "starts".to_owned()
        } else {
            row.short.to_string()
        };
        table.push(format!(
            "{:4.0} s {:>14} {greedy:>17} {short:>7} {:>11} {given:>16.0}m   {condition}",
            row.after.as_secs_f64(),
            limit(0),
            row.protected.to_string(),
        ));
    }
    figure!("{}", table.join("\n"));
}

/// The time of day, as decisions have it.
fn wall() -> Duration {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap()
}

/// Every decision that is kept about the node, oldest first.
async fn decisions(space: &Space) -> Result<Vec<Decision<'static>>, String> {
    let record = space.release.decisions().await?;
    let lines = record.lines().map(Decision::read);
    lines
        .map(|line| line.map_err(|why| why.to_string()))
        .collect()
}

/// What the last one took the pod `web` to need, and whether it starts.
async fn need(space: &Space) -> Result<(MilliCpu, bool), String> {
    let all = decisions(space).await?;
    let last = all.last().ok_or("nothing was decided yet")?;
    let (id, seen) = observed(last, space, "web").ok_or("web is not at the market")?;
    Ok((allotted(last, id).unwrap().need, seen.starting))
}

/// What a decision allots to a container.
fn allotted<'a>(decision: &'a Decision<'_>, id: &ContainerId) -> Option<&'a Allocation> {
    let mut all = decision.plan.clearing.allocations.iter();
    all.find(|allocation| allocation.id == *id)
}

/// A row for each cycle since `begin` that saw all three.
async fn rows(space: &Space, begin: Duration) -> Result<Vec<Row>, String> {
    let all = decisions(space).await?;
    let cycles = all
        .iter()
        .filter(|one| one.turn == Turn::Cycle && one.time > begin);
    let row = |one: &Decision<'_>| {
        let three = ["web", "greedy-1", "greedy-2"].map(|name| observed(one, space, name));
        let [Some(web), Some(first), Some(second)] = three else {
            return None;
        };
        let came = [first, second];
        Some(Row {
            after: one.time.saturating_sub(begin),
            limits: [web, first, second].map(|(_, seen)| seen.limit),
            protected: allotted(one, web.0)?.protected,
            short: came
                .iter()
                .filter(|(id, _)| allotted(one, id).is_some_and(|a| a.is_short))
                .count(),
            starting: came.iter().any(|(_, seen)| seen.starting),
            condition: one.plan.conditions.first().copied(),
        })
    };
    Ok(cycles.filter_map(row).collect())
}

/// The container `app` of a pod of this test, as a decision saw it.
fn observed<'a>(
    decision: &'a Decision<'_>,
    space: &Space,
    pod: &str,
) -> Option<(&'a ContainerId, &'a Observed)> {
    let mut all = decision.snapshot.participants.iter();
    all.find(|(id, _)| id.pod.namespace == space.name && id.pod.name == pod)
}

fn arguments(ip: &str) -> load::Args {
    let rate = NEED / WORK;
    load::Args {
        targets: vec![
            format!("web=http://{ip}:8080/work?ms={WORK}@{rate}")
                .parse()
                .unwrap(),
        ],
        seconds: 600,
        warmup: 0,
        timeout_ms: 2000,
        slo_ms: 100,
        in_flight: 64,
        seed: 1,
    }
}
