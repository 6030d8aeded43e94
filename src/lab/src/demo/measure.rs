//! Running the load, and reading what it does.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::exposition::samples;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::DemoError;
use super::cluster::{Counter, Service, Stage};
use super::generator::Generator;
use super::record::{Granted, Grants, Observed, Phase, Run};

/// The controller's interval. The demo runs with the one that everybody gets.
const CYCLE: Duration = Duration::from_secs(15);
/// How long a phase is measured.
const USUAL: Duration = Duration::from_secs(45);
/// How long it is where shares are judged by the kernel's counters.
const JUDGED: Duration = Duration::from_secs(75);
/// The mode whose second phase is judged so.
const ACTING: &str = "auto";
/// How often a line is printed meanwhile.
const LIVE: Duration = Duration::from_secs(10);
/// CPU that one request costs, in millicores per request and second.
const COST: f64 = 10.0;

/// Requests per second and service, in both phases.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rates {
    within: BTreeMap<String, f64>,
    saturated: BTreeMap<String, f64>,
}

impl Rates {
    /// Rates for `grants`: saturated is half as much again as the larger of its
    /// grant and an equal share, so that it is more than it gets with or without
    /// MBCAS; within is three quarters of the grant for the service of the
    /// largest budget, the others staying saturated.
    #[allow(clippy::cast_precision_loss)] // millicores of one node
    pub(super) fn of(grants: &Grants) -> Result<Self, DemoError> {
        let none = || DemoError::Missing("the market grants nothing to anybody".to_owned());
        let top = grants
            .services
            .iter()
            .max_by_key(|(_, g)| g.budget)
            .ok_or_else(none)?;
        let equal = grants.capacity as f64 / grants.services.len() as f64;
        let saturated = |g: &Granted| 1.5 * (g.grant as f64).max(equal) / COST;
        let saturated: BTreeMap<_, _> = grants
            .services
            .iter()
            .map(|(name, g)| (name.clone(), saturated(g)))
            .collect();
        let mut within = saturated.clone();
        within.insert(top.0.clone(), 0.75 * top.1.grant as f64 / COST);
        Ok(Self { within, saturated })
    }
}

/// Waits for two cycles, then reads what the market grants.
pub(super) async fn grants(stage: &Stage) -> Result<Grants, DemoError> {
    let services = ready(stage).await?;
    let node = services[0].node.clone();
    // Usage needs two readings of the kubelet's counters, and the market a cycle after them.
    wait("two cycles and fresh usage", CYCLE * 2).await;
    let (before, started) = (stage.counters(&node).await?, Instant::now());
    sleep_until(started + CYCLE).await;
    let after = stage.counters(&node).await?;
    let text = stage.metrics().await?;
    let granted = |service: &Service| {
        let grant = value(&text, "mbcas_alloc_cpu_mcores", &service.pod);
        (
            service.name.clone(),
            Granted {
                budget: service.budget,
                floor: service.floor,
                grant,
            },
        )
    };
    let capacity = samples(&text, "mbcas_capacity_mcores")
        .next()
        .map_or(0.0, |s| s.value);
    let noise = before
        .keys()
        .filter(|[namespace, ..]| namespace == stage.noise());
    Ok(Grants {
        capacity: rounded(capacity),
        allocatable: stage.allocatable(&node).await?,
        noise_used: noise.map(|key| used(before.get(key), after.get(key))).sum(),
        services: services.iter().map(granted).collect(),
    })
}

/// Both phases.
pub(super) async fn run(
    stage: &Stage,
    mode: &str,
    generator: &Generator,
    rates: &Rates,
) -> Result<Run, DemoError> {
    say(&format!(
        "{mode}: the first service within its grant, the others saturated"
    ));
    let within = phase(stage, generator, &rates.within, USUAL).await?;
    say(&format!("{mode}: all three saturated"));
    let length = if mode == ACTING { JUDGED } else { USUAL };
    let saturated = phase(stage, generator, &rates.saturated, length).await?;
    Ok(Run {
        mode: mode.to_owned(),
        within,
        saturated,
    })
}

