use super::*;
use proptest::prelude::*;

fn parse(pairs: &[(&str, &str)]) -> Result<Settings, Vec<SettingsError>> {
    let map = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Settings::parse(&map)
}

fn refusal(key: &str, value: &str) -> String {
    let faults = parse(&[(key, value)]).expect_err(value);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].to_string()
}

#[test]
fn everything_a_user_may_write_is_read() {
    let settings = parse(&[
        ("mbcas.enabled", "true"),
        ("mbcas.budget", "600"),
        ("mbcas.minCPU", "0.25"),
        ("mbcas.maxCPU", "2"),
        ("mbcas.container", "app"),
        ("mbcas.mode", "recommend"),
        ("mbcas.agent", "none"),
        (
            "mbcas.metrics",
            "http://localhost:8080/stats/metrics#queue=queue_depth&latency=request_seconds",
        ),
        ("mbcas.slo", "250ms"),
        ("mbcas.processes", "shared"),
        ("mbcas.dev/original", "anything: it is ours"),
        ("prometheus.io/scrape", "true"),
    ])
    .unwrap();
    assert_eq!(settings.budget, Some(Budget::new(600).unwrap()));
    assert_eq!(settings.min_cpu, Some(MilliCpu::new(250)));
    assert_eq!(settings.max_cpu, Some(MilliCpu::new(2000)));
    assert_eq!(settings.container.as_deref(), Some("app"));
    assert_eq!(settings.mode, Some(Mode::Recommend));
    assert_eq!(settings.agent, AgentChoice::None);
    assert_eq!(settings.metrics.unwrap().port, 8080);
    assert_eq!(settings.slo.unwrap().to_string(), "250ms");
    assert_eq!(settings.processes, Processes::Shared);
}

#[test]
fn nothing_written_is_nothing_asked() {
    assert_eq!(parse(&[]), Ok(Settings::default()));
    assert!(Settings::default().is_enabled());
}

#[test]
fn a_refusal_names_key_value_rule_and_fix() {
    assert_eq!(
        refusal("mbcas.budget", "lots"),
        r#"annotation mbcas.budget="lots" is refused: it must be a whole number from 1 to 1000000; for example "300""#,
    );
    assert_eq!(
        refusal("mbcas.maxCpu", "1"),
        "annotation mbcas.maxCpu is refused: MBCAS knows no such key; did you mean mbcas.maxCPU?",
    );
}

#[test]
fn malformed_values_are_refused() {
    for bad in [
        "",
        "0",
        "-1",
        "+5",
        "1.5",
        "007",
        "1e3",
        " 5",
        "5 ",
        "1000001",
        "99999999999999999999",
        "lots",
        "５",
    ] {
        refusal("mbcas.budget", bad);
    }
    for bad in ["", "0", "9m", "-1", "10001", "lots", "1 ", "1mm", "500M"] {
        refusal("mbcas.minCPU", bad);
        refusal("mbcas.maxCPU", bad);
    }
    for bad in ["", "True", "yes", "1"] {
        refusal("mbcas.enabled", bad);
    }
    for bad in ["", "App", "-a", "a-", "a.b", &"a".repeat(64)] {
        refusal("mbcas.container", bad);
    }
    for bad in [
        "",
        "http://10.0.0.1:80/m#q",
        "https://localhost:80/m#q",
        "http://localhost/m#q",
        "http://localhost:0/m#q",
        "http://localhost:65536/m#q",
        "http://localhost:+80/m#q",
        "http://localhost:80/m",
        "http://localhost:80/m#",
        "http://localhost:80/m#9q",
        "http://localhost:80/m q#q",
        "http://localhost:80/m\r\nX: y#q",
        "http://localhost:80@evil/m#q",
    ] {
        refusal("mbcas.metrics", bad);
    }
    refusal(
        "mbcas.metrics",
        &format!("http://localhost:80/{}#q", "a".repeat(1_003)),
    );
    assert!(
        parse(&[(
            "mbcas.metrics",
            &format!("http://localhost:80/{}#q", "a".repeat(1_002))
        )])
        .is_ok()
    );
    refusal("mbcas.mode", "off");
    refusal("mbcas.agent", "Sidecar");
    for bad in ["", "0ms", "61s", "1.5s", "250"] {
        refusal("mbcas.slo", bad);
    }
    for bad in ["", "Shared", "true", "none"] {
        refusal("mbcas.processes", bad);
    }
    refusal("mbcas.", "");
    refusal("mbcas.budget/x", "1");
}

