//! Dependencies point one way, and the pure rooms stay pure.

use std::collections::BTreeSet;
use std::process::Command;

/// Every package that `package` is built from.
fn tree(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--package",
            package,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let names: BTreeSet<_> = names.map(str::to_owned).collect();
    assert!(names.contains(package), "{text}");
    names
}

fn is_without(package: &str, forbidden: &[&str]) {
    let tree = tree(package);
    let found: Vec<_> = forbidden
        .iter()
        .filter(|name| tree.contains(**name))
        .collect();
    assert!(found.is_empty(), "{package} depends on {found:?}");
}

/// No cluster, no clock, no task, no log, no chance.
const WORLD: [&str; 9] = [
    "kube",
    "kube-client",
    "k8s-openapi",
    "tokio",
    "axum",
    "hyper",
    "tracing",
    "rand",
    "prometheus",
];

#[test]
fn the_vocabulary_is_pure() {
    is_without("mbcas-core", &WORLD);
}

#[test]
fn the_market_is_pure_and_knows_the_vocabulary_alone() {
    is_without("mbcas-market", &WORLD);
    let ours: Vec<_> = tree("mbcas-market")
        .into_iter()
        .filter(|name| name.starts_with("mbcas"))
        .collect();
    assert_eq!(ours, ["mbcas-core", "mbcas-market"]);
}

#[test]
fn the_agent_carries_no_cluster_and_no_cryptography_into_other_peoples_pods() {
    is_without(
        "mbcas-agent",
        &[
            "kube",
            "kube-client",
            "k8s-openapi",
            "rustls",
            "aws-lc-rs",
            "ring",
        ],
    );
}

#[test]
fn the_tree_is_read_at_all() {
    let controller = tree("mbcas-controller");
    assert!(
        ["kube", "tokio", "mbcas-market"]
            .iter()
            .all(|name| controller.contains(*name))
    );
}

#[test]
fn webhook_and_controller_never_meet() {
    is_without(
        "mbcas-webhook",
        &["mbcas-controller", "mbcas-market", "mbcas-actuator"],
    );
    is_without("mbcas-controller", &["mbcas-webhook", "mbcas-certs"]);
}

#[test]
fn there_is_one_provider_of_cryptography() {
    for package in ["mbcas-webhook", "mbcas-controller", "mbcas"] {
        is_without(package, &["ring", "openssl", "native-tls"]);
    }
}
