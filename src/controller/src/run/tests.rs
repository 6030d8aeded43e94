use super::*;
use crate::fake::{Clients, FakeApi};

#[tokio::test]
async fn a_cluster_that_cannot_resize_is_only_recommended_to() {
    let api = FakeApi::shared();
    api.lock().unwrap().resize = false;
    let mut probe = Probe {
        client: api.client(),
        verdict: None,
    };
    assert_eq!(probe.permitted(Mode::Auto).await, Mode::Recommend);
    assert_eq!(probe.permitted(Mode::Observe).await, Mode::Observe);
    assert!(matches!(&probe.verdict, Some(Support::Unsupported(why)) if why.contains("1.33")));
}

#[tokio::test]
async fn an_alpha_that_reports_in_another_way_is_only_recommended_to() {
    for (minor, permitted) in [
        ("31", Mode::Recommend),
        ("32+", Mode::Recommend),
        ("33", Mode::Auto),
        ("37+", Mode::Auto),
        ("", Mode::Auto),
    ] {
        let api = FakeApi::shared();
        api.lock().unwrap().minor = minor;
        let mut probe = Probe {
            client: api.client(),
            verdict: None,
        };
        assert_eq!(probe.permitted(Mode::Auto).await, permitted, "{minor}");
    }
}

#[tokio::test]
async fn a_cluster_that_can_is_written_to() {
    let api = FakeApi::shared();
    let mut probe = Probe {
        client: api.client(),
        verdict: None,
    };
    assert_eq!(probe.permitted(Mode::Auto).await, Mode::Auto);
}