#[test]
fn amounts_that_take_the_api_server_long_to_read_are_refused() {
    let digits = |count: usize| format!("1.{}", "0".repeat(count - 2));
    let zeros = |count: usize| format!("{}1", "0".repeat(count - 1));
    for fine in [
        "1e3",
        "1E+03",
        "12e-2",
        &digits(32),
        &zeros(32),
        "0.000000000000001E",
    ] {
        assert!(parse(&[("mbcas.maxCPU", fine)]).is_ok(), "{fine}");
    }
    for slow in ["1e003", "1e100000000", "1000e-003", &digits(33), &zeros(33)] {
        let message = refusal("mbcas.maxCPU", slow);
        assert!(
            message.contains("at most 32 digits, and two in an exponent"),
            "{message}"
        );
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let faults = parse(&[
        ("mbcas.budget", "x"),
        ("mbcas.bugdet", "1"),
        ("mbcas.maxCPU", "y"),
    ])
    .unwrap_err();
    let keys: Vec<_> = faults.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["mbcas.budget", "mbcas.bugdet", "mbcas.maxCPU"]);
}

#[test]
fn bounds_that_contradict_each_other_are_refused() {
    let faults = parse(&[("mbcas.minCPU", "2"), ("mbcas.maxCPU", "1500m")]).unwrap_err();
    assert!(
        faults[0]
            .to_string()
            .contains("2000m is above the most CPU 1500m"),
        "{}",
        faults[0]
    );
    let settings = parse(&[("mbcas.maxCPU", "200m")]).unwrap();
    assert!(settings.check_request(Some(MilliCpu::new(200))).is_ok());
    let fault = settings
        .check_request(Some(MilliCpu::new(250)))
        .unwrap_err();
    assert!(
        fault
            .to_string()
            .contains("below the container's CPU request of 250m"),
        "{fault}"
    );
}

#[test]
fn what_is_in_flight_needs_its_workers() {
    let (value, fix) = (
        "http://localhost:80/m#in_flight=n&workers=0",
        "http://localhost:8080/metrics#app_queue_depth",
    );
    assert_eq!(
        refusal("mbcas.metrics", value),
        format!(
            "annotation mbcas.metrics=\"{value}\" is refused: its in_flight=METRIC must have &workers=N after it, \
             where N, from 1 to 65535, is how many requests are worked on at once; for example \"{fix}\""
        )
    );
}

#[test]
fn a_latency_and_its_objective_need_each_other() {
    const LATENCY: (&str, &str) = ("mbcas.metrics", "http://localhost:80/m#latency=l");
    const QUEUE: (&str, &str) = ("mbcas.metrics", "http://localhost:80/m#q");
    const SLO: (&str, &str) = ("mbcas.slo", "2s");
    assert!(parse(&[LATENCY, SLO]).is_ok());
    assert_eq!(
        refusal(LATENCY.0, LATENCY.1),
        r#"annotation mbcas.metrics="http://localhost:80/m#latency=l" is refused: it has a latency, and mbcas.slo does not say what that may be; add mbcas.slo, for example "250ms""#,
    );
    let lonely = r#"annotation mbcas.slo="2s" is refused: mbcas.metrics names no latency to compare with it; for example mbcas.metrics: "http://localhost:8080/metrics#latency=request_seconds""#;
    assert_eq!(refusal(SLO.0, SLO.1), lonely);
    assert_eq!(parse(&[QUEUE, SLO]).unwrap_err()[0].to_string(), lonely);
    // What is there and cannot be read is one fault, and not missing as well.
    for pairs in [
        [LATENCY, ("mbcas.slo", "soon")],
        [("mbcas.metrics", "#latency"), SLO],
    ] {
        assert_eq!(parse(&pairs).unwrap_err().len(), 1, "{pairs:?}");
    }
}

proptest! {
    #[test]
    fn a_message_is_short_and_printable_whatever_the_value(key in "mbcas\\..{0,200}", value in ".{0,500}") {
        if let Err(faults) = parse(&[(key.as_str(), value.as_str())]) {
            let message = faults[0].to_string();
            prop_assert!(message.chars().all(|c| !c.is_control()), "{}", message);
            prop_assert!(message.chars().count() <= 1_000);
        }
    }
}
