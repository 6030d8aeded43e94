//! The loop that keeps a replica's certificate good.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::FutureExt;
use futures::stream::{self, Stream, StreamExt};
use kube::Client;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::bundle::{Bundle, TrustError};
use crate::configuration::{Configuration, Entry, Live};
use crate::leaf::{Leaf, LeafError};
use crate::pace::{Allowance, Steady};
use crate::report::{Event, Report, Told};
use crate::resolver::LiveCertificate;
use crate::rotation::Authorities;
use crate::schedule::LEAF_LIFETIME;
use crate::store::CaStore;
use crate::time::ServerTime;

/// How often a replica looks where no watch tells it to: the safety net.
pub const PERIOD: Duration = Duration::from_secs(10);

/// How soon it looks again after a look that left something to do, twice as
/// late after each further one; and how often it looks at the most.
pub const RETRY: Duration = Duration::from_secs(1);

/// How long a replica leaves those authorities trusted that were when it came, beside its own:
/// after a change of `certificates.mode`, replicas of before serve what those signed until the
/// roll-out has replaced them. As long as a Deployment's roll-out may take.
pub const HANDOVER: Duration = Duration::from_mins(10);

/// A wall clock that has gone this much further than the monotonic one was set, the API server's
/// perhaps with it, or the machine slept: the certificate is looked at anew, at once.
const LEAP: Duration = Duration::from_mins(1);

/// Keeps one replica's leaf fresh and the configurations' `caBundle`s in agreement with it.
#[derive(Debug)]
pub struct Keeper {
    store: CaStore,
    targets: [Target; 2],
    name: String,
    lifetime: Duration,
    time: Arc<ServerTime>,
    /// This machine's own, which only says when to look.
    wall: fn() -> SystemTime,
    begun: Instant,
    live: Arc<LiveCertificate>,
    /// As last read. A leaf can be renewed from it while the API server is away.
    held: Option<Authorities>,
    /// What all live entries carry, since when.
    carried: Steady<Bundle>,
    served: Option<Leaf>,
    /// Signed, but not served before the API servers can be expected to trust it.
    next: Option<Leaf>,
}

/// A configuration, what the last look that reached it found, and what may still be written to it.
#[derive(Debug)]
struct Target {
    configuration: Configuration,
    live: Live,
    /// The last look was refused: what becomes of it is not ours to see to.
    is_forbidden: bool,
    /// Authorities of others that were trusted when it was first seen.
    others: Option<Bundle>,
    allowance: Allowance,
}

impl Keeper {
    /// A keeper for the replica in `namespace` that serves from `live`, by the API server's clock.
    pub fn new(client: Client, namespace: &str, live: Arc<LiveCertificate>) -> Self {
        let (client, time) = ServerTime::of(client);
        let targets = Configuration::ours(&client).map(|configuration| Target {
            configuration,
            live: Live::default(),
            is_forbidden: false,
            others: None,
            allowance: Allowance::default(),
        });
        Self {
            store: CaStore::new(client, namespace),
            targets,
            name: crate::server_name(namespace),
            lifetime: LEAF_LIFETIME,
            time,
            wall: SystemTime::now,
            begun: Instant::now(),
            live,
            held: None,
            carried: Steady::default(),
            served: None,
            next: None,
        }
    }

    /// Whose leaves live for `lifetime` instead of [`LEAF_LIFETIME`], which none may outlive.
    #[must_use]
    pub fn with_leaves_of(self, lifetime: Duration) -> Self {
        Self {
            lifetime: lifetime.min(LEAF_LIFETIME),
            ..self
        }
    }

    /// With another wall clock than this machine's.
    #[cfg(test)]
    fn with_wall(self, wall: fn() -> SystemTime) -> Self {
        Self { wall, ..self }
    }

    /// Looks once: configurations, authority, `caBundle`s, leaf. Whatever fails,
    /// what was served is served on, and the rest is done.
    pub async fn look(&mut self) -> Report {
        let mut report = Report::default();
        // In this order: who writes a caBundle has then read the Secret after the
        // configuration, and its resourceVersion keeps him from undoing a newer one.
        self.read(&mut report).await;
        let settled = self.carried.settled(Instant::now());
        let ensured = self.store.ensure(|| self.time.now(), settled).await;
        let now = self.time.now();
        match ensured {
            Ok((held, event)) => {
                report.events.extend(event);
                let bundle = held.bundle(now);
                self.held = Some(held);
                self.publish(&bundle, &mut report).await;
            }
            Err(why) => report.troubles.push(why.to_string()),
        }
        if let Err(why) = self.prepare(now) {
            report.troubles.push(why.to_string());
        }
        if self.promote(now) {
            report.events.push(Event::Served);
        }
        self.judge(now, &mut report);
        report
    }

