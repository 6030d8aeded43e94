//! The process: its parts, put together.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use kube::{Client, Config};
use mbcas_certs::schedule::LEAST_REMAINING;
use mbcas_certs::{Keeper, KeeperError, LiveCertificate, Report, Validity};
use mbcas_runtime::admin::{self, AdminError};
use mbcas_runtime::ready::{Handle, Readiness};
use mbcas_runtime::shutdown::{self, ShutdownError};
use mbcas_runtime::supervise::{SuperviseError, Supervisor};
use prometheus::Registry;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::args::Args;
use crate::metrics::Metrics;
use crate::policy::PolicyError;
use crate::routes;
use crate::serve::{self, DRAIN, LINGER, ServeError};

/// Why the webhook did not start, or did not end well.
#[derive(Debug, Error)]
pub enum RunError {
    /// A flag.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Signals.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// The admin port.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The admission port.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The metrics.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// There is no cluster around us.
    #[error(
        "cannot find the cluster's API server: {0}; the webhook runs in a pod with a service account's token"
    )]
    NotInCluster(#[from] kube::config::InClusterError),
    /// The client cannot be made.
    #[error("cannot make a client for the API server: {0}")]
    Client(#[from] kube::Error),
    /// A task.
    #[error(transparent)]
    Task(#[from] SuperviseError),
}

/// Runs the webhook until it is told to end.
///
/// # Errors
/// [`RunError`].
pub async fn run(args: Args) -> Result<(), RunError> {
    let policy = args.policy()?;
    let token = shutdown::on_signals()?;
    let (registry, readiness) = (Registry::new(), Readiness::new());
    let (metrics, certificate) = (
        Metrics::register(&registry)?,
        readiness.handle("certificate"),
    );
    let admission = serve::bind(args.addr)?;
    let admin_listener = admin::bind(args.admin.admin_addr).await?;
    let client = Client::try_from(Config::incluster()?)?;
    let live = Arc::new(LiveCertificate::default());
    let keeper = Keeper::new(client, &args.namespace, Arc::clone(&live));
    let router = routes::router(policy, metrics.clone());
    info!(address = %args.addr, namespace = args.namespace, agent = args.agent_image, "webhook starts");

    let mut tasks = Supervisor::new(token.clone());
    tasks.spawn(
        "admin",
        admin::serve(
            admin_listener,
            admin::router(registry, readiness),
            token.clone(),
        ),
    );
    tasks.spawn(
        "admission",
        serve::serve(admission, router, live, metrics.clone(), token.clone()),
    );
    tasks.spawn("certificate", keep(keeper, metrics, certificate, token));
    Ok(tasks.run(LINGER + DRAIN * 2).await?)
}

/// Keeps the certificate until told to end, and tells readiness and metrics about it.
async fn keep(
    keeper: Keeper,
    metrics: Metrics,
    ready: Handle,
    token: CancellationToken,
) -> Result<(), Infallible> {
    let mut served = None;
    let observe = move |outcome: &Result<Report, KeeperError>| {
        if let Ok(report) = outcome {
            metrics.certificate("authority", report.authority);
            served = report
                .leaf
                .inspect(|leaf| metrics.certificate("leaf", *leaf));
        }
        if let Some(verdict) = readiness(outcome.as_ref().ok(), served, SystemTime::now()) {
            ready.set(verdict);
        }
    };
    tokio::select! {
        () = token.cancelled() => Ok(()),
        never = keeper.run(observe) => match never {},
    }
}

/// What a look says about readiness. A failed one says nothing about the
/// certificate that is served, until that one comes to its end.
fn readiness(report: Option<&Report>, served: Option<Validity>, now: SystemTime) -> Option<bool> {
    match report {
        Some(report) => Some(report.ready),
        None if served.is_some_and(|leaf| leaf.remaining(now) >= LEAST_REMAINING) => None,
        None => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failed_look_keeps_readiness_as_long_as_the_certificate_lasts() {
        let now = SystemTime::now();
        let leaf = Validity::starting(now, Duration::from_hours(3));
        let report = |ready| Report {
            ready,
            leaf: Some(leaf),
            authority: leaf,
        };
        assert_eq!(readiness(Some(&report(true)), Some(leaf), now), Some(true));
        assert_eq!(
            readiness(Some(&report(false)), Some(leaf), now),
            Some(false)
        );
        assert_eq!(readiness(None, Some(leaf), now), None);
        assert_eq!(
            readiness(None, Some(leaf), now + Duration::from_mins(119)),
            None
        );
        assert_eq!(
            readiness(None, Some(leaf), now + Duration::from_mins(121)),
            Some(false)
        );
        assert_eq!(readiness(None, None, now), Some(false));
    }
}
