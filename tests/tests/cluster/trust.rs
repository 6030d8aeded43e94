//! What the market makes of agents that lie, that cannot be reached, and that only Prometheus may ask.

use std::io::Read;
use std::ops::RangeInclusive;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use mbcas_api::names::AGENT_CONTAINER;
use mbcas_core::demand::{AGENT_PORT, Breakdown, DemandReport, METRIC};
use mbcas_core::exposition::samples;
use mbcas_lab::load;
use tokio_util::sync::CancellationToken;

use crate::cli::mbcas;
use crate::demand::arguments;
use crate::support::environment::workspace;
use crate::support::network::{Mesh, Rule, inside};
use crate::support::prometheus::{Prometheus, Target};
use crate::support::release::INTERVAL;
use crate::support::space::{cgroup, container, ip};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, http, on_cluster, wait_until};

/// The grace after a start, and the windows of the kubelet's after which a need is known.
const KNOWN: Duration = Duration::from_mins(3);

/// How old a word may be.
const WINDOW: Duration = Duration::from_millis(DemandReport::MAX_AGE_MS);

/// Three cycles, a part of one before them and what they take.
const FADED: Duration = Duration::from_secs(5 * INTERVAL);

/// For how long at most a word counts after which none came.
const BELIEVED: Duration = WINDOW.saturating_add(FADED);

/// What counts of one of whom nothing is known, and of one who says what [`liar`] does.
const NEUTRAL: RangeInclusive<f64> = 0.5..=0.5;
const HEARD: RangeInclusive<f64> = 0.9..=1.0;

/// A service that says that a thousand requests wait, whatever is so.
fn liar(name: &str) -> Lab {
    Lab::serve(name, &["--claim-queue", "1000"])
        .request("200m")
        .limit("400m")
        .annotate("mbcas.metrics", QUEUE)
}

/// Questions about demand without an answer.
const FAILURES: &str = "mbcas_demand_pull_failures_total";

/// Where the lab tells its queue.
const QUEUE: &str = "http://localhost:8081/metrics#lab_queue_depth";

/// The market hears the lie, and bids no more for it than for one that is as idle and says so.
#[test]
fn an_agent_that_lies_moves_nothing_and_is_named() {
    on_cluster("liar", Admission::Labelled, async |space| {
        let honest = Lab::serve("honest", &[]).request("200m").limit("400m");
        space.start(&honest.annotate("mbcas.metrics", QUEUE)).await;
        space.start(&liar("liar")).await;
        let of = async |metric: &str, pod: &str| value(space, metric, pod).await;
        let (heard, bids) = wait_until("the lie is seen through", KNOWN, async || {
            let heard = of("mbcas_demand_intensity", "liar").await?;
            let bids = (
                of("mbcas_effective_bid", "liar").await?,
                of("mbcas_effective_bid", "honest").await?,
            );
            let odd = counted(space, "mbcas_demand_anomalies", "urgent_while_idle").await?;
            that(
                heard > 0.9 && odd >= 1.0 && bids.0 <= bids.1 * 1.005,
                format!("it counts with {heard}, {odd} are odd, bids {bids:?}"),
            )?;
            Ok((heard, bids))
        })
        .await;
        figure!(
            "a liar: demand {heard:.2} heard; it bids {:.2}, and one as idle that says so {:.2}, of a budget of 100",
            bids.0,
            bids.1
        );
        let explain = ["explain", "liar", "--namespace", &space.name];
        let (status, out, err) = mbcas(&explain);
        assert_eq!(status, 0, "{out}{err}");
        assert!(out.contains("CPU is not what it lacks"), "{out}");
        let (_, out, _) = mbcas(&["explain", "honest", "--namespace", &space.name]);
        assert!(!out.contains("doubt"), "{out}");
    });
}

/// Pods whose agents cannot be reached, each by what is between it and the market.
const UNREACHABLE: [&str; 4] = ["stopped", "denied", "refused", "meshed"];

/// How many questions about demand had no answer: in time, because nobody took them, and because it was none.
async fn unanswered(space: &Space) -> [f64; 3] {
    let page = space.release.metrics().await.unwrap();
    ["timeout", "connect", "http"].map(|reason| with_reason(&page, FAILURES, reason))
}

