//! The two paths of the agent's port: `/demand` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::StatusCode;
use mbcas_core::demand::LongPoll;
use mbcas_runtime::{admin, http};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::board::Board;

/// What clients may hold: readers come by every 15 s and stay for one answer, or wait 25 s for a jump.
pub const LIMITS: http::Limits = http::Limits {
    connections: 32,
    head: Duration::from_secs(2),
    lifetime: Duration::from_secs(30),
};

/// Pause between two attempts to take the port.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// The routes.
pub fn router(board: Arc<Board>) -> Router {
    Router::new()
        .route("/demand", get(demand))
        .route("/metrics", get(metrics))
        .with_state(board)
}

async fn demand(State(board): State<Arc<Board>>, Query(poll): Query<LongPoll>) -> Response {
    match poll.terms() {
        // Whatever comes of it, what is known then is the answer. Without a report there is nothing to wait for.
        Ok(Some((above, wait))) if board.report().is_ok() => {
            drop(timeout(wait, board.rises_to(above)).await);
        }
        Ok(_) => {}
        Err(why) => return (StatusCode::BAD_REQUEST, format!("above: {why}\n")).into_response(),
    }
    match board.report() {
        Ok(report) => Json(report).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(board): State<Arc<Board>>) -> Response {
    admin::text(&board.metrics())
}

/// Serves for ever, or until `token` is cancelled. A port that is taken is tried
/// again: the agent's end would make the pod unready.
pub async fn serve(board: Arc<Board>, token: CancellationToken) {
    let address = board.config.listen;
    let listener = loop {
        match mbcas_runtime::listen::bind(address).and_then(TcpListener::from_std) {
            Ok(listener) => break listener,
            Err(why) => {
                error!(%address, %why, "cannot listen; set MBCAS_AGENT_ADDR or free the port");
            }
        }
        sleep(BIND_PAUSE).await;
    };
    info!(%address, "serving /demand and /metrics");
    http::serve(listener, router(board), LIMITS, token).await;
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use hyper::Request;
    use mbcas_core::DemandReport;
    use mbcas_core::demand::queue_pressure;
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;
    use crate::board::{Reading, Smoother};
    use crate::config::Config;
    use crate::signal::{Pressures, Source};

    /// The board of an agent that was told all it needs.
    fn board() -> Arc<Board> {
        let line = "agent --namespace shop --pod web-1 --container app";
        Arc::new(Board::new(Config::from_args(line.split(' '))).unwrap())
    }

    async fn ask(board: &Arc<Board>, path: &str) -> (StatusCode, Vec<u8>) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(Arc::clone(board)).oneshot(request).await.unwrap();
        let status = answer.status();
        (
            status,
            answer
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_what_the_contract_s_own_reader_takes() {
        let board = board();
        let (status, body) = ask(&board, "/demand").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, b"no sample was taken yet\n");

        let pressures = Pressures::default().with(Source::AcceptQueue, Some(queue_pressure(12)));
        board.put(Smoother::default().read(pressures, None, Duration::from_secs(1)));
        tokio::time::advance(Duration::from_millis(80)).await;
        let (status, body) = ask(&board, "/demand").await;
        assert_eq!(status, StatusCode::OK);
        let (report, demand) = DemandReport::parse(&body, "shop", "web-1", "app").unwrap();
        // Half of the way to 12 / 16 in one half-life.
        let demand = demand.unwrap();
        assert_eq!(
            (demand.basis_points(), report.sequence, report.age_ms),
            (3750, 1, 80)
        );
    }

    fn said(body: &[u8]) -> f64 {
        let (report, _) = DemandReport::parse(body, "shop", "web-1", "app").unwrap();
        report.demand_intensity.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_jump_is_answered_when_it_comes_or_the_time_is_over() {
        let board = board();
        let reading = |intensity| Reading {
            intensity: Some(intensity),
            sequence: 1,
            pressures: Pressures::default(),
            need: None,
        };
        board.put(reading(0.2));
        let begin = Instant::now();
        let (_, body) = ask(&board, "/demand?above=0.7&wait=3").await;
        assert_eq!((said(&body), begin.elapsed().as_secs()), (0.2, 3));
        let (_, body) = ask(&board, "/demand?above=0.7&wait=900").await;
        let longest = 3 + mbcas_core::demand::LONGEST_WAIT;
        assert_eq!((said(&body), begin.elapsed().as_secs()), (0.2, longest));
        let (_, body) = ask(&board, "/demand?above=0.2&wait=3").await;
        assert_eq!((said(&body), begin.elapsed().as_secs()), (0.2, longest));

        let begin = Instant::now();
        let rises = async {
            for intensity in [0.6, 0.7, 0.1] {
                sleep(Duration::from_secs(1)).await;
                board.put(reading(intensity));
                tokio::task::yield_now().await;
            }
        };
        let ((_, body), ()) = tokio::join!(ask(&board, "/demand?above=0.7"), rises);
        assert!(said(&body) > 0.69);
        assert!(begin.elapsed() < Duration::from_secs(4));
        for bad in ["above=1.5", "above=NaN", "above=high", "wait=-1"] {
            let (status, body) = ask(&board, &format!("/demand?{bad}")).await;
            let body = String::from_utf8_lossy(&body);
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {body}");
        }
    }

    #[tokio::test]
    async fn an_agent_that_was_told_too_little_says_so_and_serves_on() {
        let board = Arc::new(Board::new(Config::from_args(["agent", "--pod", "web-1"])).unwrap());
        let (status, body) = ask(&board, "/demand").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let body = String::from_utf8(body).unwrap();
        assert!(
            body.contains("MBCAS_NAMESPACE is missing") && body.contains("MBCAS_CONTAINER"),
            "{body}"
        );
        // Nor does it let anybody wait for what will not come.
        let waits = ask(&board, "/demand?above=0.67&wait=20");
        let (status, _) = timeout(Duration::from_secs(5), waits).await.unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let (status, metrics) = ask(&board, "/metrics").await;
        let metrics = String::from_utf8(metrics).unwrap();
        assert_eq!(status, StatusCode::OK);
        assert!(
            metrics.contains("mbcas_agent_config_faults{field=\"MBCAS_NAMESPACE\"} 1"),
            "{metrics}"
        );
        assert!(!metrics.contains("mbcas_demand_intensity"), "{metrics}");
    }
}
