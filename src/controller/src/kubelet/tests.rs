use super::*;

const CYCLE: Duration = Duration::from_secs(15);

fn kubelet() -> Kubelet {
    Kubelet::new("n1", "127.0.0.1", 10250).unwrap()
}

fn text(seconds: f64, at_ms: i64) -> String {
    format!(
        "container_cpu_usage_seconds_total{{container=\"app\",namespace=\"shop\",pod=\"web\"}} {seconds} {at_ms}\n"
    )
}

fn used(kubelet: &Kubelet) -> Option<u64> {
    let key = ("shop".into(), "web".into(), "app".into());
    let mut usage = kubelet.usage();
    usage
        .find(|(found, _)| ***found == key)
        .map(|(_, used)| used.cpu.get())
}

#[tokio::test]
async fn two_readings_make_a_rate() {
    let mut kubelet = kubelet();
    kubelet.take(&text(10.0, 1_000_000));
    assert_eq!(used(&kubelet), None);
    kubelet.take(&text(15.0, 1_010_000));
    assert_eq!(used(&kubelet), Some(500));
}

#[tokio::test]
async fn a_reading_that_did_not_move_keeps_the_rate() {
    let mut kubelet = kubelet();
    kubelet.take(&text(10.0, 1_000_000));
    kubelet.take(&text(15.0, 1_010_000));
    kubelet.take(&text(15.0, 1_010_000));
    assert_eq!(used(&kubelet), Some(500));
    kubelet.take(&text(35.0, 1_030_000));
    assert_eq!(used(&kubelet), Some(1_000));
}

#[tokio::test]
async fn readings_less_than_a_second_apart_make_no_rate() {
    let mut kubelet = kubelet();
    kubelet.take(&text(10.0, 1_000_000));
    kubelet.take(&text(15.0, 1_010_000));
    // One period of a limit more or less would be a tenth.
    kubelet.take(&text(15.9, 1_010_999));
    assert_eq!(used(&kubelet), Some(500));
    kubelet.take(&text(16.0, 1_011_000));
    assert_eq!(used(&kubelet), Some(1_000));
}

#[tokio::test(start_paused = true)]
async fn it_warms_up_until_a_rate_is_known_or_time_is_up() {
    let mut early = kubelet();
    assert!(early.is_warming_up(CYCLE));
    early.take(&text(10.0, 1_000_000));
    assert!(early.is_warming_up(CYCLE));
    early.take(&text(15.0, 1_010_000));
    assert!(!early.is_warming_up(CYCLE));

    let silent = kubelet();
    tokio::time::advance(WARM_UP).await;
    assert!(!silent.is_warming_up(CYCLE));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_started_anew_warms_up_again() {
    let mut kubelet = kubelet();
    kubelet.take(&text(10.0, 1_000_000));
    kubelet.take(&text(15.0, 1_010_000));
    tokio::time::advance(WARM_UP).await;
    assert!(!kubelet.is_warming_up(CYCLE));
    // It answers before it has anything to say.
    kubelet.take("");
    assert!(kubelet.is_warming_up(CYCLE));
    kubelet.take("");
    tokio::time::advance(WARM_UP).await;
    assert!(!kubelet.is_warming_up(CYCLE), "but not for ever");
}

#[tokio::test]
async fn a_counter_that_fell_was_restarted() {
    let mut kubelet = kubelet();
    kubelet.take(&text(1_000.0, 1_000_000));
    kubelet.take(&text(2.0, 1_010_000));
    assert_eq!(used(&kubelet), Some(200));
}

#[tokio::test]
async fn a_container_that_is_gone_is_forgotten() {
    let mut kubelet = kubelet();
    kubelet.take(&text(10.0, 1_000_000));
    kubelet.take("");
    assert!(kubelet.tracks.is_empty());
}

#[test]
fn an_address_that_is_none_is_named() {
    let error = Kubelet::new("n1", "not an address", 10250).err().unwrap();
    assert!(
        error.to_string().contains("node n1: not an address"),
        "{error}"
    );
}

#[test]
fn one_that_has_moved_is_another() {
    let at = |address, port| Kubelet::new("n1", address, port).unwrap();
    assert!(at("10.0.0.1", 10250).is_at(&at("10.0.0.1", 10250)));
    assert!(!at("10.0.0.1", 10250).is_at(&at("10.0.0.2", 10250)));
    assert!(!at("fd00::1", 10250).is_at(&at("fd00::1", 10251)));
}

/// A directory of its own, with this as a file in it.
fn file(name: &str, text: &str) -> PathBuf {
    let directory =
        std::env::temp_dir().join(format!("mbcas-kubelet-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("ca.crt");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_named() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::new("https://127.0.0.1:1".parse().unwrap());
    for path in [
        PathBuf::from("/nowhere/ca.crt"),
        file("nonsense", "-----BEGIN CERTIFICATE-----\nx"),
    ] {
        let error = client(&KubeletTls::CaBundle(path), &config).err().unwrap();
        let message = error.to_string();
        assert!(message.contains("controller.kubeletCA"), "{message}");
    }
}
