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
//! | [`namespace`] | what the pod's namespace has decided, and what of it is given away |
//! | [`allotment`] | the pod's wishes, made to fit that |
//! | [`room`] | whether a sidecar fits the namespace's LimitRanges and quotas |
//! | [`decide`] | what is to be done with a pod, from closed sets of reasons |
//! | [`sidecar`] | the demand agent's container |
//! | [`mesh`] | a mesh's list of ports that its proxy leaves alone |
//! | [`processes`] | whether the containers are to see each other's processes |
//! | [`patch`] | the JSON patch that does it, on declared paths only |
//! | [`mod@admit`] | all of the above put together: a pod in, a verdict out |
//! | [`workloads`] | the same verdict about a workload's pod template, as warnings |
//! | [`mod@audit`], [`events`] | who changed which budget |
//! | [`cache`], [`watch`] | the namespaces of a cluster, kept fresh |
//! | [`routes`] | what is answered on which path |
//! | [`serve`], [`metrics`], [`args`], [`run`] | the process around it |
//!
//! Everything down to [`mod@admit`] is pure, so that `mbcas inject` gives offline
//! the answer that the cluster would give. There is no call to the API server
//! in the path of a review. A pod is somebody else's data: it is read through
//! types, but patched as the JSON it came as, so that fields which our types do
//! not know survive.

pub mod admit;
pub mod allotment;
pub mod args;
pub mod audit;
pub mod cache;
pub mod decide;
pub mod events;
pub mod mesh;
pub mod metrics;
pub mod namespace;
pub mod patch;
pub mod policy;
pub mod processes;
pub mod review;
pub mod room;
pub mod routes;
pub mod run;
pub mod serve;
pub mod sidecar;
pub mod submitted;
pub mod watch;
pub mod workloads;

pub use admit::{Holding, PodError, Verdict, admit};
pub use decide::{Decision, DenyReason, SkipReason};
pub use namespace::Namespace;
pub use policy::{AgentSpec, Policy, PolicyError, PullPolicy};