/// One that answers nothing, one behind a policy that lets packets vanish, one behind one that refuses them, one
/// behind strict mTLS: what was known of them fades to neutral in three cycles, and what they need is what the kubelet
/// sees of them: of one that works and of an idle one.
#[test]
fn pods_whose_agents_cannot_be_reached_take_part_on_evidence() {
    on_cluster("unreachable", Admission::Labelled, async |space| {
        let mut pods = Vec::new();
        for name in UNREACHABLE.into_iter().chain(["idle"]) {
            let lab = Lab::serve(name, &["--workers", "2"]).request("50m");
            pods.push(space.start(&lab.limit("100m")).await);
        }
        for name in UNREACHABLE {
            counted_with(space, name, 0.0..=0.1).await;
            needs(space, name, 0.0..=50.0).await;
        }
        let agent = cgroup(&pods[0], AGENT_CONTAINER).unwrap();
        let before = unanswered(space).await;
        let barriers = (
            agent.stop(),
            Rule::deny(&pods[1]),
            Rule::refuse(&pods[2]),
            Mesh::before(&pods[3]),
            Rule::deny(&pods[4]),
        );
        let began = Instant::now();
        // A fifth of a core of work each, of which nothing waits.
        let mut load = arguments(UNREACHABLE[0], &ip(&pods[0]), 10);
        for (name, pod) in UNREACHABLE.iter().zip(&pods).skip(1) {
            load.targets.extend(arguments(name, &ip(pod), 10).targets);
        }
        let stop = CancellationToken::new();
        let load = tokio::spawn(load::run(load, stop.clone()));
        for name in UNREACHABLE.into_iter().chain(["idle"]) {
            counted_with(space, name, NEUTRAL).await;
        }
        let faded = began.elapsed();
        let mut need = Vec::new();
        for name in UNREACHABLE {
            need.push(needs(space, name, 150.0..=400.0).await);
        }
        let idle = needs(space, "idle", 0.0..=50.0).await;
        let mut failed = unanswered(space).await;
        for (failed, before) in failed.iter_mut().zip(before) {
            *failed -= before;
        }
        // Three of them let every question wait.
        let [timeout, connect, http] = failed;
        assert!(
            timeout >= 3.0 && connect >= 1.0 && http >= 1.0,
            "not answered: {failed:?}"
        );
        assert!(faded < FADED, "neutral after {faded:?}");
        drop(barriers);
        let began = Instant::now();
        for name in UNREACHABLE {
            counted_with(space, name, 0.0..=0.1).await;
        }
        stop.cancel();
        load.await.unwrap().unwrap();
        figure!(
            "agents that cannot be reached: neutral after {faded:.0?}; on evidence alone they need {need:?}m of 200m of \
             work, an idle one {idle}m; {timeout} questions without an answer, {connect} refused, {http} garbled; heard \
             again after {:.0?}",
            began.elapsed()
        );
    });
}

/// Nothing listens in it, so that its agent cannot know what waits: it says that, which is no failure
/// and no contentment, and usage moves its limit.
#[test]
fn an_agent_that_sees_nothing_says_so_and_its_pod_counts_as_neutral() {
    on_cluster("blind", Admission::Labelled, async |space| {
        let lab = Lab::burn("app", 2).request("100m").limit("200m");
        let pod = space.start(&lab).await;
        let report = space.report("app", &ip(&pod)).await.unwrap();
        let is_silent = report.demand_intensity.is_none();
        assert!(is_silent && report.sequence > 0, "{report:?}");
        let agent = format!("{}:{AGENT_PORT}", ip(&pod));
        let page = http::page(&agent, "/metrics").await.unwrap();
        assert!(!page.contains(METRIC), "{page}");
        let limit = space.limit("app", KNOWN, |limit| limit > 300).await;
        // A cycle's figures are shown when its writes are done.
        let demand = wait_until("the market shows it", SOON, async || {
            value(space, METRIC, "app").await
        })
        .await;
        assert!((demand - 0.5).abs() < 1e-9, "{demand}");
        figure!(
            "an agent that sees nothing: null, counted as {demand:.2}; limit 200m → {limit}m by usage"
        );
    });
}

