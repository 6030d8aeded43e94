//! What admission knows of the cluster, kept fresh by watches: no review waits
//! for the API server.
//!
//! | watched | what is kept |
//! | --- | --- |
//! | pods, metadata only | budget and floor of those that take part, summed by namespace |
//! | BudgetPolicies, LimitRanges, ResourceQuotas | as [`Rules`] |
//!
//! A pod that was just admitted is not in any watch yet, so what it takes is
//! remembered for [`PENDING`] or until a pod that takes the same appears. The
//! other replica does not know of it, so the two may overshoot together.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mbcas_api::names::{INJECTION_ANNOTATION, ORIGINAL_ANNOTATION};
use mbcas_api::{BudgetPolicy, BudgetPolicySpec, Original};
use mbcas_core::annotations::Settings;
use mbcas_core::quantity::Quantity;

use crate::admit::Holding;
use crate::decide::SkipReason;
use crate::namespace::{Held, Namespace, Rules};
use crate::room::Quota;

/// How long an admitted pod is counted before a watch has shown it.
pub const PENDING: Duration = Duration::from_secs(10);

/// How many such pods of one namespace are counted at most.
const MOST_PENDING: usize = 10_000;

/// The caches. Cheap to ask: one lock, one look-up.
#[derive(Debug, Default)]
pub struct Cache(Mutex<World>);

/// What is known.
#[derive(Debug, Default)]
pub struct World {
    namespaces: HashMap<Box<str>, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Pod {
    holding: Holding,
    round: u32,
}

#[derive(Debug, Default)]
struct Entry {
    rules: Arc<Rules>,
    limit_ranges: BTreeMap<String, Vec<LimitRangeItem>>,
    quotas: BTreeMap<String, Quota>,
    /// By uid. Each namespace has its own, so that no pod has to carry its namespace's name.
    pods: HashMap<u128, Pod>,
    /// What those take.
    held: Held,
    pending: Pending,
}

/// What was admitted and is not in any watch yet. Every review asks for its sum,
/// and a burst fills it, so nothing here goes through all of it.
#[derive(Debug, Default)]
struct Pending {
    /// In the order in which they were admitted, those that were seen since included.
    admitted: VecDeque<(Instant, Holding)>,
    /// By what they take: how many are waited for, and how many were seen.
    counts: HashMap<Holding, Counts>,
    /// What those take that are waited for.
    sum: Held,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: usize,
    seen: usize,
}

impl Pending {
    fn add(&mut self, now: Instant, holding: Holding) {
        self.admitted.push_back((now, holding));
        self.counts.entry(holding).or_default().waiting += 1;
        self.sum.add(holding);
    }

    /// A watch shows a pod that takes `holding`: it is one of ours if one of ours takes the same.
    fn appeared(&mut self, holding: Holding) {
        if let Some(counts) = self.counts.get_mut(&holding)
            && counts.waiting > 0
        {
            counts.waiting -= 1;
            counts.seen += 1;
            self.sum.take(holding);
        }
    }

    /// Takes away what was waited for long enough.
    fn expire(&mut self, now: Instant) {
        while let Some((since, holding)) = self.admitted.front().copied()
            && now.saturating_duration_since(since) >= PENDING
        {
            self.admitted.pop_front();
            let counts = self.counts.entry(holding).or_default();
            // Those that were seen are taken to be the oldest ones.
            if counts.seen > 0 {
                counts.seen -= 1;
            } else {
                counts.waiting = counts.waiting.saturating_sub(1);
                self.sum.take(holding);
            }
        }
        if self.admitted.is_empty() {
            // The memory of a burst is not kept.
            *self = Self::default();
        }
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.pending.admitted.is_empty() && *self.rules == Rules::default()
    }

    /// Makes the rules anew from what they are made of.
    fn rewrite(&mut self, change: impl FnOnce(&mut Rules)) {
        let mut rules = Rules {
            policy: self.rules.policy.clone(),
            limit_ranges: self.limit_ranges.values().flatten().cloned().collect(),
            quotas: self.quotas.values().cloned().collect(),
        };
        change(&mut rules);
        self.rules = Arc::new(rules);
    }
}

impl World {
    fn entry(&mut self, namespace: &str) -> &mut Entry {
        self.namespaces.entry(namespace.into()).or_default()
    }

    fn take_out(&mut self, namespace: &str, uid: u128) {
        if let Some(entry) = self.namespaces.get_mut(namespace)
            && let Some(pod) = entry.pods.remove(&uid)
        {
            entry.held.take(pod.holding);
            self.tidy(namespace);
        }
    }

    /// Forgets `namespace` if there is nothing to know about it, as where it is gone.
    pub fn tidy(&mut self, namespace: &str) {
        let entry = self.namespaces.get(namespace);
        if entry.is_some_and(Entry::is_empty) {
            self.namespaces.remove(namespace);
        }
    }

    /// Forgets every namespace that there is nothing to know about.
    pub fn sweep(&mut self) {
        self.namespaces.retain(|_, entry| !entry.is_empty());
    }
}

impl Cache {
    /// Changes what is known, all at once: nobody sees it half done.
    pub fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The namespace `name` as it is known at `now`.
    pub fn namespace(&self, name: &str, now: Instant) -> Namespace {
        let known = self.with(|world| {
            let entry = world.namespaces.get_mut(name)?;
            entry.pending.expire(now);
            Some((Arc::clone(&entry.rules), entry.held.plus(entry.pending.sum)))
        });
        let (rules, held) = known.unwrap_or_default();
        Namespace {
            name: name.to_owned(),
            rules,
            held,
        }
    }

