use clap::CommandFactory;

use super::*;

fn refusal(args: &[&str]) -> String {
    let words = std::iter::once("mbcas-controller").chain(args.iter().copied());
    Args::try_parse_from(words).unwrap_err().to_string()
}

#[test]
fn the_definition_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn bad_values_are_refused_with_a_mend() {
    for (args, words) in [
        (["--mode", "off"], "observe, recommend or auto"),
        (["--interval", "4"], "from 5 to 300"),
        (["--interval", "15s"], "give whole seconds, such as 15"),
        (["--reserve", "lots"], "give a CPU quantity, such as 100m"),
        (["--reserve", "-1"], "unexpected argument"),
        (["--canary-percent", "101"], "a whole number from 0 to 100"),
        (["--default-max-cpu", "many"], "give a CPU quantity"),
        (["--pod-recommendations", "often"], "true, false"),
        (["--kubelet-tls", "maybe"], "verify, caBundle, insecure"),
        (["--kubelet-tls", "caBundle"], "--kubelet-ca <FILE>"),
        (["--writes-per-second", "0"], "1..=200"),
        (["--write-burst", "1001"], "1..=1000"),
        (["--admin-addr", "9464"], "invalid socket address"),
    ] {
        let message = refusal(&args);
        assert!(message.contains(words), "{args:?}: {message}");
    }
    assert!(refusal(&["--reserve=-1"]).contains("must not be negative"));
}

#[test]
fn without_words_it_is_the_documented_default() {
    let args = Args::try_parse_from(["mbcas-controller"]).unwrap();
    assert_eq!(
        (args.mode, args.interval),
        (Mode::Auto, Duration::from_secs(15))
    );
    assert_eq!(
        (
            args.canary_percent,
            args.pod_recommendations,
            args.default_max_cpu
        ),
        (Canary::ALL, false, MilliCpu::new(64_000))
    );
    assert_eq!(
        (args.reserve, args.kubelet_tls()),
        (MilliCpu::ZERO, KubeletTls::Verify)
    );
    assert_eq!((args.writes_per_second, args.write_burst), (20, 40));
}