/// Nobody asks the agents but Prometheus, and the market hears them all the same. Whom Prometheus does not
/// reach is not believed for longer than an agent would be; without Prometheus nobody is.
#[test]
fn demand_comes_from_prometheus_where_it_is_asked_for() {
    on_cluster("prometheus", Admission::Labelled, async |space| {
        let pods = [
            space.start(&liar("web")).await,
            space.start(&liar("api")).await,
        ];
        let agents = pods.each_ref().map(|pod| {
            let agent = format!("{}:{AGENT_PORT}", ip(pod));
            Target::pod(&space.name, &pod.name_any(), AGENT_CONTAINER, agent)
        });
        let prometheus = Prometheus::start(agents);
        prometheus.scrapes().await;
        let url = format!("controller.prometheus.url=http://{}", prometheus.address);
        Release::upgrade(&["--set", &url]);
        let heard = counted_with(space, "web", HEARD).await;
        counted_with(space, "api", HEARD).await;
        assert!(failures(space, "not_asked").await < 1.0);

        let before = failures(space, "no_series").await;
        let agent = cgroup(&pods[0], AGENT_CONTAINER).unwrap();
        let stopped = agent.stop();
        let began = Instant::now();
        let silent = wait_until("the silent one fades", BELIEVED, async || {
            let (web, api) = (
                value(space, METRIC, "web").await?,
                value(space, METRIC, "api").await?,
            );
            that(
                HEARD.contains(&api),
                format!("the other one counts with {api}"),
            )?;
            that(NEUTRAL.contains(&web), format!("it counts with {web}"))?;
            Ok(began.elapsed())
        })
        .await;
        assert!(silent > WINDOW, "{silent:?}: a scrape in vain is enough");
        let missing = failures(space, "no_series").await - before;
        assert!(missing >= 2.0, "{missing} had no series");
        assert!(failures(space, "not_asked").await < 1.0);
        drop(stopped);
        counted_with(space, "web", HEARD).await;

        drop(prometheus);
        let faded = counted_with(space, "web", NEUTRAL).await;
        counted_with(space, "api", NEUTRAL).await;
        let failed = failures(space, "not_asked").await;
        figure!(
            "demand by Prometheus: {heard:.2}; of a stopped agent neutral after {silent:.0?}, {missing} times without \
             a series; without Prometheus {faded:.2}, asked in vain {failed} times"
        );
        assert!(failed >= 1.0);
        Release::ensure();
    });
}

/// What an application says itself counts like an agent's word, and where there is no agent too. While
/// Prometheus takes questions and answers none, cycles go on.
#[test]
fn a_query_of_ones_own_is_asked_and_a_prometheus_that_hangs_is_waited_out() {
    on_cluster("query", Admission::Labelled, async |space| {
        let queue = |name, length| {
            let lab = Lab::serve(name, &["--claim-queue", length]);
            lab.request("200m").limit("400m")
        };
        // Its agent sees nobody wait.
        let web = space.start(&queue("web", "1000")).await;
        let lone = queue("lone", "250").annotate("mbcas.agent", "none");
        let lone = space.start(&lone).await;
        let apps = [("web", web), ("lone", lone)].map(|(name, pod)| {
            let app = format!("{}:8081", ip(&pod));
            Target::pod(&space.name, name, "app", app)
        });
        let prometheus = Prometheus::start(apps);
        prometheus.scrapes().await;
        let url = format!("controller.prometheus.url=http://{}", prometheus.address);
        let query = "controller.prometheus.query=lab_queue_depth/1250";
        Release::upgrade(&["--set", &url, "--set-string", query]);
        let heard = async || {
            let web = counted_with(space, "web", 0.8..=0.8).await;
            (web, counted_with(space, "lone", 0.2..=0.2).await)
        };
        let (web, lone) = heard().await;

        let before = failures(space, "not_asked").await;
        let stopped = prometheus.stop();
        let began = Instant::now();
        counted_with(space, "web", NEUTRAL).await;
        counted_with(space, "lone", NEUTRAL).await;
        let faded = began.elapsed();
        let failed = failures(space, "not_asked").await - before;
        // Nobody expects a word of the one without an agent.
        assert!(failed >= 2.0, "asked in vain {failed} times");
        assert!(faded < FADED, "neutral after {faded:?}");
        drop(stopped);
        let began = Instant::now();
        heard().await;
        let back = began.elapsed();
        figure!(
            "a query of one's own: {web:.2} of one with an agent, {lone:.2} of one without; Prometheus hangs: neutral \
             after {faded:.0?}, asked in vain {failed} times, and heard again {back:.0?} after it goes on"
        );
        Release::ensure();
    });
}

/// Somebody else's agent, `docs/agent.py`, beside the application `app` of `pod`; ended when it is dropped.
struct Stranger(Child);

