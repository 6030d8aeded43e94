//! The process: its parts, put together.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use mbcas_certs::{Files, Keeper, LiveCertificate, Report};
use mbcas_runtime::admin::{self, AdminError};
use mbcas_runtime::ready::{Handle, Readiness};
use mbcas_runtime::shutdown::{self, ShutdownError};
use mbcas_runtime::supervise::{SuperviseError, Supervisor};
use prometheus::Registry;
use thiserror::Error;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::args::{Args, Certificates};
use crate::cache::Cache;
use crate::events::{self, Notes};
use crate::metrics::Metrics;
use crate::policy::PolicyError;
use crate::routes::{self, Judge};
use crate::serve::{self, DRAIN, LINGER, ServeError};
use crate::watch;

/// How long events may still be written after the last review.
const LAST_EVENTS: Duration = Duration::from_secs(2);

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
    let readiness_of_caches = readiness.handle("caches");
    let admission = serve::bind(args.addr)?;
    let admin_listener = admin::bind(args.admin.admin_addr)?;
    let client = Client::try_from(Config::incluster()?)?;
    let live = Arc::new(LiveCertificate::default());
    let (notes, received) = Notes::new();
    let cache = Arc::new(Cache::default());
    let judge = Arc::new(Judge {
        policy,
        cache: Arc::clone(&cache),
        notes,
    });
    let router = routes::router(&judge, metrics.clone());
    drop(judge);
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
    let watching = watch::watch(client.clone(), cache, readiness_of_caches);
    tasks.spawn("watch", until(token.clone(), watching));
    // Ends with the last review, of which people may have to be told too.
    let writing = events::write(client.clone(), received);
    tasks.spawn(
        "events",
        at_most(token.clone(), LINGER + DRAIN + LAST_EVENTS, writing),
    );
    let keep = observer(metrics.clone(), certificate);
    let (keeping, namespace, served) = ("certificate", &args.namespace, Arc::clone(&live));
    match args.certificates {
        Certificates::Auto => {
            let keeper = Keeper::new(client, namespace, served).with_leaves_of(args.leaf_lifetime);
            tasks.spawn(keeping, until(token.clone(), keeper.run(keep)));
        }
        Certificates::Files => {
            let files = Files::new(args.certificate_dir, namespace, served);
            tasks.spawn(keeping, until(token.clone(), files.run(keep)));
        }
    }
    tasks.spawn(
        "admission",
        serve::serve(admission, router, live, metrics, token),
    );
    Ok(tasks.run(LINGER + DRAIN * 2).await?)
}

/// Tells readiness and metrics what a look at the certificate found.
fn observer(metrics: Metrics, ready: Handle) -> impl FnMut(&Report) + Send + 'static {
    move |report| {
        for (kind, validity) in [("authority", report.authority), ("leaf", report.leaf)] {
            if let Some(validity) = validity {
                metrics.certificate(kind, validity);
            }
        }
        for event in &report.events {
            metrics.certificate_event(event.as_str());
        }
        ready.set(report.ready);
    }
}

/// Does `work`, which never ends by itself, until told to end.
async fn until(
    token: CancellationToken,
    work: impl Future<Output = Infallible>,
) -> Result<(), Infallible> {
    tokio::select! {
        () = token.cancelled() => Ok(()),
        never = work => match never {},
    }
}

/// Does `work`, which ends by itself soon after it was told to, for `grace` after that at most.
async fn at_most(
    token: CancellationToken,
    grace: Duration,
    work: impl Future<Output = ()>,
) -> Result<(), Infallible> {
    let end = async {
        token.cancelled().await;
        sleep(grace).await;
    };
    tokio::select! {
        () = end => {}
        () = work => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mbcas_certs::{Event, Validity};
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn readiness_and_metrics_follow_the_certificate() {
        let (registry, readiness) = (Registry::new(), Readiness::new());
        let metrics = Metrics::register(&registry).unwrap();
        let mut observe = observer(metrics, readiness.handle("certificate"));
        let start = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let mut report = Report {
            ready: true,
            leaf: Some(Validity::starting(start, Duration::from_hours(1))),
            events: vec![Event::Published, Event::Served, Event::Published],
            ..Report::default()
        };
        observe(&report);
        assert!(readiness.pending().is_empty());
        let text = TextEncoder::new().encode_to_string(&registry.gather());
        let text = text.unwrap();
        for line in [
            "mbcas_webhook_cert_not_after_seconds{kind=\"leaf\"} 1800003600",
            "mbcas_webhook_cert_events_total{event=\"published\"} 2",
            "mbcas_webhook_cert_events_total{event=\"served\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(
            !text.contains("authority"),
            "no authority of ours, no series"
        );
        report.ready = false;
        observe(&report);
        assert_eq!(readiness.pending(), ["certificate"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_to_do_has_its_time_and_no_more() {
        let token = CancellationToken::new();
        token.cancel();
        let start = tokio::time::Instant::now();
        let grace = Duration::from_secs(5);
        let Ok(()) = at_most(token.clone(), grace, sleep(Duration::from_secs(3))).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        let Ok(()) = at_most(token, grace, std::future::pending()).await;
        assert_eq!(start.elapsed(), Duration::from_secs(8));
    }

    #[tokio::test]
    async fn told_to_end_the_work_ends() {
        let token = CancellationToken::new();
        token.cancel();
        let ended = until(token, std::future::pending()).await;
        assert!(ended.is_ok());
    }
}
