//! The demand agent: sample, smooth, serve.
//!
//! ```text
//! sockets ────────4 Hz─────▶ ┐
//! threads, cgroup, node ≤1 Hz▶ kernel ─┐ pressures            ┌──▶ /metrics
//!                                      ├──▶ greatest ──▶ Ewma ─┤
//! the app's own metrics ─1 Hz▶ app ────┘                      └──▶ /demand
//! ```
//!
//! The agent is a sidecar, and a sidecar that exits makes its pod unready. So it
//! never ends by itself: a signal that cannot be read is absent and counted; a
//! bad setting is logged, shown on `/metrics`, and answered on `/demand` with
//! 503 and the reason. The market then takes the pod for one without an agent.
//!
//! What is read every time is read without allocation (`tests/allocations.rs`), and what costs
//! more than a few microseconds is read the more seldom the more it costs ([`pace`]).
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`config`] | flags and environment, and what is wrong with them |
//! | [`signal`] | the sources of urgency, and the pressure of each |
//! | [`kernel`] | all signals of the kernel's in one step |
//! | [`sockets`] | requests that wait in the pod's sockets |
//! | [`processes`] | which processes are the application's |
//! | [`threads`] | how long their threads ran, and waited for a core |
//! | [`cgroup`] | what the container's limit does to it |
//! | [`pressure`] | the kernel's pressure files |
//! | [`node`] | how short the whole node is of CPU, for people |
//! | [`held`] | files of the kernel's, read again and again |
//! | [`pace`] | how often something that costs CPU may be done |
//! | [`mean`] | what of a jumping signal is the load's own |
//! | [`exposition`] | the sum or the buckets of one metric in Prometheus text form |
//! | [`json`] | one number in a JSON document |
//! | [`latency`] | the 99th percentile of a histogram's newest requests |
//! | [`app`] | asking the application for its queue and its latency |
//! | [`application`] | what counts of its answers, and when to ask again |
//! | [`board`] | the newest reading, for everyone who asks |
//! | [`server`] | the two paths of the agent's port |
//! | [`run`] | the loops |

pub mod app;
pub mod application;
mod args;
pub mod board;
pub mod cgroup;
pub mod config;
pub mod exposition;
pub mod held;
pub mod json;
pub mod kernel;
pub mod latency;
pub mod mean;
pub mod node;
pub mod pace;
pub mod pressure;
pub mod processes;
pub mod run;
pub mod server;
pub mod signal;
pub mod sockets;
pub mod threads;
