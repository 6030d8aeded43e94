//! One load, three services, three pictures: with an agent, without one, and with one that lies.
//!
//! Not a test of the suite: `make bench-demand` runs it, and `docs/benchmarks/demand.md` shows what came of it.

mod plot;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use mbcas_core::exposition::samples;
use mbcas_lab::load;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::cgroup::Cgroup;
use crate::support::environment::workspace;
use crate::support::space::{cgroup, ip};
use crate::support::{Admission, Lab, Space, on_cluster};

/// CPU time of a request, in seconds.
const COST: f64 = 0.02;

/// Requests per second when it is calm: a tenth of a core.
const CALM: f64 = 5.0;

/// Requests per second of a load that needs most of the machine, 1.3 of its two cores, and of one that needs nearly
/// all of it.
const FULL: f64 = 65.0;
const BURST: f64 = 90.0;

/// Seconds for which p95 is taken, and the shortest part of the load.
const PART: u64 = 5;

/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The grace after a start, and some windows of the kubelet's.
const SETTLE: Duration = Duration::from_mins(1);

/// One moment of a service; what is not known is absent.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    /// Seconds since the load began.
    at: f64,
    /// Load offered, in millicores.
    offered: f64,
    /// What its agent says.
    intensity: Option<f64>,
    /// What the market counts with.
    counted: Option<f64>,
    /// What the market takes it to need, its limit in the kernel, and what it used since the last look: millicores.
    need: Option<f64>,
    limit: Option<f64>,
    usage: f64,
    /// The limit, in the kernel, of who burns all that it gets beside it.
    neighbour: Option<f64>,
}

/// What it was asked, second by second, and the 95th percentiles of the answers.
struct Story {
    moments: Vec<Moment>,
    /// From, to, and p95 in milliseconds.
    latencies: Vec<(f64, f64, f64)>,
}

/// The parts of the load, in their order: what each is, and its requests per second, [`PART`] seconds each.
fn profile() -> Vec<(&'static str, Vec<f64>)> {
    let calm = ("calm", vec![CALM; 4]);
    let ramp = (1..=9).map(|part| CALM + (FULL - CALM) * f64::from(part) / 9.0);
    vec![
        calm.clone(),
        ("step", vec![FULL; 8]),
        calm.clone(),
        ("ramp", ramp.collect()),
        calm,
        ("bursts", [BURST, CALM].repeat(5)),
        ("silence", vec![0.0; 8]),
    ]
}

/// Requests per second, part after part.
fn rates() -> Vec<f64> {
    profile().into_iter().flat_map(|(_, rates)| rates).collect()
}

#[test]
fn demand_follows_the_load_and_a_lie_takes_nothing() {
    on_cluster("show", Admission::Labelled, async |space| {
        // Somebody who would take all that there is.
        let hog = space
            .start(&Lab::burn("hog", 2).request("200m").limit("2"))
            .await;
        let hog = cgroup(&hog, "app").unwrap();
        let plain = |name: &str| {
            Lab::serve(name, &["--workers", "2"])
                .request("200m")
                .limit("400m")
                .annotate("mbcas.budget", "300")
        };
        let liar = Lab::serve("liar", &["--workers", "2", "--claim-queue", "1000"])
            .request("200m")
            .limit("400m")
            .annotate("mbcas.budget", "300")
            .annotate(
                "mbcas.metrics",
                "http://localhost:8081/metrics#lab_queue_depth",
            );
        let mut honest = None;
        for lab in [
            plain("agent"),
            plain("agentless").annotate("mbcas.agent", "none"),
            liar,
        ] {
            let pod = space.start(&lab).await;
            sleep(SETTLE).await;
            let story = told(space, &pod, &lab.name, &hog).await;
            let file = picture(&lab.name);
            plot::draw(&story, &title(&lab.name), &file).unwrap();
            figure!("{}", summary(&lab.name, &story));
            match (lab.name.as_str(), &honest) {
                ("agent", _) => {
                    follows(&story);
                    honest = Some(story);
                }
                ("liar", Some(honest)) => takes_nothing(&story, honest),
                _ => {}
            }
            let now = DeleteParams::default();
            space.pods().delete(&lab.name, &now).await.unwrap();
        }
    });
}

fn title(name: &str) -> String {
    let kind = match name {
        "agent" => "A service with a demand agent",
        "agentless" => "The same service without an agent",
        _ => "The same service, and it always says that a thousand requests wait",
    };
    format!("{kind}, beside one that burns all it gets")
}

fn picture(name: &str) -> PathBuf {
    workspace().join(format!("docs/benchmarks/demand-{name}.svg"))
}

