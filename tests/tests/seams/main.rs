//! What joins the crates, without a cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy excuses test functions only, and these have helpers

mod admission_to_market;
mod documents;
mod purity;
