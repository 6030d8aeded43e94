//! Who is meant: ordered names, so that every list and every tie comes out the same way.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One incarnation of a pod. A replacement under the same name has another `uid`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodId {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's `metadata.uid`.
    pub uid: String,
}

/// One container of one incarnation of a pod.
///
/// A cycle names each container a dozen times over, in snapshot, ledger, plan and
/// report: a clone is another pointer to the same names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Named", into = "Named")]
pub struct ContainerId(Arc<Named>);

/// What a [`ContainerId`] points to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Named {
    /// The pod it belongs to.
    pub pod: PodId,
    /// The container's name, unique within its pod.
    pub container: String,
}

impl ContainerId {
    /// The container of this name in `pod`.
    pub fn new(pod: PodId, container: impl Into<String>) -> Self {
        let container = container.into();
        Named { pod, container }.into()
    }
}

impl From<Named> for ContainerId {
    fn from(named: Named) -> Self {
        Self(Arc::new(named))
    }
}

impl From<ContainerId> for Named {
    fn from(id: ContainerId) -> Self {
        Arc::unwrap_or_clone(id.0)
    }
}

impl Deref for ContainerId {
    type Target = Named;
    fn deref(&self) -> &Named {
        &self.0
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pod, self.container)
    }
}
