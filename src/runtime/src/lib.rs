//! The process kit: what every MBCAS process does the same way.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`log`] | one log line format, set by flag or environment |
//! | [`ready`] | readiness that is earned part by part and lost for good when the process drains |
//! | [`clock`] | time as this machine counts it, asleep or awake |
//! | [`listen`] | taking a port, of both families |
//! | [`http`] | plain HTTP/1.1 that slow or greedy clients cannot hold up |
//! | [`admin`] | the admin port: `/livez`, `/readyz`, `/metrics` |
//! | [`shutdown`] | SIGTERM and SIGINT become one token |
//! | [`priority`] | threads that take only time which nobody else wants |
//! | [`supervise`] | every task is owned; one that ends unasked ends the process |
//!
//! A process is put together in `main` in this order: log, signals, readiness,
//! admin port, its own tasks, [`supervise::Supervisor::run`].

pub mod admin;
pub mod clock;
pub mod http;
pub mod listen;
pub mod log;
pub mod priority;
pub mod ready;
pub mod shutdown;
pub mod supervise;
