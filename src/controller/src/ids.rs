//! The full names of participants, each made once and shared by all that is kept of it: readings,
//! ledgers, decisions. Equal ones are then the same pointer, and cost nothing to compare.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use mbcas_core::ContainerId;

use crate::cluster::PodView;

/// The names of those that were met, by their pods' uids.
#[derive(Debug, Default)]
pub struct Ids(HashSet<OfPod>);

/// The participant of a pod, which has one.
#[derive(Debug)]
struct OfPod(ContainerId);

impl Ids {
    /// The container `name` of `pod`, which takes part: the name that it had last time.
    pub fn of(&mut self, pod: &PodView, name: &str) -> ContainerId {
        let known = self.0.get(pod.uid()).map(|OfPod(id)| id);
        if let Some(known) = known.filter(|id| id.container == name) {
            return known.clone();
        }
        let new = pod.container(name);
        self.0.replace(OfPod(new.clone()));
        new
    }

    /// Forgets those that are not present any more, and gives them back.
    pub fn forget_gone(&mut self, is_present: impl Fn(&ContainerId) -> bool) -> Vec<ContainerId> {
        let gone = self.0.extract_if(|OfPod(id)| !is_present(id));
        gone.map(|OfPod(id)| id).collect()
    }
}

impl Borrow<str> for OfPod {
    fn borrow(&self) -> &str {
        &self.0.pod.uid
    }
}

impl Hash for OfPod {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.pod.uid.hash(state);
    }
}

impl PartialEq for OfPod {
    fn eq(&self, other: &Self) -> bool {
        self.0.pod.uid == other.0.pod.uid
    }
}

impl Eq for OfPod {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::pod_view;

    fn pod(uid: &str) -> PodView {
        let pod = json!({
            "metadata": {"namespace": "shop", "name": "web", "uid": uid},
            "spec": {"nodeName": "n1", "containers": [{"name": "app"}, {"name": "log"}]},
        });
        pod_view(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn is_same(one: &ContainerId, other: &ContainerId) -> bool {
        std::ptr::eq(&raw const **one, &raw const **other)
    }

    #[test]
    fn a_participant_has_one_name_until_it_is_gone_or_another_container_takes_part() {
        let mut ids = Ids::default();
        let (old, new) = (pod("a"), pod("b"));
        let first = ids.of(&old, "app");
        assert!(is_same(&first, &ids.of(&old, "app")));
        let replaced = ids.of(&new, "app");
        assert_ne!(first, replaced, "a pod of the same name");
        assert_eq!(ids.of(&old, "log").container, "log");
        assert_eq!(ids.of(&old, "log").pod, first.pod);

        let is_present = |id: &ContainerId| *id == replaced;
        assert_eq!(ids.forget_gone(is_present), [old.container("log")]);
        assert!(ids.forget_gone(is_present).is_empty());
        assert!(is_same(&replaced, &ids.of(&new, "app")));
    }
}