/// Sends the load to `pod` and looks at everything meanwhile.
async fn told(space: &Space, pod: &Pod, name: &str, hog: &Cgroup) -> Story {
    let (address, begin) = (ip(pod), Instant::now());
    let done = CancellationToken::new();
    let sending = async {
        let mut latencies = Vec::new();
        for (index, rate) in (0_u64..).zip(rates()) {
            let from = begin.elapsed().as_secs_f64();
            if rate == 0.0 {
                sleep(Duration::from_secs(PART)).await;
                continue;
            }
            let target = format!("web=http://{address}:8080/work?ms=20@{rate}");
            let args = load::Args {
                targets: vec![target.parse().unwrap()],
                seconds: PART,
                warmup: 0,
                timeout_ms: 2000,
                slo_ms: 100,
                in_flight: 256,
                seed: index + 1,
            };
            let reports = load::run(args, CancellationToken::new()).await.unwrap();
            let p95 = reports[0].p95_ms.unwrap_or_default();
            latencies.push((from, begin.elapsed().as_secs_f64(), p95));
        }
        done.cancel();
        latencies
    };
    let looking = async {
        let mut ticks = interval(LOOK);
        let cgroup = cgroup(pod, "app").unwrap();
        let (mut moments, mut last) = (Vec::new(), (begin.elapsed(), cgroup.used()));
        while done.run_until_cancelled(ticks.tick()).await.is_some() {
            let (at, used) = (begin.elapsed(), cgroup.used());
            let seconds = at.saturating_sub(last.0).as_secs_f64().max(1e-3);
            let usage = used.saturating_sub(last.1).as_secs_f64() / seconds * 1_000.0;
            last = (at, used);
            let page = space.release.metrics().await.unwrap_or_default();
            let of = |metric: &str| {
                let mut all = samples(&page, metric);
                let ours = all.find(|one| {
                    one.label("namespace") == Some(&space.name) && one.label("pod") == Some(name)
                });
                ours.map(|one| one.value)
            };
            #[allow(clippy::cast_precision_loss)] // millicores
            moments.push(Moment {
                at: at.as_secs_f64(),
                offered: offered(at) * COST * 1_000.0,
                intensity: intensity(space, &address, name).await,
                counted: of("mbcas_demand_intensity"),
                need: of("mbcas_need_cpu_mcores"),
                limit: cgroup.quota().map(|limit| limit as f64),
                usage,
                neighbour: hog.quota().map(|limit| limit as f64),
            });
        }
        moments
    };
    let (latencies, moments) = tokio::join!(sending, looking);
    Story { moments, latencies }
}

/// Requests per second at `at`, by the plan.
fn offered(at: Duration) -> f64 {
    let part = usize::try_from(at.as_secs() / PART).unwrap_or(usize::MAX);
    rates().get(part).copied().unwrap_or_default()
}

async fn intensity(space: &Space, address: &str, name: &str) -> Option<f64> {
    space.report(name, address).await.ok()?.demand_intensity
}

/// The most, or the least, of `what` between two seconds.
fn between(
    story: &Story,
    from: f64,
    to: f64,
    what: impl Fn(&Moment) -> Option<f64>,
    pick: fn(f64, f64) -> f64,
) -> f64 {
    let moments = story.moments.iter();
    let meant = moments.filter(|moment| (from..to).contains(&moment.at));
    meant.filter_map(what).reduce(pick).unwrap_or(f64::NAN)
}

/// The bounds of the issue: it rises and falls with the load.
fn follows(story: &Story) {
    let said = |moment: &Moment| moment.intensity;
    let most = |from, to| between(story, from, to, said, f64::max);
    let [_, step, _, ramp, _, bursts, silence] = begins().try_into().unwrap();
    let calm = most(step - 15.0, step - 1.0);
    assert!(calm < 0.3, "calm, it says {calm}");
    let risen = most(step, step + 15.0);
    assert!(risen > 0.6, "15 s into the step it says {risen}");
    for (after, begin) in [("step", ramp), ("ramp", bursts)] {
        let fallen = between(story, begin - 3.0, begin, said, f64::max);
        assert!(fallen < 0.3, "20 s after the {after} it says {fallen}");
    }
    let burst = most(bursts, silence);
    assert!(burst > 0.6, "in the bursts it says {burst} at the most");
    let end = story.moments.last().unwrap().at;
    let silent = most(end - 5.0, end);
    assert!(silent < 0.1, "after 40 s of silence it says {silent}");
}

/// A lie takes nothing from the neighbour, but for what is at either end of a dead-band.
fn takes_nothing(liar: &Story, honest: &Story) {
    let least = |story| between(story, 0.0, f64::MAX, |m| m.neighbour, f64::min);
    let (beside_liar, beside_honest) = (least(liar), least(honest));
    assert!(
        beside_liar >= 0.9 * beside_honest,
        "the neighbour had {beside_liar}m beside the liar, {beside_honest}m beside who tells the truth"
    );
}

/// When the parts begin, in seconds.
fn begins() -> Vec<f64> {
    let lengths = profile().into_iter().map(|(_, rates)| rates.len());
    let begins = lengths.scan(0, |from, length| {
        let begin = *from;
        *from += length;
        Some(begin)
    });
    #[allow(clippy::cast_precision_loss)] // seconds
    begins.map(|parts| (parts as u64 * PART) as f64).collect()
}

/// Every part of the story in a line.
fn summary(name: &str, story: &Story) -> String {
    let mut lines = vec![format!(
        "{name:<10} intensity least/most   limit least/most   neighbour's least/most   p95 worst part"
    )];
    let mut from = 0.0;
    for (part, rates) in profile() {
        #[allow(clippy::cast_precision_loss)] // seconds
        let to = from + (rates.len() as u64 * PART) as f64;
        let of = |what: fn(&Moment) -> Option<f64>| {
            [
                between(story, from, to, what, f64::min),
                between(story, from, to, what, f64::max),
            ]
        };
        let ([low, high], [least, most]) = (of(|m| m.intensity), of(|m| m.limit));
        let [less, more] = of(|m| m.neighbour);
        let inside = story
            .latencies
            .iter()
            .filter(|(at, ..)| (from - 1.0..to - 1.0).contains(at));
        let worst = inside
            .map(|(.., p95)| *p95)
            .reduce(f64::max)
            .unwrap_or(f64::NAN);
        lines.push(format!(
            "{part:<10} {low:>9.2} / {high:<9.2} {least:>8.0}m / {most:<6.0}m {less:>10.0}m / {more:<6.0}m {worst:>8.0} ms"
        ));
        from = to;
    }
    lines.join("\n")
}
