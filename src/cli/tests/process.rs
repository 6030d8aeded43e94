//! The command as a process: what it reads, where it writes, and how it ends.

#![allow(clippy::unwrap_used)] // clippy excuses test functions only, and these have helpers

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// `mbcas inject -f -` of a Deployment with that budget.
fn injected(budget: &str) -> Output {
    let manifest = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  template:
    metadata: {{annotations: {{mbcas.budget: '{budget}'}}}}
    spec:
      containers:
      - {{name: app, image: app, resources: {{requests: {{cpu: 250m}}}}}}
"
    );
    let mut process = Command::new(env!("CARGO_BIN_EXE_mbcas"))
        .args(["inject", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    input.write_all(manifest.as_bytes()).unwrap();
    drop(input);
    process.wait_with_output().unwrap()
}

#[test]
fn what_comes_by_standard_input_is_injected() {
    let output = injected("600");
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{err}");
    let object: serde_json::Value = serde_saphyr::from_str(&out).unwrap();
    let spec = &object["spec"]["template"]["spec"];
    assert_eq!(spec["initContainers"][0]["name"], "mbcas-demand-agent");
    assert_eq!(object["metadata"]["name"], "web");
}

#[test]
fn what_admission_would_refuse_ends_with_its_words_and_without_success() {
    let output = injected("lots");
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("mbcas.budget=\"lots\" is refused"), "{said}");
}
