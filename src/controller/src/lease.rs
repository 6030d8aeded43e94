//! Who may write: leader election on a Lease, by client-go's rule and stricter.
//!
//! ```text
//!            what was read, when                 term: epoch, until
//!  API server ──────────▶ [`rule`] (pure) ──────────▶ [`Leader`] ──▶ loop: may I begin?
//!      ▲                     │ what to send                └──────▶ [`fence`]: each request
//!      └──── [`Candidate`] ◀─┘
//! ```
//!
//! A candidate never compares its clock with anybody's. It watches the record
//! *change* on its own [clock](mbcas_runtime::clock), and takes over what has not changed for the
//! whole duration. A leader's term ends before its Lease does: it is counted from
//! the moment *before* the last accepted renewal was sent. `leaseTransitions` is
//! the fencing epoch; what a cycle decided in one term is not written in another.
//!
//! What this rests on, beside an API server that compares resourceVersions:
//!
//! - clocks that differ by 1 % at most in how fast they run, not in what they show;
//! - a write that takes effect at most [`times::SETTLED`] after it was permitted,
//!   or never. The fence sees to it as far as a client can: it asks the term with the
//!   request in hand, stops waiting after [`times::WRITE`], and tells the API server
//!   to. It cannot help where the process is stopped between asking and sending, or
//!   a request lies in a socket's buffer meanwhile. The second fence is the
//!   resourceVersion in each apply: what another leader has written since stands.

pub mod candidate;
pub mod exchange;
pub mod fence;
pub mod leader;
pub mod record;
pub mod rule;
pub mod times;

pub use candidate::Candidate;
pub use leader::Leader;

#[cfg(test)]
mod tests;
