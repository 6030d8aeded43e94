//! The resources that a pod had before MBCAS touched it.
//!
//! Admission saves them on the pod itself, in the annotation
//! [`ORIGINAL_ANNOTATION`], so that a pod
//! that was ever touched can be restored by anyone, with MBCAS gone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::names::ORIGINAL_ANNOTATION;

/// CPU requests and limits of a pod's containers as their owner wrote them.
///
/// ```
/// let json = r#"{"version":1,"containers":{"app":{"request":"100m"}}}"#;
/// let original = mbcas_api::Original::from_json(json).unwrap();
/// assert_eq!(original.containers["app"].request.as_deref(), Some("100m"));
/// assert_eq!(original.containers["app"].limit, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Original {
    /// The form of this record; 1 is the only one there is.
    pub version: u32,
    /// The container that takes part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// By container name; init containers are not among them.
    pub containers: BTreeMap<String, OriginalCpu>,
}

/// One container's CPU as its owner wrote it; absent stays absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginalCpu {
    /// `resources.requests.cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// `resources.limits.cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// Why a record could not be read.
#[derive(Debug, Error)]
pub enum OriginalError {
    /// It is not JSON of the right shape.
    #[error("annotation {ORIGINAL_ANNOTATION} is not readable: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It was written by a later MBCAS.
    #[error("annotation {ORIGINAL_ANNOTATION} has version {0}; this MBCAS reads version 1")]
    Version(u32),
}

impl Original {
    /// The record of `containers` as they stand now, of which `participant` takes part.
    pub fn of(containers: &[Container], participant: &str) -> Self {
        let containers = containers
            .iter()
            .map(|c| (c.name.clone(), OriginalCpu::of(c)))
            .collect();
        Self {
            version: 1,
            participant: Some(participant.to_owned()),
            containers,
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`OriginalError`] for anything that this version did not write.
    pub fn from_json(json: &str) -> Result<Self, OriginalError> {
        let original: Self = serde_json::from_str(json)?;
        if original.version == 1 {
            Ok(original)
        } else {
            Err(OriginalError::Version(original.version))
        }
    }

    /// The record on `pod`, if it carries one.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn on(pod: &Pod) -> Result<Option<Self>, OriginalError> {
        let annotations = pod.metadata.annotations.as_ref();
        annotations
            .and_then(|a| a.get(ORIGINAL_ANNOTATION))
            .map(|json| Self::from_json(json))
            .transpose()
    }

    /// The record as it stands in the annotation.
    ///
    /// # Errors
    /// None that is known: the record is maps of text.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl OriginalCpu {
    /// A container's CPU as it stands now.
    pub fn of(container: &Container) -> Self {
        let resources = container.resources.as_ref();
        let requests = resources.and_then(|r| r.requests.as_ref());
        let limits = resources.and_then(|r| r.limits.as_ref());
        let cpu = |list: Option<&BTreeMap<String, _>>| {
            list.and_then(|l| l.get("cpu"))
                .map(|q: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| q.0.clone())
        };
        Self {
            request: cpu(requests),
            limit: cpu(limits),
        }
    }
}

#[cfg(test)]
mod tests;
