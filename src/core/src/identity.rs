//! Who is meant: ordered names, so that every list and every tie comes out the same way.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One incarnation of a pod. A replacement under the same name has another `uid`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
///
/// Written down it is `namespace/pod/uid/container`: short, and a key where keys are text.
/// None of the four can contain a slash.
///
/// ```
/// use mbcas_core::ContainerId;
/// let id: ContainerId = serde_json::from_str(r#""shop/web-1/11aa/app""#)?;
/// assert_eq!((id.pod.uid.as_str(), id.container.as_str()), ("11aa", "app"));
/// assert_eq!(serde_json::to_string(&id)?, r#""shop/web-1/11aa/app""#);
/// assert!(serde_json::from_str::<ContainerId>(r#""shop/web-1/app""#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(Arc<Named>);

/// A text that names no container.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} names no container: write namespace/pod/uid/container")]
pub struct ContainerIdError(String);

/// What a [`ContainerId`] points to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl TryFrom<String> for ContainerId {
    type Error = ContainerIdError;
    fn try_from(text: String) -> Result<Self, ContainerIdError> {
        let names: Vec<&str> = text.split('/').collect();
        let [namespace, name, uid, container] = names[..] else {
            return Err(ContainerIdError(text.chars().take(80).collect()));
        };
        let [namespace, name, uid] = [namespace, name, uid].map(str::to_owned);
        let pod = PodId {
            namespace,
            name,
            uid,
        };
        Ok(Self::new(pod, container))
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        let Named { pod, container } = &*id;
        format!("{}/{}/{}/{container}", pod.namespace, pod.name, pod.uid)
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