    /// Reads both configurations. One that is missing, or that we may not touch,
    /// holds nothing up; one that cannot be reached may carry anything. What a role
    /// took from us that we had goes on as it was: an upgrade to another mode takes
    /// it, and this replica serves until those of that mode are ready.
    async fn read(&mut self, report: &mut Report) {
        let mut all_known = true;
        for target in &mut self.targets {
            match target.configuration.read().await {
                Ok(live) => {
                    report.troubles.extend(target.configuration.missing(&live));
                    target.live = live;
                    target.is_forbidden = false;
                }
                Err(why) => {
                    target.is_forbidden = why.is_forbidden();
                    all_known &= target.is_forbidden;
                    report.troubles.push(why.to_string());
                }
            }
        }
        let common = all_known.then(|| self.common()).flatten();
        self.carried.see(common, Instant::now());
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.targets.iter().flat_map(|target| &target.live.entries)
    }

    /// Those that we may write to.
    fn own_entries(&self) -> impl Iterator<Item = &Entry> {
        let own = self.targets.iter().filter(|target| !target.is_forbidden);
        own.flat_map(|target| &target.live.entries)
    }

    /// What all entries of ours carry, if it is the same.
    fn common(&self) -> Option<Bundle> {
        let mut bundles = self.own_entries().map(|entry| &entry.bundle);
        let first = bundles.next()?;
        bundles.all(|bundle| bundle == first).then(|| first.clone())
    }

    async fn publish(&mut self, bundle: &Bundle, report: &mut Report) {
        let hands_over = self.begun.elapsed() < HANDOVER;
        for target in self.targets.iter_mut().filter(|one| !one.is_forbidden) {
            let (kind, name) = (target.configuration.kind, target.configuration.name);
            if target.live.entries.is_empty() {
                continue;
            }
            let bundle = &target.wanted(bundle, hands_over);
            let mut entries = target.live.entries.iter();
            if entries.all(|entry| entry.bundle == *bundle) {
                continue;
            }
            if !target.allowance.take(Instant::now()) {
                report.troubles.push(format!(
                    "somebody else keeps overwriting the caBundle of {kind} {name}, which is written again \
                     once a minute; its managedFields say who: let that writer leave the field alone"
                ));
                continue;
            }
            match target.configuration.publish(&target.live, bundle).await {
                Ok(live) => {
                    info!(
                        authorities = bundle.len(),
                        "wrote the caBundle of {kind} {name}"
                    );
                    report.events.push(Event::Published);
                    target.live = live;
                }
                Err(why) if why.is_lost_race() => {}
                Err(why) => report.troubles.push(why.to_string()),
            }
        }
    }

    /// Signs the next leaf if the served one is due, or not of this authority.
    fn prepare(&mut self, now: SystemTime) -> Result<(), LeafError> {
        let Some(held) = &self.held else {
            return Ok(());
        };
        let good = |leaf: &Option<Leaf>| {
            leaf.as_ref().is_some_and(|leaf| {
                leaf.is_from(held.signing())
                    && leaf.validity().holds(now)
                    && !leaf.validity().is_due(now)
            })
        };
        if good(&self.served) {
            self.next = None;
        } else if !good(&self.next) {
            self.next = Some(held.signing().issue(&self.name, now, self.lifetime)?);
        }
        Ok(())
    }

    /// Serves the next leaf, if somebody trusts it and nobody is lost by it: each
    /// entry that trusts the served one must trust it too, and where another
    /// authority signed it, every API server must have had time to hear of that one.
    fn promote(&mut self, now: SystemTime) -> bool {
        let (Some(next), Some(held)) = (&self.next, &self.held) else {
            return false;
        };
        let trusts = |entry: &Entry, leaf: &Leaf| self.check(entry, leaf, now).is_ok();
        if let Some(served) = &self.served
            && !served.validity().is_ending(now)
        {
            let heard = served.is_from(held.signing()) || self.is_settled(held);
            let lost = |entry| trusts(entry, served) && !(heard && trusts(entry, next));
            if self.own_entries().any(lost) {
                return false;
            }
        }
        if !self.own_entries().any(|entry| trusts(entry, next)) {
            return false;
        }
        if let Some(leaf) = self.next.take() {
            let hours = leaf.validity().remaining(now).as_secs() / 3_600;
            info!(hours, "serving a new certificate");
            self.live.set(leaf.certified());
            self.served = Some(leaf);
        }
        true
    }

