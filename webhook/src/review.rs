//! AdmissionReview, read strictly and answered by hand.
//!
//! What is not a review is answered with an HTTP error, never with a review
//! that has an empty uid: the API server counts both as our failure, but only
//! the first one says so.

use std::borrow::Cow;
use std::str::Utf8Error;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

mod outline;

pub(crate) use outline::Entries;
pub use outline::{Outline, excess};

use crate::admit::{PodError, Verdict};
use crate::decide::Decision;
use crate::patch::{Patch, as_json};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Most of an answer is a patch in base64, which takes far fewer instructions by vectors of 32 bytes.
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

/// What of an answer is the same for all of them, and some more, in bytes.
const FRAME: usize = 256;

/// The longest uid that is repeated, in bytes. An API server's has 36.
const LONGEST_UID: usize = 128;

/// The longest message of a refusal, in characters.
pub const LONGEST_MESSAGE: usize = 1_000;

/// The longest warning, in characters; the API server cuts longer ones.
pub const LONGEST_WARNING: usize = 256;

/// What a review can be about: something that has a name. Its default stands for no object.
///
/// The object is read straight from the body into the type that implements
/// this. What the type does not name is skipped and takes no memory, so a
/// narrow type is both the faster and the safer one: a body of 7 MiB can make a
/// [`serde_json::Value`] of some 500 MiB.
pub trait Object: DeserializeOwned + Default + 'static {
    /// The object's name, or what its name will begin with.
    fn name(&self) -> &str;
}

/// What an object is called that has these names, `name` before `generateName`.
pub(crate) fn called(names: [Option<&str>; 2]) -> &str {
    let mut names = names.into_iter().flatten();
    names.find(|name| !name.is_empty()).unwrap_or_default()
}

/// What is asked: may this be done to an object of the type `T`?
#[derive(Clone, Debug)]
pub struct Review<T> {
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
    /// Not even text.
    #[error("the body is not UTF-8: {0}")]
    Text(#[from] Utf8Error),
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
    /// A question whose answer would be as long as it likes.
    #[error("the AdmissionReview's request has a uid of more than {LONGEST_UID} bytes")]
    LongUid,
    /// A question about something else than it says.
    #[error(transparent)]
    Pod(#[from] PodError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: Object")]
struct Envelope<'a, T> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
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
        } = serde_json::from_str(str::from_utf8(body)?)?;
        if api_version != API_VERSION || kind != KIND {
            return Err(ReviewError::Version {
                kind: kind.into_owned(),
                api_version: api_version.into_owned(),
            });
        }
        let request = request.ok_or(ReviewError::NoRequest)?;
        if request.uid.is_empty() {
            return Err(ReviewError::EmptyUid);
        }
        if request.uid.len() > LONGEST_UID {
            return Err(ReviewError::LongUid);
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
    patch: Patch,
    warnings: Vec<String>,
}

impl Answer {
    /// It may be done.
    pub fn allow(decision: &'static str, reason: &'static str) -> Self {
        Self {
            decision,
            reason,
            refusal: None,
            patch: Patch::default(),
            warnings: Vec::new(),
        }
    }

    /// It may not, and `message` says why.
    pub fn deny(reason: &'static str, message: String) -> Self {
        Self {
            refusal: Some(cut(message, LONGEST_MESSAGE)),
            ..Self::allow("deny", reason)
        }
    }

    /// And this is changed on the way.
    #[must_use]
    pub fn with_patch(self, patch: Patch) -> Self {
        Self { patch, ..self }
    }

    /// And the author is told this, in so many lines.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        let cut = |warning| cut(warning, LONGEST_WARNING);
        self.warnings.extend(warnings.into_iter().map(cut));
        self
    }

    /// Why it may not be done.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The review that carries the answer to the question `uid`.
    pub fn to_json(&self, uid: &str) -> String {
        let allowed = self.refusal.is_none();
        let encoded = base64::encoded_len(self.patch.as_str().len(), true);
        // It waits for its caller to read it, so it takes no more room than it needs.
        let mut json = String::with_capacity(encoded.unwrap_or_default() + FRAME);
        for piece in [
            r#"{"apiVersion":""#,
            API_VERSION,
            r#"","kind":""#,
            KIND,
            r#"","response":{"uid":"#,
            &as_json(uid),
            r#","allowed":"#,
            if allowed { "true" } else { "false" },
        ] {
            json.push_str(piece);
        }
        if let Some(refusal) = &self.refusal {
            json.push_str(
                r#","status":{"status":"Failure","code":422,"reason":"Invalid","message":"#,
            );
            json.push_str(&as_json(refusal));
            json.push('}');
        }
        if !self.patch.is_empty() {
            json.push_str(r#","patchType":"JSONPatch","patch":""#);
            BASE64.encode_string(self.patch.as_str(), &mut json);
            json.push('"');
        }
        if !self.warnings.is_empty() {
            json.push_str(r#","warnings":"#);
            json.push_str(&as_json(&self.warnings));
        }
        json.push_str("}}");
        json
    }
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        let answer = match &verdict.decision {
            Decision::Deny(_, faults) => Self::deny(verdict.decision.reason(), faults.join("; ")),
            other => Self::allow(other.as_str(), other.reason()),
        };
        answer
            .with_warnings(verdict.warnings)
            .with_patch(verdict.patch)
    }
}

/// `text` in at most `most` characters; what is left out shows.
fn cut(text: String, most: usize) -> String {
    if text.len() <= most || text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests;
