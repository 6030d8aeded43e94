use super::*;

const SUBJECT: [&str; 7] = [
    "agent",
    "--namespace",
    "shop",
    "--pod",
    "web-1",
    "--container",
    "app",
];

fn with(more: &[&str]) -> Config {
    Config::from_args([&SUBJECT[..], more].concat())
}

fn fields(config: &Config) -> Vec<&'static str> {
    config.faults.iter().map(ConfigError::field).collect()
}

#[test]
fn three_names_are_enough() {
    let config = with(&[]);
    assert!(config.faults.is_empty(), "{:?}", config.faults);
    let identity = config.identity.unwrap();
    assert_eq!(
        (&*identity.namespace, &*identity.pod, &*identity.container),
        ("shop", "web-1", "app")
    );
    assert_eq!(config.listen.port(), 9465);
    assert!(config.listen.ip().is_unspecified());
    assert_eq!(config.app, None);
}

#[test]
fn every_name_that_is_missing_is_named() {
    let config = Config::from_args(["agent", "--pod", "web-1"]);
    assert_eq!(config.identity, None);
    assert_eq!(fields(&config), ["MBCAS_NAMESPACE", "MBCAS_CONTAINER"]);
}

#[test]
fn a_name_that_kubernetes_would_not_give_is_refused() {
    for bad in ["Web", "a b", "a/b", "a\"b", "ü", "a\n", &"x".repeat(254)] {
        let config = Config::from_args([
            "agent",
            "--namespace",
            "shop",
            "--pod",
            bad,
            "--container",
            "app",
        ]);
        assert_eq!(fields(&config), ["MBCAS_POD"], "{bad:?}");
        assert_eq!(config.identity, None);
    }
}

#[test]
fn a_bad_address_of_the_app_costs_its_signal_and_nothing_else() {
    let config = with(&["--app-metrics", "http://example.com/metrics#queue"]);
    assert_eq!(fields(&config), ["MBCAS_APP_METRICS"]);
    assert!(config.identity.is_some() && config.app.is_none());
    let good = with(&["--app-metrics", "http://localhost:8080/metrics#queue"]);
    assert!(good.faults.is_empty());
    assert_eq!(good.app.unwrap().queue.unwrap().metric, "queue");
}

#[test]
fn a_latency_needs_an_objective() {
    let latency = "--app-metrics=http://localhost:8080/metrics#latency=took";
    assert_eq!(fields(&with(&[latency])), ["MBCAS_APP_SLO"]);
    let bad = with(&[latency, "--app-slo", "fast"]);
    assert_eq!(fields(&bad), ["MBCAS_APP_SLO"]);
    assert!(bad.app.is_some() && bad.slo.is_none());
    let good = with(&[latency, "--app-slo", "250ms"]);
    assert!(good.faults.is_empty(), "{:?}", good.faults);
    assert_eq!(good.slo.unwrap().as_duration().as_millis(), 250);
}

#[test]
fn a_bad_address_to_serve_on_leaves_the_default() {
    let config = with(&["--agent-addr", "9465"]);
    assert_eq!(fields(&config), ["MBCAS_AGENT_ADDR"]);
    assert_eq!(config.listen.port(), 9465);
    assert_eq!(
        with(&["--agent-addr", "127.0.0.1:1"]).listen,
        "127.0.0.1:1".parse().unwrap()
    );
}

#[test]
fn an_unknown_flag_is_a_fault_and_not_the_end() {
    let config = with(&["--loud"]);
    assert!(
        fields(&config).contains(&"command_line"),
        "{:?}",
        config.faults
    );
    let bad_format = with(&["--log-format", "xml"]);
    assert_eq!(fields(&bad_format), ["MBCAS_LOG_FORMAT"]);
}
