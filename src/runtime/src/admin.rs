//! The admin port: `/livez`, `/readyz` and `/metrics`.

use std::io;
use std::net::SocketAddr;

use ::http::{StatusCode, header};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::{self, Limits};
use crate::listen;
use crate::ready::Readiness;

/// Where the admin port listens.
#[derive(Args, Clone, Copy, Debug)]
pub struct AdminArgs {
    /// Address of the admin port (/livez, /readyz, /metrics).
    #[arg(
        long,
        env = "MBCAS_ADMIN_ADDR",
        default_value = "[::]:9464",
        value_name = "IP:PORT"
    )]
    pub admin_addr: SocketAddr,
}

/// Why there is no admin port.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address} for the admin port ({source}); choose another with --admin-addr or MBCAS_ADMIN_ADDR"
    )]
    Bind {
        /// The address that was given.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
}

/// The admin routes. `/livez` answers 200 as long as the process answers at
/// all: nothing that a restart would not cure may end in one.
pub fn router(metrics: Registry, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(async move || text(&metrics)))
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let pending = readiness.pending();
    if pending.is_empty() {
        return "ok\n".into_response();
    }
    let message = format!("not ready: {}\n", pending.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

/// What `registry` holds, as an answer in Prometheus text form.
pub fn text(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response(),
    }
}

/// Takes the admin port.
///
/// # Errors
/// [`AdminError::Bind`] where the address is taken, foreign or forbidden.
pub fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    listen::bind(address)
        .and_then(TcpListener::from_std)
        .map_err(|source| AdminError::Bind { address, source })
}

/// Serves the admin routes until `token` is cancelled.
///
/// # Errors
/// None today; the result is what [`crate::supervise::Supervisor::spawn`] takes.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    token: CancellationToken,
) -> Result<(), AdminError> {
    http::serve(listener, router, Limits::default(), token).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = ::http::Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_it_waits_for_and_liveness_waits_for_nothing() {
        let readiness = Readiness::new();
        let cache = readiness.handle("cache");
        let certificate = readiness.handle("certificate");
        let router = router(Registry::new(), readiness.clone());
        let unready = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(
            ask(&router, "/readyz").await,
            (unready, "not ready: cache, certificate\n".to_owned())
        );
        cache.set(true);
        assert_eq!(ask(&router, "/readyz").await.1, "not ready: certificate\n");
        certificate.set(true);
        assert_eq!(
            ask(&router, "/readyz").await,
            (StatusCode::OK, "ok\n".to_owned())
        );
        readiness.drain();
        assert_eq!(
            ask(&router, "/readyz").await,
            (unready, "not ready: shutdown\n".to_owned())
        );
        assert_eq!(ask(&router, "/livez").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_what_the_registry_holds() {
        let metrics = Registry::new();
        let gauge = prometheus::IntGauge::new("mbcas_test", "A test.").unwrap();
        metrics.register(Box::new(gauge.clone())).unwrap();
        gauge.set(7);
        let router = router(metrics, Readiness::new());
        let (status, text) = ask(&router, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.lines().any(|line| line == "mbcas_test 7"), "{text}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let message = bind(address).unwrap_err().to_string();
        assert!(
            message.contains(&address.to_string()) && message.contains("MBCAS_ADMIN_ADDR"),
            "{message}"
        );
    }
}
