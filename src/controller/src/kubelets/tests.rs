use http::{Request, Response};
use kube::client::Body;
use mbcas_core::units::MilliCpu;
use tower::service_fn;

use super::*;

/// Kubelets of which those at odd ports never answer; the others use half a core more each time.
fn client() -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let service = service_fn(async |request: Request<Body>| {
        let port = request.uri().port_u16().unwrap();
        if port % 2 == 1 {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = Instant::now().duration_since(*ZERO).as_millis();
        let text = format!(
            "container_cpu_usage_seconds_total{{container=\"app\",namespace=\"shop\",pod=\"p{port}\"}} {} {now}\n",
            now / 2_000,
        );
        Ok::<_, std::convert::Infallible>(Response::new(Body::from(text.into_bytes())))
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
    let within = Duration::from_millis(7_500);
    let mut read = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        let evidence = kubelets.ask(&nodes, within).await;
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
    let within = Duration::from_secs(5);
    assert_eq!(kubelets.ask(&[&good, &lost], within).await.failures, 1);
    assert_eq!(kubelets.known.len(), 1);
    assert_eq!(kubelets.ask(&[], within).await.failures, 0);
    assert!(kubelets.known.is_empty());
}