impl Stranger {
    /// It waits for the port, which MBCAS's own agent has; when that dies it has it first.
    fn beside(space: &Space, pod: &Pod) -> Self {
        let until_it_has_the_port = "import runpy, sys, time
while True:
    try:
        runpy.run_path(sys.argv[1])
    except OSError:
        print('waits', flush=True)
        time.sleep(0.01)";
        let mut child = inside(pod, "python3")
            .arg("-c")
            .arg(until_it_has_the_port)
            .arg(workspace().join("docs/agent.py"))
            .env("MBCAS_NAMESPACE", &space.name)
            .env("MBCAS_POD", "web")
            .env("MBCAS_CONTAINER", "app")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = [0; 5];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut word)
            .unwrap();
        assert_eq!(&word, b"waits");
        Self(child)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another agent, in Python, that was written from docs/contract.md is heard like MBCAS's own, which finds its port
/// taken, says so and stays.
#[test]
fn another_agent_that_keeps_the_contract_is_heard() {
    on_cluster("another", Admission::Labelled, async |space| {
        // Three times the work that its limit allows, and a limit that the market leaves alone.
        let lab = Lab::serve("web", &["--workers", "2"]).request("100m");
        let lab = lab.limit("200m").annotate("mbcas.mode", "observe");
        let pod = space.start(&lab).await;
        let ours = cgroup(&pod, AGENT_CONTAINER).unwrap();
        let mut stranger = Stranger::beside(space, &pod);
        let speaks = async || {
            let report = space.report("web", &ip(&pod)).await?;
            // Ours tells what is behind it.
            that(
                report.breakdown == Breakdown::default(),
                format!("{report:?}"),
            )?;
            let intensity = report.demand_intensity;
            intensity.ok_or_else(|| "it sees nobody listen".to_owned())
        };
        assert_eq!(ours.kill(), 1);
        let calm = wait_until("the other one has the port", SOON, speaks).await;
        assert!(calm < 0.1, "without load it says {calm}");
        let stop = CancellationToken::new();
        let load = tokio::spawn(load::run(arguments("web", &ip(&pod), 30), stop.clone()));
        let urgent = counted_with(space, "web", 0.6..=1.0).await;
        stop.cancel();
        load.await.unwrap().unwrap();
        let content = counted_with(space, "web", 0.0..=0.1).await;
        let pod = space.pod("web").await;
        let ours = container(&pod, AGENT_CONTAINER).unwrap();
        let state = ours.state.as_ref().unwrap();
        let stays = state.running.is_some() && ours.restart_count == 1;
        assert!(stays, "ours did not stay: {state:?}");
        assert_eq!(stranger.0.try_wait().unwrap(), None, "the other one ended");
        let at_last = speaks().await.unwrap();
        assert!(
            at_last < 0.1,
            "ours has taken its port back, or it says {at_last}"
        );
        drop(stranger);
        figure!(
            "another agent's word: {calm:.2}; under load the market counts with {urgent:.2}, then {content:.2}"
        );
    });
}

/// Waits until the market counts with such a demand of `pod`; gives it.
async fn counted_with(space: &Space, pod: &str, demand: RangeInclusive<f64>) -> f64 {
    let what = format!("the market counts {pod} with {demand:?}");
    wait_until(&what, KNOWN, async || {
        let counted = value(space, METRIC, pod).await?;
        that(demand.contains(&counted), format!("it is {counted}"))?;
        Ok(counted)
    })
    .await
}

/// Waits until so many millicores are what `pod` can use by the last clearing; gives them.
async fn needs(space: &Space, pod: &str, millicores: RangeInclusive<f64>) -> f64 {
    let what = format!("{pod} needs {millicores:?} millicores");
    wait_until(&what, KNOWN, async || {
        let need = value(space, "mbcas_need_cpu_mcores", pod).await?;
        that(millicores.contains(&need), format!("it is {need}"))?;
        Ok(need)
    })
    .await
}

/// The value of `metric` for the container `app` of `pod`.
async fn value(space: &Space, metric: &str, pod: &str) -> Result<f64, String> {
    let page = space.release.metrics().await?;
    let mut all = samples(&page, metric);
    let ours =
        all.find(|s| s.label("namespace") == Some(&space.name) && s.label("pod") == Some(pod));
    ours.map(|sample| sample.value)
        .ok_or_else(|| format!("no {metric} of {pod}"))
}

/// The value of `metric` for this reason.
async fn counted(space: &Space, metric: &str, reason: &str) -> Result<f64, String> {
    let page = space.release.metrics().await?;
    Ok(with_reason(&page, metric, reason))
}

/// The same on a `page`.
fn with_reason(page: &str, metric: &str, reason: &str) -> f64 {
    let found = samples(page, metric).find(|sample| sample.label("reason") == Some(reason));
    found.map_or(0.0, |sample| sample.value)
}

/// How many questions about demand had no answer, for this reason.
async fn failures(space: &Space, reason: &str) -> f64 {
    counted(space, FAILURES, reason).await.unwrap()
}