    /// Remembers what a pod takes that was admitted at `now`, where a policy has
    /// totals: whoever asks about other namespaces, real or not, costs no memory.
    pub fn admitted(&self, namespace: &str, holding: Holding, now: Instant) {
        self.with(|world| {
            if let Some(entry) = world.namespaces.get_mut(namespace)
                && entry.rules.has_totals()
                && entry.pending.admitted.len() < MOST_PENDING
            {
                entry.pending.add(now, holding);
            }
        });
    }

    /// Whether a pod was admitted that takes the same and was not seen yet.
    pub fn waits_for(&self, namespace: &str, holding: Holding) -> bool {
        self.with(|world| {
            let entry = world.namespaces.get(namespace)?;
            entry
                .pending
                .counts
                .get(&holding)
                .map(|counts| counts.waiting > 0)
        })
        .unwrap_or(false)
    }

    /// A pod was seen, in the listing number `round`.
    pub fn pod_seen(&self, meta: &ObjectMeta, round: u32) {
        let Some((uid, namespace)) = identity(meta) else {
            return;
        };
        let holding = holding(meta);
        self.with(|world| {
            let Some(holding) = holding else {
                world.take_out(namespace, uid);
                return;
            };
            let entry = world.entry(namespace);
            match entry.pods.insert(uid, Pod { holding, round }) {
                Some(before) => entry.held.take(before.holding),
                None => entry.pending.appeared(holding),
            }
            entry.held.add(holding);
        });
    }

    /// A pod is gone, or done.
    pub fn pod_gone(&self, meta: &ObjectMeta) {
        if let Some((uid, namespace)) = identity(meta) {
            self.with(|world| world.take_out(namespace, uid));
        }
    }

    /// The listing number `round` is complete: pods that it did not show are gone.
    pub fn pods_listed(&self, round: u32) {
        self.with(|world| {
            for entry in world.namespaces.values_mut() {
                for (_, pod) in entry.pods.extract_if(|_, pod| pod.round < round) {
                    entry.held.take(pod.holding);
                }
            }
            world.sweep();
        });
    }

    /// How many pods are counted.
    pub fn pods(&self) -> usize {
        self.with(|world| {
            world
                .namespaces
                .values()
                .map(|entry| entry.pods.len())
                .sum()
        })
    }
}

/// An object that makes a namespace's rules.
pub trait Rule: Sized {
    /// Puts `rule` in force under its name; with none, what was in force there is no longer.
    fn set(rule: Option<&Self>, namespace: &str, name: &str, world: &mut World);

    /// Takes all of its kind out of force, before they are listed anew.
    fn clear(world: &mut World);
}

impl Rule for BudgetPolicy {
    fn set(rule: Option<&Self>, namespace: &str, name: &str, world: &mut World) {
        if name != mbcas_api::BUDGET_POLICY_NAME {
            return;
        }
        let policy = rule.map(|rule| rule.spec.clone()).unwrap_or_default();
        world
            .entry(namespace)
            .rewrite(|rules| rules.policy = policy);
    }

    fn clear(world: &mut World) {
        for entry in world.namespaces.values_mut() {
            entry.rewrite(|rules| rules.policy = BudgetPolicySpec::default());
        }
    }
}

impl Rule for LimitRange {
    fn set(rule: Option<&Self>, namespace: &str, name: &str, world: &mut World) {
        let spec = rule.and_then(|rule| rule.spec.as_ref());
        let items = spec.map(|spec| spec.limits.clone()).unwrap_or_default();
        let entry = world.entry(namespace);
        entry.limit_ranges.insert(name.to_owned(), items);
        entry.limit_ranges.retain(|_, items| !items.is_empty());
        entry.rewrite(|_| ());
    }

    fn clear(world: &mut World) {
        for entry in world.namespaces.values_mut() {
            entry.limit_ranges.clear();
            entry.rewrite(|_| ());
        }
    }
}

impl Rule for ResourceQuota {
    fn set(rule: Option<&Self>, namespace: &str, name: &str, world: &mut World) {
        let quota = rule.and_then(Quota::of);
        let entry = world.entry(namespace);
        entry.quotas.remove(name);
        entry
            .quotas
            .extend(quota.map(|quota| (name.to_owned(), quota)));
        entry.rewrite(|_| ());
    }

    fn clear(world: &mut World) {
        for entry in world.namespaces.values_mut() {
            entry.quotas.clear();
            entry.rewrite(|_| ());
        }
    }
}

/// A uid is 128 bits; kept as text, ten thousand pods would take a megabyte for nothing.
fn identity(meta: &ObjectMeta) -> Option<(u128, &str)> {
    let digits: String = meta.uid.as_ref()?.chars().filter(|c| *c != '-').collect();
    let uid = u128::from_str_radix(&digits, 16).ok()?;
    Some((uid, meta.namespace.as_deref()?))
}

/// What a pod takes, read from what admission wrote on it; absent if it takes no part.
pub fn holding(meta: &ObjectMeta) -> Option<Holding> {
    let annotations = meta.annotations.as_ref()?;
    let word = annotations.get(INJECTION_ANNOTATION)?;
    let takes_part = word == "injected"
        || SkipReason::ALL
            .iter()
            .any(|reason| reason.as_str() == word && reason.takes_part());
    let settings = Settings::parse(annotations).ok().filter(|_| takes_part)?;
    if !settings.is_enabled() {
        return None;
    }
    let record = annotations.get(ORIGINAL_ANNOTATION)?;
    let record = Original::from_json(record).ok()?;
    let participant = record
        .participant
        .as_ref()
        .and_then(|name| record.containers.get(name));
    let request = participant.and_then(|cpu| cpu.request.as_ref().or(cpu.limit.as_ref()));
    let request = request.and_then(|cpu| Quantity::parse(cpu).ok()?.as_cpu());
    Some(Holding {
        budget: settings.budget.unwrap_or_default(),
        floor: settings.floor(request.unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests;
