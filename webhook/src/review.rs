//! AdmissionReview, read strictly and answered by hand.
//!
//! What is not a review is answered with an HTTP error, never with a review
//! that has an empty uid: the API server counts both as our failure, but only
//! the first one says so.

use json_patch::Patch;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::admit::Verdict;
use crate::decide::Decision;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The longest message of a refusal, in characters.
pub const LONGEST_MESSAGE: usize = 1_000;

/// The longest warning, in characters; the API server cuts longer ones.
pub const LONGEST_WARNING: usize = 256;

/// What is asked.
#[derive(Debug)]
pub struct Review {
    /// The question's own id; the answer repeats it.
    pub uid: String,
    /// The namespace that the object goes to.
    pub namespace: String,
    /// The object's name, or what its name will begin with.
    pub name: String,
    /// The object's kind.
    pub kind: String,
    /// Who asks.
    pub user: String,
    /// Nothing will be stored.
    pub is_dry_run: bool,
    /// Whether it is the creation of a pod and not of one of its subresources.
    pub is_pod_creation: bool,
    /// The object; null where it is deleted.
    pub object: Value,
    /// What it was before; null where it is created.
    pub old_object: Value,
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
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    operation: String,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    user_info: User,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    kind: String,
}

impl Review {
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
        let is_pod = request.kind.kind == "Pod" && request.kind.group.is_empty();
        let text = |path| {
            request
                .object
                .pointer(path)
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
        };
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
        Ok(Self {
            name: name.unwrap_or_default().to_owned(),
            uid: request.uid,
            namespace: request.namespace,
            user: request.user_info.username,
            is_dry_run: request.dry_run,
            is_pod_creation: is_pod
                && request.sub_resource.is_empty()
                && request.operation == "CREATE",
            kind: request.kind.kind,
            object: request.object,
            old_object: request.old_object,
        })
    }
}

/// The answer, ready to be sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Answer {
    /// The answer to the question `uid`.
    ///
    /// # Errors
    /// None that is known: a patch is JSON.
    pub fn new(uid: String, verdict: &Verdict) -> Result<Self, serde_json::Error> {
        let status = match &verdict.decision {
            Decision::Deny(_, faults) => {
                let message = cut(&faults.join("; "), LONGEST_MESSAGE);
                Some(
                    json!({ "status": "Failure", "code": 422, "reason": "Invalid", "message": message }),
                )
            }
            _ => None,
        };
        let Patch(operations) = &verdict.patch;
        let patch = (!operations.is_empty())
            .then(|| serde_json::to_vec(operations))
            .transpose()?;
        Ok(Self {
            uid,
            allowed: status.is_none(),
            status,
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch: patch.map(ByteString),
            warnings: verdict
                .warnings
                .iter()
                .map(|warning| cut(warning, LONGEST_WARNING))
                .collect(),
        })
    }

    /// The review that carries it.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&json!({ "apiVersion": API_VERSION, "kind": KIND, "response": self }))
    }
}

/// `text` in at most `most` characters; what is left out shows.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(change: impl FnOnce(&mut Value)) -> Result<Review, ReviewError> {
        let mut review = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {
                "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
                "namespace": "shop", "object": {"metadata": {"generateName": "web-"}},
            },
        });
        change(&mut review);
        Review::parse(review.to_string().as_bytes())
    }

    #[test]
    fn a_review_is_read() {
        let read = review(|_| ()).unwrap();
        assert_eq!(
            (
                read.uid.as_str(),
                read.namespace.as_str(),
                read.name.as_str()
            ),
            ("u-1", "shop", "web-")
        );
        assert!(read.is_pod_creation);
    }

    #[test]
    fn only_the_creation_of_a_pod_is_ours() {
        for (path, value) in [
            ("/request/operation", "UPDATE"),
            ("/request/operation", "create"),
            ("/request/kind/kind", "Deployment"),
            ("/request/kind/group", "metrics.k8s.io"),
        ] {
            let read = review(|r| *r.pointer_mut(path).unwrap() = json!(value)).unwrap();
            assert!(!read.is_pod_creation, "{path}={value}");
        }
        assert!(
            !review(|r| r["request"]["subResource"] = json!("binding"))
                .unwrap()
                .is_pod_creation
        );
    }

    #[test]
    fn what_is_no_review_is_an_error_and_never_an_empty_uid() {
        assert!(matches!(Review::parse(b""), Err(ReviewError::Shape(_))));
        assert!(matches!(
            Review::parse(b"{\"uid\": "),
            Err(ReviewError::Shape(_))
        ));
        assert!(matches!(
            review(|r| r["apiVersion"] = json!("admission.k8s.io/v1beta1")),
            Err(ReviewError::Version { .. })
        ));
        assert!(matches!(
            review(|r| r["kind"] = json!("Pod")),
            Err(ReviewError::Version { .. })
        ));
        assert!(matches!(
            review(|r| r["request"] = json!(null)),
            Err(ReviewError::NoRequest)
        ));
        assert!(matches!(
            review(|r| r["request"]["uid"] = json!("")),
            Err(ReviewError::EmptyUid)
        ));
        assert!(matches!(
            review(|r| r["request"]["uid"] = json!(7)),
            Err(ReviewError::Shape(_))
        ));
        assert!(matches!(
            review(|r| r["request"]["kind"] = json!("Pod")),
            Err(ReviewError::Shape(_))
        ));
    }

    #[test]
    fn a_refusal_is_cut_and_a_long_warning_too() {
        let verdict = Verdict {
            decision: Decision::Deny(
                crate::decide::DenyReason::Malformed,
                vec!["é".repeat(700), "b".repeat(700)],
            ),
            patch: Patch(Vec::new()),
            warnings: vec!["w".repeat(300)],
            holding: None,
        };
        let answer = Answer::new("u".to_owned(), &verdict)
            .unwrap()
            .to_json()
            .unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert_eq!(message.chars().count(), LONGEST_MESSAGE);
        assert!(message.ends_with("b..."));
        assert_eq!(
            answer["response"]["warnings"][0].as_str().unwrap().len(),
            LONGEST_WARNING
        );
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["status"]["code"], 422);
        assert!(
            answer["response"].get("patch").is_none()
                && answer["response"].get("patchType").is_none()
        );
    }
}
