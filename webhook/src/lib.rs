//! Admission: one call per pod creation that validates, injects and explains.
//!
//! ```text
//!  AdmissionReview ─▶ review ─▶ decide ─▶ patch ─▶ answer
//!                     (strict)  Inject │ Skip(reason) │ Deny(reasons)
//! ```
//!
//! | module | what it does |
//! | --- | --- |
//! | [`review`] | reads a review strictly and writes its answer |
//! | [`submitted`] | the pod as its owner wrote it, also when we see it for the second time |
//! | [`decide`] | what is to be done with a pod, from closed sets of reasons |
//! | [`sidecar`] | the demand agent's container |
//! | [`patch`] | the JSON patch that does it, on declared paths only |
//! | [`mod@admit`] | the five above put together: a pod in, a verdict out |
//! | [`routes`] | what is answered on which path |
//! | [`serve`], [`metrics`], [`args`], [`run`] | the process around it |
//!
//! Everything down to [`mod@admit`] is pure, so that `mbcas inject` gives offline
//! the answer that the cluster would give. There is no call to the API server
//! in the path of a review. A pod is somebody else's data: it is read through
//! types, but patched as the JSON it came as, so that fields which our types do
//! not know survive.

pub mod admit;
pub mod args;
pub mod decide;
pub mod metrics;
pub mod patch;
pub mod policy;
pub mod review;
pub mod routes;
pub mod run;
pub mod serve;
pub mod sidecar;
pub mod submitted;

pub use admit::{PodError, Verdict, admit};
pub use decide::{Decision, SkipReason};
pub use policy::{AgentSpec, Policy, PolicyError, PullPolicy};
