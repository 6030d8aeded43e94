//! What the tests share.

pub(crate) mod cert_manager;
pub(crate) mod cgroup;
pub(crate) mod diagnose;
pub(crate) mod environment;
pub(crate) mod http;
pub(crate) mod lab;
pub(crate) mod network;
pub(crate) mod one;
pub(crate) mod prometheus;
pub(crate) mod release;
pub(crate) mod space;
pub(crate) mod stream;
pub(crate) mod wait;
pub(crate) mod wrong_clock;

pub(crate) use lab::Lab;
pub(crate) use release::Release;
pub(crate) use space::{Admission, Space, on_any_cluster, on_cluster};
pub(crate) use stream::Stream;
pub(crate) use wait::wait_until;

use std::io::Write;
use std::time::Duration;

/// Time for what usually takes a few seconds.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Says something past the test harness, which keeps what passing tests print to itself.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let text = text.to_string().replace('\n', "\n    ");
    let _ = writeln!(std::io::stdout(), "\n    {text}");
}
