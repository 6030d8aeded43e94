//! Containers that see each other's processes, where the user wants it so.
//!
//! With `mbcas.processes: shared` the agent sees how long the application's
//! threads wait for CPU. It is asked for and never a default: every container
//! of the pod then sees the others' processes, and none of them has PID 1.

use k8s_openapi::api::core::v1::PodSpec;
use thiserror::Error;

/// Why the processes of a pod that takes part are not shared, though its author asks for it. As a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Obstacle {
    /// There is no agent that would look at them.
    #[error(
        "mbcas: mbcas.processes has no effect, as the pod gets no demand agent; remove it (processes_without_agent)"
    )]
    NoAgent,
    /// It has those of the node, and Kubernetes refuses both together.
    #[error(
        "mbcas: mbcas.processes has no effect, as the pod has hostPID; remove one of the two (processes_of_host)"
    )]
    OfHost,
    /// Its spec says the opposite.
    #[error(
        "mbcas: mbcas.processes is shared, and shareProcessNamespace is false and stays so; \
         remove one of the two (processes_not_shared)"
    )]
    NotShared,
}

/// Whether a pod that takes part, and asks for it, is still to be made to share its processes.
///
/// # Errors
/// The [`Obstacle`] for which it is left alone.
pub fn to_share(spec: &PodSpec, has_sidecar: bool) -> Result<bool, Obstacle> {
    if !has_sidecar {
        return Err(Obstacle::NoAgent);
    }
    if spec.host_pid == Some(true) {
        return Err(Obstacle::OfHost);
    }
    match spec.share_process_namespace {
        Some(false) => Err(Obstacle::NotShared),
        shared => Ok(shared.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_said_is_set() {
        let spec = |host_pid, share_process_namespace| PodSpec {
            host_pid,
            share_process_namespace,
            ..PodSpec::default()
        };
        for (spec, has_sidecar, expected) in [
            (spec(None, None), true, Ok(true)),
            (spec(Some(false), None), true, Ok(true)),
            (spec(None, Some(true)), true, Ok(false)),
            (spec(None, Some(false)), true, Err(Obstacle::NotShared)),
            (spec(Some(true), None), true, Err(Obstacle::OfHost)),
            (spec(None, None), false, Err(Obstacle::NoAgent)),
        ] {
            assert_eq!(to_share(&spec, has_sidecar), expected);
        }
    }

    #[test]
    fn a_warning_is_plain_and_short() {
        for obstacle in [Obstacle::NoAgent, Obstacle::OfHost, Obstacle::NotShared] {
            let warning = obstacle.to_string();
            assert!(warning.is_ascii() && warning.len() <= 256, "{warning}");
        }
    }
}
