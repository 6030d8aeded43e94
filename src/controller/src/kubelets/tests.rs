use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response};
use kube::client::Body;
use mbcas_core::units::MilliCpu;
use tower::service_fn;

use super::*;

/// Kubelets of which those at odd ports never answer; on the others a container uses half a core.
fn client() -> Client {
    answering(|port| port % 2 == 0)
}

fn answering(answers: impl Fn(u16) -> bool + Clone + Send + Sync + 'static) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let service = service_fn(move |request: Request<Body>| {
        let port = request.uri().port_u16().unwrap();
        let answers = answers(port);
        async move {
            if !answers {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = Instant::now().duration_since(*ZERO).as_millis();
            let text = format!(
                "container_cpu_usage_seconds_total{{container=\"app\",namespace=\"shop\",pod=\"p{port}\"}} {} {now}\n",
                now / 2_000,
            );
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(text.into_bytes())))
        }
    });
    Client::new(service, "default")
}

static ZERO: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn node(port: i32) -> NodeView {
    NodeView {
        name: format!("n{port}"),
        allocatable: MilliCpu::new(4_000),
        cores: MilliCpu::new(4_000),
        kubelet: Some(("10.0.0.1".to_owned(), port)),
        is_opted_out: false,
    }
}

#[tokio::test(start_paused = true)]
async fn the_silent_take_no_time_from_the_others() {
    let nodes: Vec<_> = (10_000..16_000).map(node).collect();
    let nodes: Vec<_> = nodes.iter().collect();
    let mut kubelets = Kubelets::new(client());
    let interval = Duration::from_secs(15);
    let within = interval / 2;
    let mut read = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        let evidence = kubelets.ask(&nodes, interval).await;
        assert!(begun.elapsed() <= within, "{:?}", begun.elapsed());
        read.push((evidence.usage.len(), evidence.failures));
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    // In the first round nobody knew who was silent.
    assert!(read[0].1 > 3_000, "{read:?}");
    assert_eq!(read[6..], [(3_000, 3_000); 2], "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn one_without_an_address_is_a_failure_and_one_that_left_is_forgotten() {
    let mut kubelets = Kubelets::new(client());
    let (good, mut lost) = (node(10_000), node(10_002));
    lost.kubelet = None;
    let interval = Duration::from_secs(15);
    assert_eq!(kubelets.ask(&[&good, &lost], interval).await.failures, 1);
    assert_eq!(kubelets.known.len(), 1);
    assert_eq!(kubelets.ask(&[], interval).await.failures, 0);
    assert!(kubelets.known.is_empty());
}

/// A kubelet that cannot be read any more is believed for a minute, and what it says after that
/// begins anew: the mean of an hour is no window.
#[tokio::test(start_paused = true)]
async fn what_was_used_long_ago_is_not_known_any_more() {
    static ANSWERS: AtomicBool = AtomicBool::new(true);
    let mut kubelets = Kubelets::new(answering(|_| ANSWERS.load(Ordering::Relaxed)));
    let node = node(10_000);
    let interval = Duration::from_secs(15);
    let mut cycle = async || {
        let evidence = kubelets.ask(&[&node], interval).await;
        // One in vain takes two seconds.
        tokio::time::sleep(Duration::from_secs(13)).await;
        evidence.usage.len()
    };
    assert_eq!((cycle().await, cycle().await), (0, 1));
    ANSWERS.store(false, Ordering::Relaxed);
    let mut known = 0;
    while cycle().await == 1 {
        known += 1;
        assert!(known < 10);
    }
    assert_eq!(known, 4);
    tokio::time::sleep(Duration::from_hours(1)).await;
    ANSWERS.store(true, Ordering::Relaxed);
    assert_eq!((cycle().await, cycle().await), (0, 1));
}
