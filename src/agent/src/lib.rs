//! The demand agent: sample, smooth, serve.
//!
//! ```text
//! the kernel  ──10 Hz──▶ sockets ────┐ pressures            ┌──▶ /metrics
//!                                    ├──▶ greatest ──▶ Ewma ─┤
//! the app's metrics ──1 Hz──▶ app ───┘                      └──▶ /demand
//! ```
//!
//! The agent is a sidecar, and a sidecar that exits makes its pod unready. So it
//! never ends by itself: a signal that cannot be read is absent and counted; a
//! bad setting is logged, shown on `/metrics`, and answered on `/demand` with
//! 503 and the reason. The market then takes the pod for one without an agent.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`config`] | flags and environment, and what is wrong with them |
//! | [`sockets`] | how many connections wait in the accept queues of the pod |
//! | [`exposition`] | the sum of one metric in Prometheus text form |
//! | [`app`] | asking the application for that metric |
//! | [`board`] | the newest reading, for everyone who asks |
//! | [`server`] | the two paths of the agent's port |
//! | [`run`] | the loops |

pub mod app;
pub mod board;
pub mod config;
pub mod exposition;
pub mod run;
pub mod server;
pub mod sockets;