    /// Whether all entries have carried the authority that signs for long enough.
    fn is_settled(&self, held: &Authorities) -> bool {
        let carried = self.carried.settled(Instant::now());
        let signing = Bundle::read(held.signing().certificate_pem());
        carried.is_some_and(|bundle| bundle.contains(&signing))
    }

    fn check(&self, entry: &Entry, leaf: &Leaf, now: SystemTime) -> Result<(), TrustError> {
        entry.bundle.verify(leaf.certificate(), &self.name, now)
    }

    /// The verdict. Readiness goes by the first entry that is there, which is the
    /// mutating one: a replica that it trusts is of use whatever became of the others.
    fn judge(&self, now: SystemTime, report: &mut Report) {
        report.authority = self.held.as_ref().map(|held| held.signing().validity());
        let Some(leaf) = &self.served else {
            return;
        };
        report.leaf = Some(leaf.validity());
        let lasts = !leaf.validity().is_ending(now);
        for (rank, entry) in self.entries().enumerate() {
            let verdict = self.check(entry, leaf, now);
            report.ready |= rank == 0 && lasts && verdict.is_ok();
            if let Err(why) = verdict {
                report.troubles.push(format!("{}: {why}", entry.name));
            }
        }
    }

    /// Looks for ever: at each change of a configuration, at each leap of the wall
    /// clock, and every [`PERIOD`]; `observe` sees each report. Drop it to stop.
    pub async fn run(mut self, mut observe: impl FnMut(&Report)) -> Infallible {
        let changes = self
            .targets
            .each_ref()
            .map(|target| target.configuration.changes().boxed());
        let mut changes = stream::select_all(changes);
        let mut told = Told::new("the webhook's certificate is well again");
        let mut retry = RETRY;
        loop {
            let report = self.look().await;
            told.tell(&report.troubles);
            observe(&report);
            let bundle = self.held.as_ref().map(|held| held.bundle(self.time.now()));
            let calm = report.ready && report.troubles.is_empty() && self.common() == bundle;
            self.wait(&mut changes, if calm { PERIOD } else { retry })
                .await;
            retry = if calm { RETRY } else { PERIOD.min(retry * 2) };
        }
    }

    /// Waits `limit`, or less where something happens, but [`RETRY`] always.
    async fn wait(&self, changes: &mut (impl Stream<Item = ()> + Unpin), limit: Duration) {
        let (started, wall) = (Instant::now(), (self.wall)());
        sleep(RETRY).await;
        // Several changes are one look.
        let mut woken = false;
        while changes.next().now_or_never().flatten().is_some() {
            woken = true;
        }
        while !woken && started.elapsed() < limit {
            woken = tokio::select! {
                _ = changes.next() => true,
                () = sleep(RETRY) => leapt(wall, (self.wall)(), started.elapsed()),
            };
        }
    }
}

impl Target {
    /// What its entries are to carry: what is `ours`, and while one mode hands over to another
    /// what they carried for others and still do.
    fn wanted(&mut self, ours: &Bundle, hands_over: bool) -> Bundle {
        let entries = self.live.entries.iter();
        let carried = entries.fold(Bundle::default(), |all, entry| all.and(&entry.bundle));
        let others = self.others.get_or_insert_with(|| carried.without(ours));
        if hands_over {
            ours.and(&others.common(&carried))
        } else {
            ours.clone()
        }
    }
}

/// Whether the wall clock went another way than the monotonic one.
fn leapt(from: SystemTime, to: SystemTime, elapsed: Duration) -> bool {
    let expected = from + elapsed;
    let apart = to
        .duration_since(expected)
        .unwrap_or_else(|early| early.duration());
    apart > LEAP
}

#[cfg(test)]
#[macro_use]
mod tests;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod running;
#[cfg(test)]
mod soak;
