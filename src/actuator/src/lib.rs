//! One in-place resize: planned, applied, awaited.
//!
//! ```text
//!   Pod + ResizeRequest ──plan──▶ ResizePlan ──apply──▶ Applied ──settle──▶ Settled
//!        (pure, refuses)            (data)     (one PATCH)        (polls status)
//! ```
//!
//! [`plan()`] decides without touching anything: it resolves the container,
//! checks what the API server would refuse, and writes down the one server-side
//! apply that does it. [`apply()`] sends that. [`settle()`] waits until the
//! *status* says that the kubelet has done it; the spec only says what was asked.
//!
//! The controller and the `mbcas resize` command use the same three steps.

mod answer;
mod apply;
pub mod bounds;
#[cfg(test)]
mod fixtures;
mod gate;
mod ownership;
mod plan;
mod refusal;
mod request;
pub mod restore;
pub mod rivals;
mod settle;
mod support;

pub use answer::{ApplyError, Ban, Rule};
pub use apply::{Applied, apply, resize, resize_through};
pub use gate::{Gate, Open};
pub use ownership::{Field, Ownership};
pub use plan::{Change, ResizePlan, plan};
pub use refusal::Refusal;
pub use request::{ResizePolicy, ResizeRequest, Resource, Side};
pub use settle::{Progress, Settled, progress, settle, settle_watched};
pub use support::{Support, Version, support, support_of_version, version};
