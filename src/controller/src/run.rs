//! Wiring: watches, election, loop and admin port, each a supervised task.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Node, ResourceQuota};
use kube::Client;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Config;
use mbcas_actuator::{Support, support_of_version};
use mbcas_api::BudgetPolicy;
use mbcas_api::names::{INJECTION_ENABLED, INJECTION_LABEL};
use mbcas_core::annotations::Mode;
use mbcas_runtime::ready::Readiness;
use mbcas_runtime::supervise::Supervisor;
use mbcas_runtime::{admin, clock, shutdown};
use tokio::sync::Mutex;
use tokio::task::JoinError;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::actuate::{Actuator, Pace};
use crate::args::Args;
use crate::autoscalers::VerticalPodAutoscaler;
use crate::cluster::{Cluster, Sighting, Watched};
use crate::cycle::{Loop, Step, Term, UnderWay};
use crate::demand::Demands;
use crate::discover::Terms;
use crate::ids::Ids;
use crate::jumps::{Jump, Jumps};
use crate::kubelet;
use crate::kubelets::Kubelets;
use crate::lease::{Candidate, Leader};
use crate::metrics::Metrics;
use crate::record::{self, Record};
use crate::scribe::Scribe;
use crate::senses::Senses;
use crate::switch::Switch;
use crate::unenforced::Unenforced;

/// How long a cycle in progress may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the controller until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting, or the task that ended unasked.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let token = shutdown::on_signals()?;
    let mut config = kube::Config::infer().await.context("finding the cluster")?;
    // It would repeat a busy server's refusals for minutes, past the Lease that was asked for,
    // and hide them from who could write slower.
    config.default_retry = false;
    let client = Client::try_from(config.clone()).context("making a client for the cluster")?;
    let registry = prometheus::Registry::new();
    let metrics = Arc::new(Metrics::register(&registry, args.pod_metrics)?);
    let readiness = Readiness::new();
    let listener = admin::bind(args.admin.admin_addr)?;

    let cluster = Cluster::default();
    let identity = format!("{}_{:016x}", args.pod, rand::random::<u64>());
    let leases = Api::namespaced(client.clone(), &args.namespace);
    let deployments = Api::namespaced(client.clone(), &args.namespace);
    let (candidate, leader) = Candidate::new(leases, deployments, &identity, clock::since_boot);
    let (jumps, ears) = Jumps::new();
    let source = args.prometheus.source()?;
    let hears_jumps = source.hears_jumps();
    let record = Record::default();
    let pace = Pace::new(args.writes_per_second, args.write_burst);
    let actuator = Actuator::new(client.clone(), leader.clone()).paced(pace, args.interval);
    let scribe = Scribe::new(client.clone(), leader.clone(), args.pod_recommendations);
    let market = Loop {
        cluster: cluster.clone(),
        jumps,
        senses: Arc::new(Mutex::new(Senses {
            demands: Demands::from(source),
            kubelets: Kubelets::new(kubelet::client(&args.kubelet_tls(), &config)?),
        })),
        actuator: Arc::new(actuator),
        policy: args.policy()?,
        terms: Terms {
            default_max: args.default_max_cpu,
            reserve: args.reserve,
            curve: args.weights,
            startup_grace: args.startup_grace,
        },
        mode: args.mode,
        canary: args.canary_percent,
        switch: Switch::new(Api::namespaced(client.clone(), &args.namespace)),
        scribe: Arc::new(Mutex::new(scribe)),
        unenforced: Unenforced::default(),
        interval: args.interval,
        metrics: metrics.clone(),
        record: record.clone(),
        ledgers: std::collections::BTreeMap::new(),
        epoch: None,
        respected: std::collections::BTreeMap::new(),
        contested: Vec::new(),
        leaving: crate::leaving::Leaving::default(),
        ids: Ids::default(),
        started: Instant::now(),
        under_way: UnderWay::default(),
    };

    let mut tasks = Supervisor::new(token.clone());
    let labelled = Config::default().labels(&format!("{INJECTION_LABEL}={INJECTION_ENABLED}"));
    let watches = Watches {
        tasks: &mut tasks,
        cluster: &cluster,
        client: &client,
        readiness: &readiness,
        token: &token,
    };
    watches
        .of::<Sighting>("pods", Config::default())
        .of::<Node>("nodes", Config::default())
        .of::<Namespace>("namespaces", labelled)
        .of::<DeserializeGuard<BudgetPolicy>>("budgetpolicies", Config::default())
        .of::<DeserializeGuard<LimitRange>>("limitranges", Config::default())
        .of::<DeserializeGuard<ResourceQuota>>("resourcequotas", Config::default())
        .of::<DeserializeGuard<HorizontalPodAutoscaler>>(
            "horizontalpodautoscalers",
            Config::default(),
        )
        .of::<DeserializeGuard<VerticalPodAutoscaler>>("verticalpodautoscalers", Config::default());
    tasks.spawn(
        "admin",
        admin::serve(
            listener,
            admin::router(registry, readiness.clone()).merge(record::router(record)),
            token.clone(),
        ),
    );
    tasks.spawn(
        "loop",
        turns(market, client, leader, readiness, token.clone()),
    );
    if hears_jumps {
        tasks.spawn("jumps", stoppable(token.clone(), ears.run()));
    }
    tasks.spawn("lease", candidate.run(token));
    tasks.run(GRACE).await?;
    Ok(())
}