async fn phase(
    stage: &Stage,
    generator: &Generator,
    rates: &BTreeMap<String, f64>,
    length: Duration,
) -> Result<Phase, DemoError> {
    let services = ready(stage).await?;
    let node = services[0].node.clone();
    let load = generator.start(&services, rates, length)?;
    let started = Instant::now();
    // From here on nothing should be written any more: two cycles, then the time that counts.
    watch(stage, started, generator.warm_up.saturating_sub(CYCLE * 2)).await;
    let writes = written(&stage.metrics().await?);
    watch(stage, started, generator.warm_up).await;
    let before = stage.counters(&node).await?;
    let demand = watch(stage, started, generator.warm_up + length).await;
    let (after, text) = (stage.counters(&node).await?, stage.metrics().await?);
    let reports = load.reports().await?;
    let mut observed = BTreeMap::new();
    for service in ready(stage).await? {
        let key = [
            stage.home().to_owned(),
            service.pod.clone(),
            "app".to_owned(),
        ];
        let load = reports.iter().find(|r| r.name == service.name).cloned();
        let missing = || DemoError::Load(format!("no report about {}", service.name));
        observed.insert(
            service.name.clone(),
            Observed {
                budget: service.budget,
                floor: service.floor,
                demand: demand.get(&service.pod).copied().unwrap_or_default(),
                limit: service.limit,
                used: used(before.get(&key), after.get(&key)),
                load: load.ok_or_else(missing)?,
                app_restarts: service.app_restarts,
                agent_restarts: service.agent_restarts,
            },
        );
    }
    let app = [
        stage.home().to_owned(),
        services[0].pod.clone(),
        "app".to_owned(),
    ];
    let seconds = before
        .get(&app)
        .zip(after.get(&app))
        .map_or(0.0, |(b, a)| seconds(*b, *a));
    Ok(Phase {
        seconds,
        writes: written(&text).saturating_sub(writes),
        services: observed,
    })
}

/// The services, once all three are there.
async fn ready(stage: &Stage) -> Result<Vec<Service>, DemoError> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        match stage.services().await {
            Ok(services) if services.len() == 3 => return Ok(services),
            Ok(services) if Instant::now() > deadline => {
                return Err(DemoError::Missing(format!(
                    "{} of 3 services run",
                    services.len()
                )));
            }
            Err(error) if Instant::now() > deadline => return Err(error),
            _ => sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Prints the market every few seconds until `started + until`; the mean demand by pod.
async fn watch(stage: &Stage, started: Instant, until: Duration) -> BTreeMap<String, f64> {
    let mut seen: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut ticks = interval(LIVE);
    loop {
        tokio::select! {
            () = sleep_until(started + until) => break,
            _ = ticks.tick() => {
                let (Ok(services), Ok(text)) = (stage.services().await, stage.metrics().await) else { continue };
                for sample in samples(&text, "mbcas_demand_intensity") {
                    seen.entry(sample.label("pod").unwrap_or_default().to_owned()).or_default().push(sample.value);
                }
                live(&services, &text, started.elapsed());
            }
        }
    }
    #[allow(clippy::cast_precision_loss)] // a handful of samples
    let mean = |samples: Vec<f64>| samples.iter().sum::<f64>() / samples.len() as f64;
    seen.into_iter()
        .map(|(pod, samples)| (pod, mean(samples)))
        .collect()
}

fn live(services: &[Service], text: &str, elapsed: Duration) {
    let float = |metric, pod: &str| {
        samples(text, metric)
            .find(|s| s.label("pod") == Some(pod))
            .map_or(0.0, |s| s.value)
    };
    let part = |service: &Service| {
        let (demand, pod) = (float("mbcas_demand_intensity", &service.pod), &service.pod);
        let (grant, used) = (
            value(text, "mbcas_alloc_cpu_mcores", pod),
            value(text, "mbcas_usage_cpu_mcores", pod),
        );
        let limit = service.limit;
        format!(
            "{:<8} demand {demand:.2}  granted {grant:>4}m  limit {limit:>5}m  used {used:>4}m",
            service.name
        )
    };
    let price = samples(text, "mbcas_price").next().map_or(0.0, |s| s.value);
    for (index, service) in services.iter().enumerate() {
        let lead = if index == 0 {
            format!("{:>4} s  price {price:<6.3}", elapsed.as_secs())
        } else {
            String::new()
        };
        say(&format!("{lead:<22}{}", part(service)));
    }
}

async fn wait(what: &str, time: Duration) {
    say(&format!("waiting {} s for {what}", time.as_secs()));
    sleep(time).await;
}

#[allow(clippy::print_stderr)] // progress is for whoever watches
fn say(line: &str) {
    eprintln!("  {line}");
}

fn value(text: &str, metric: &str, pod: &str) -> u64 {
    samples(text, metric)
        .find(|s| s.label("pod") == Some(pod))
        .map_or(0, |s| rounded(s.value))
}

fn written(text: &str) -> u64 {
    samples(text, "mbcas_resize_events_total")
        .map(|sample| rounded(sample.value))
        .sum()
}

fn seconds(before: Counter, after: Counter) -> f64 {
    #[allow(clippy::cast_precision_loss)] // minutes, in milliseconds
    let elapsed = (after.1 - before.1) as f64 / 1_000.0;
    elapsed
}

/// Millicores used between two counters.
fn used(before: Option<&Counter>, after: Option<&Counter>) -> u64 {
    let Some((before, after)) = before.zip(after) else {
        return 0;
    };
    let elapsed = seconds(*before, *after);
    if elapsed > 0.0 {
        rounded((after.0 - before.0) / elapsed * 1_000.0)
    } else {
        0
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates, negative becomes 0
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests;
