//! AdmissionReview, read strictly and answered by hand.
//!
//! What is not a review is answered with an HTTP error, never with a review
//! that has an empty uid: the API server counts both as our failure, but only
//! the first one says so.

use json_patch::Patch;
use k8s_openapi::ByteString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

mod outline;

pub use outline::{Outline, excess};

use crate::admit::{PodError, Verdict};
use crate::decide::Decision;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The longest message of a refusal, in characters.
pub const LONGEST_MESSAGE: usize = 1_000;

/// The longest warning, in characters; the API server cuts longer ones.
pub const LONGEST_WARNING: usize = 256;

/// What a review can be about: something that has a name. Its default stands for no object.
///
/// The object is read straight from the body into the type that implements
/// this. What the type does not name is skipped and takes no memory, so a
/// narrow type is both the faster and the safer one: a body of 7 MiB can make a
/// [`Value`] of some 500 MiB.
pub trait Object: DeserializeOwned + Default + 'static {
    /// The object's name, or what its name will begin with.
    fn name(&self) -> &str;
}

impl Object for Value {
    fn name(&self) -> &str {
        ["/metadata/name", "/metadata/generateName"]
            .iter()
            .filter_map(|path| self.pointer(path)?.as_str())
            .find(|name| !name.is_empty())
            .unwrap_or_default()
    }
}

/// What is asked: may this be done to an object of the type `T`?
#[derive(Clone, Debug)]
pub struct Review<T = Value> {
    /// The question's own id; the answer repeats it.
    pub uid: String,
    /// The object's kind, such as `Pod`.
    pub kind: String,
    /// The kind's group; empty for the core group.
    pub group: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// The subresource that the request goes to; empty for the object itself.
    pub sub_resource: String,
    /// The namespace that the object is in; empty where it is in none.
    pub namespace: String,
    /// The object's name, or what its name will begin with.
    pub name: String,
    /// Who asks.
    pub user: String,
    /// Nothing will be stored, and nothing else may come of the request either.
    pub is_dry_run: bool,
    /// The object as it would become; the default where it is deleted.
    pub object: T,
    /// The object as it is; the default where it is created.
    pub old_object: T,
}

/// What is not a review.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// Not JSON, or not of a review's shape.
    #[error("the body is not an AdmissionReview: {0}")]
    Shape(#[from] serde_json::Error),
    /// A version that we do not speak.
    #[error("the body is {kind:?} of {api_version:?}; expected {KIND} of {API_VERSION}")]
    Version {
        /// What it says it is.
        kind: String,
        /// In which version.
        api_version: String,
    },
    /// A review without a question.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// A question that cannot be answered to.
    #[error("the AdmissionReview's request has an empty uid")]
    EmptyUid,
    /// A question about something else than it says.
    #[error(transparent)]
    Pod(#[from] PodError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: Object")]
struct Envelope<T> {
    api_version: String,
    kind: String,
    request: Option<Request<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: Object")]
struct Request<T> {
    uid: String,
    kind: Kind,
    operation: String,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    user_info: User,
    #[serde(default)]
    dry_run: bool,
    object: Option<T>,
    old_object: Option<T>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    kind: String,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

impl<T: Object> Review<T> {
    /// Reads a review.
    ///
    /// # Errors
    /// [`ReviewError`]; all of them are HTTP 400.
    pub fn parse(body: &[u8]) -> Result<Self, ReviewError> {
        let Envelope {
            api_version,
            kind,
            request,
        } = serde_json::from_slice(body)?;
        if api_version != API_VERSION || kind != KIND {
            return Err(ReviewError::Version { kind, api_version });
        }
        let request = request.ok_or(ReviewError::NoRequest)?;
        if request.uid.is_empty() {
            return Err(ReviewError::EmptyUid);
        }
        Ok(Self::from(request))
    }

    /// Whether it is the creation of a pod and not of one of its subresources.
    pub fn is_pod_creation(&self) -> bool {
        let is_pod = self.kind == "Pod" && self.group.is_empty();
        is_pod && self.sub_resource.is_empty() && self.operation == "CREATE"
    }
}

impl<T: Object> From<Request<T>> for Review<T> {
    fn from(request: Request<T>) -> Self {
        let subject = request.object.as_ref().or(request.old_object.as_ref());
        let name = match subject {
            Some(object) if request.name.is_empty() => object.name().to_owned(),
            _ => request.name,
        };
        Self {
            uid: request.uid,
            kind: request.kind.kind,
            group: request.kind.group,
            operation: request.operation,
            sub_resource: request.sub_resource,
            namespace: request.namespace,
            name,
            user: request.user_info.username,
            is_dry_run: request.dry_run,
            object: request.object.unwrap_or_default(),
            old_object: request.old_object.unwrap_or_default(),
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer in one word, for metrics and log.
    pub decision: &'static str,
    /// Its reason in one word, from a closed set: never anything that a tenant wrote.
    pub reason: &'static str,
    refusal: Option<String>,
    patch: Option<ByteString>,
    warnings: Vec<String>,
}

impl Answer {
    /// It may be done.
    pub const fn allow(decision: &'static str, reason: &'static str) -> Self {
        Self {
            decision,
            reason,
            refusal: None,
            patch: None,
            warnings: Vec::new(),
        }
    }

    /// It may not, and `message` says why.
    pub fn deny(reason: &'static str, message: &str) -> Self {
        Self {
            refusal: Some(cut(message, LONGEST_MESSAGE)),
            ..Self::allow("deny", reason)
        }
    }

    /// And this is changed on the way; an empty patch is none.
    ///
    /// # Errors
    /// None that is known: a patch is JSON.
    pub fn with_patch(mut self, patch: &Patch) -> Result<Self, serde_json::Error> {
        if !patch.0.is_empty() {
            self.patch = Some(ByteString(serde_json::to_vec(patch)?));
        }
        Ok(self)
    }

    /// And the author is told this, in so many lines.
    #[must_use]
    pub fn with_warnings<'a>(mut self, warnings: impl IntoIterator<Item = &'a String>) -> Self {
        let cut = |warning: &String| cut(warning, LONGEST_WARNING);
        self.warnings.extend(warnings.into_iter().map(cut));
        self
    }

    /// Why it may not be done.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The review that carries the answer to the question `uid`.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_json(&self, uid: &str) -> Result<Vec<u8>, serde_json::Error> {
        let status = self.refusal.as_deref().map(|message| Status {
            outcome: "Failure",
            code: 422,
            reason: "Invalid",
            message,
        });
        serde_json::to_vec(&Answered {
            api_version: API_VERSION,
            kind: KIND,
            response: Response {
                uid,
                allowed: status.is_none(),
                status,
                patch_type: self.patch.as_ref().map(|_| "JSONPatch"),
                patch: self.patch.as_ref(),
                warnings: &self.warnings,
            },
        })
    }
}

impl TryFrom<&Verdict> for Answer {
    type Error = serde_json::Error;

    fn try_from(verdict: &Verdict) -> Result<Self, serde_json::Error> {
        let answer = match &verdict.decision {
            Decision::Deny(_, faults) => Self::deny(verdict.decision.reason(), &faults.join("; ")),
            other => Self::allow(other.as_str(), other.reason()),
        };
        answer
            .with_warnings(&verdict.warnings)
            .with_patch(&verdict.patch)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a ByteString>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Status<'a> {
    #[serde(rename = "status")]
    outcome: &'static str,
    code: u16,
    reason: &'static str,
    message: &'a str,
}

/// `text` in at most `most` characters; what is left out shows.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most || text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests;