/// What starting a watch takes.
struct Watches<'a> {
    tasks: &'a mut Supervisor,
    cluster: &'a Cluster,
    client: &'a Client,
    readiness: &'a Readiness,
    token: &'a CancellationToken,
}

impl Watches<'_> {
    /// Starts the watch of one kind.
    fn of<K: Watched>(self, name: &'static str, config: Config) -> Self {
        let (cluster, client) = (self.cluster.clone(), self.client.clone());
        let watch = cluster.watch::<K>(client, config, self.readiness.handle(name));
        self.tasks.spawn(name, stoppable(self.token.clone(), watch));
        self
    }
}

/// `task`, which would go on for ever, until `token` is cancelled.
async fn stoppable<E>(
    token: CancellationToken,
    task: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    token
        .run_until_cancelled_owned(task)
        .await
        .unwrap_or(Ok(()))
}

/// What the loop wakes up for.
enum Event {
    /// It is time for a cycle.
    Due,
    /// Demands have jumped.
    Jumps(Vec<Jump>),
    /// What was waited for has come about.
    Step(Step),
}

/// One cycle per interval while this process leads and its views are complete, and an early
/// turn where demand jumps meanwhile.
async fn turns(
    mut market: Loop,
    client: Client,
    mut leader: Leader,
    readiness: Readiness,
    token: CancellationToken,
) -> Result<(), JoinError> {
    let mut probe = Probe {
        client,
        verdict: None,
    };
    // Short steps until the first cycle can run, then the interval.
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            () = token.cancelled() => break,
            _ = ticks.tick() => Event::Due,
            () = leader.turned() => Event::Due,
            Some(step) = market.under_way.steps.join_next() => Event::Step(step?),
            jumps = market.jumps.next() => Event::Jumps(jumps),
        };
        let epoch = leader.epoch();
        market.metrics.leader.set(i64::from(epoch.is_some()));
        let epoch = epoch.filter(|_| readiness.pending().is_empty());
        let term = match epoch {
            None => None,
            Some(epoch) => {
                let mode = probe.permitted(market.mode).await;
                let is_supported = probe.verdict == Some(Support::Supported);
                market.metrics.supported.set(i64::from(is_supported));
                Some(Term { epoch, mode })
            }
        };
        match (event, term) {
            (Event::Step(step), term) => market.go_on(step, term).await,
            (_, None) => market.stand_by(),
            (Event::Jumps(jumps), Some(term)) => {
                market.early(jumps, term).await;
                market.jumps.rest();
            }
            (Event::Due, Some(term)) if market.is_idle() => {
                market.begin(term);
                ticks.reset_after(market.interval);
            }
            // It goes on in short steps until the one that is under way has ended.
            (Event::Due, Some(_)) => ticks.reset(),
        }
    }
    // What was sent is waited for: nobody else may lead before that.
    while let Some(step) = market.under_way.steps.join_next().await {
        market.go_on(step?, None).await;
    }
    Ok(())
}

/// Whether the cluster can resize at all; asked until it has answered.
struct Probe {
    client: Client,
    verdict: Option<Support>,
}

impl Probe {
    /// How far the loop may go: never further than recommending on a cluster that cannot resize.
    async fn permitted(&mut self, wanted: Mode) -> Mode {
        if self.verdict.is_none() {
            match support_of_version(&self.client).await {
                Ok(verdict) => self.verdict = Some(verdict),
                Err(error) => {
                    tracing::warn!(%error, "Could not ask whether the cluster can resize pods; writing nothing");
                }
            }
        }
        match &self.verdict {
            Some(Support::Supported) => wanted,
            Some(Support::Unsupported(why)) => {
                tracing::error!(%why, "This cluster cannot resize pods in place: MBCAS recommends and writes nothing");
                wanted.min(Mode::Recommend)
            }
            None => wanted.min(Mode::Recommend),
        }
    }
}

#[cfg(test)]
mod tests;
