//! MBCAS on a real Kubernetes.
//!
//! `make test` runs it on the local cluster. By hand, with that cluster up, the images built,
//! and cert-manager too (`deploy/local/cluster build cert-manager`): `deploy/suite.sh cluster [WORD…]`.
//!
//! | variable | what it is | without it |
//! | --- | --- | --- |
//! | `MBCAS_TEST_KUBECONFIG` | the cluster; the ambient one is never used | the suite stops |
//! | `MBCAS_TEST_IMAGES` | the folder that `deploy/images.sh` filled | `target/images` |
//! | `MBCAS_TEST_HELM` | helm | the one that `deploy/local/cluster path helm` names |
//! | `MBCAS_TEST_CERT_MANAGER` | cert-manager, its kinds in `crds` beside it | the one that `deploy/local/cluster path cert-manager` names |
//! | `MBCAS_TEST_PROMETHEUS` | prometheus | the one on the PATH |
//! | `MBCAS_TEST_PROMTOOL` | promtool | the one on the PATH |
//! | `MBCAS_ROTATIONS` | how often the authority changes in the test of that | once |
//! | `MBCAS_LEAVES` | how many leaves follow others in the test of that | 4 |
//! | `MBCAS_TEST_UPGRADE_FROM` | an earlier chart's folder, and words for helm that name its images, to upgrade from | this chart |
//! | `MBCAS_TEST_HELM_ARGS` | more words for `helm upgrade`, for measuring variants | none |
//!
//! One test at a time: they share the node, and what one takes another misses.
//! The suite runs on the machine that is the node, as root: it reads quotas from the
//! kernel, kills processes, and sends load to addresses of pods. Each test has a
//! namespace of its own that is deleted afterwards, and asks for the release,
//! which is installed once; `uninstall` sorts last and leaves a cluster without MBCAS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy excuses test functions only, and these have helpers
#![allow(clippy::print_stdout)] // what a failed test says

/// Tells a measured figure, also where the test passes. Takes what `println!` takes.
macro_rules! figure {
    ($($text:tt)*) => { $crate::support::say(format_args!($($text)*)) };
}

mod agent;
mod autoscalers;
mod budget;
mod bystanders;
mod cert_manager;
mod certificates;
mod chart;
mod cli;
mod contention;
mod dashboard;
mod dead_man;
mod delay;
mod demand;
mod failover;
mod faults;
mod guards;
mod hand;
mod injection;
mod kubelet_tls;
mod leaving;
mod manners;
mod protection;
mod quantities;
mod record;
mod refusal;
mod resize;
mod rotations;
mod rules;
#[cfg(feature = "show")]
mod show;
mod support;
mod trust;
mod uninstall;
