//! The pods that are kept, and what they share.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::pod::{Asks, PodView, Template};
use super::shared::{Name, Shared};

/// Pods that occupy a node, in the order of their uids.
///
/// A pod takes some 200 bytes of its own (`docs/benchmarks/controller.md`). Names, and what replicas
/// have in common, are kept once, and a copy of the whole costs nothing until either changes.
#[derive(Debug, Default)]
pub struct Pods {
    kept: Arc<BTreeSet<ByUid>>,
    /// Pods that are likely to be put in as they are here.
    known: Arc<BTreeSet<ByUid>>,
    templates: Shared<Arc<Template>>,
    asks: Shared<Arc<Asks>>,
    names: Shared<Name>,
}

/// A pod where it is found by its uid.
#[derive(Clone, Debug)]
struct ByUid(Arc<PodView>);

impl Pods {
    /// The pod that has `uid`.
    pub fn get(&self, uid: &str) -> Option<&PodView> {
        self.kept.get(uid).map(|ByUid(pod)| &**pod)
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &PodView> {
        self.kept.iter().map(|ByUid(pod)| &**pod)
    }

    /// Puts `pod` in the place of the one that has its uid.
    pub fn insert(&mut self, mut pod: PodView) {
        if let Some(known) = self.known.get(pod.uid()).filter(|known| *known.0 == pod) {
            Arc::make_mut(&mut self.kept).replace(known.clone());
            return;
        }
        let names = &mut self.names;
        pod.node = names.share(&pod.node);
        let templates = &mut self.templates;
        pod.template = templates.share_or(&pod.template, |new| Arc::new(new.sharing(names)));
        if let Ok(participant) = &mut pod.participation {
            let asks = &mut self.asks;
            participant.asks = asks.share_or(&participant.asks, |new| Arc::new(new.sharing(names)));
        }
        Arc::make_mut(&mut self.kept).replace(ByUid(Arc::new(pod)));
    }

    /// Takes out the pod that has `uid`.
    pub fn remove(&mut self, uid: &str) {
        if self.kept.contains(uid) {
            Arc::make_mut(&mut self.kept).remove(uid);
        }
    }

    /// None of these pods, but what of them is put in again is shared with these.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self {
            kept: Arc::default(),
            known: self.kept.clone(),
            templates: self.templates.clone(),
            asks: self.asks.clone(),
            names: self.names.clone(),
        }
    }

    /// The same pods, once all that were to be put in are.
    #[must_use]
    pub fn settled(self) -> Self {
        Self {
            known: Arc::default(),
            ..self
        }
    }
}

/// A copy is for reading: it has the same pods and knows nothing of what they have in common.
impl Clone for Pods {
    fn clone(&self) -> Self {
        Self {
            kept: self.kept.clone(),
            ..Self::default()
        }
    }
}

impl FromIterator<PodView> for Pods {
    fn from_iter<T: IntoIterator<Item = PodView>>(pods: T) -> Self {
        let mut all = Self::default();
        pods.into_iter().for_each(|pod| all.insert(pod));
        all
    }
}

impl Borrow<str> for ByUid {
    fn borrow(&self) -> &str {
        self.0.uid()
    }
}

impl Ord for ByUid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.uid().cmp(other.0.uid())
    }
}

impl PartialOrd for ByUid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByUid {}

#[cfg(test)]
mod tests;
