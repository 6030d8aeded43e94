//! The chart as real helms render it: no cluster is asked.
//!
//! `make test` builds both helms and runs it. By hand:
//! ```text
//! deploy/local/cluster build helm helm3 && cargo test -p mbcas-tests --features chart --test chart
//! ```
//! | variable | what it is | without it |
//! | --- | --- | --- |
//! | `MBCAS_TEST_HELM3`, `MBCAS_TEST_HELM` | helm 3 and helm 4 | those that `deploy/local/cluster path` names |
//! | `MBCAS_TEST_PYTHON` | a python with the package kubernetes-validate | the one that `deploy/prerequisites.sh` makes |
//! | `MBCAS_TEST_PROMTOOL` | promtool | the one on the PATH |
//! | `MBCAS_UPDATE` | write generated documents anew instead of comparing them | |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy excuses test functions only, and these have helpers
#![allow(clippy::print_stdout)] // what a test measured

mod alerts;
mod conditions;
mod features;
mod matcher;
mod objects;
mod pods;
mod refusals;
mod renders;
mod roles;
mod schemas;
mod selectors;
mod sets;
mod support;
mod trial;
mod values;
