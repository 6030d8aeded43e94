//! The chart's templates and the code call the same things by the same names.

use clap::CommandFactory;
use mbcas_api::names;
use mbcas_webhook::args::Args;
use mbcas_webhook::routes::INJECT;

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../chart/templates/webhook/",
            $name
        ))
    };
}

#[test]
fn every_variable_that_the_chart_sets_is_one_that_the_webhook_reads() {
    let command = Args::command();
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(|a| a.get_env()?.to_str())
        .collect();
    let set: Vec<_> = template!("deployment.yaml")
        .split("name: MBCAS_")
        .skip(1)
        .map(|rest| {
            rest.split(|c: char| !c.is_ascii_uppercase() && c != '_')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(set.len(), 14, "{set:?}");
    for name in &set {
        assert!(
            known.contains(&format!("MBCAS_{name}").as_str()),
            "MBCAS_{name} is not read: {known:?}"
        );
    }
    // The admin port's address has one right value in a pod, and it is the default.
    assert_eq!(known.len(), set.len() + 1, "{known:?}");
}

#[test]
fn names_and_ports_are_the_same_on_both_sides() {
    let configuration = template!("configuration.yaml");
    assert!(configuration.contains(&format!("\n  name: {}\n", names::WEBHOOK_CONFIGURATION)));
    assert!(configuration.contains(&format!("- name: {}\n", names::WEBHOOK_NAME)));
    assert!(configuration.contains(&format!("name: {},", names::WEBHOOK_SERVICE)));
    assert!(configuration.contains(&format!("path: {INJECT},")));
    let selector = format!(
        "key: {}, operator: In, values: [{}]",
        names::INJECTION_LABEL,
        names::INJECTION_ENABLED
    );
    assert!(configuration.contains(&selector));
    let rbac = template!("rbac.yaml");
    for name in [
        names::WEBHOOK_CONFIGURATION,
        names::CA_SECRET,
        names::WEBHOOK_DEPLOYMENT,
    ] {
        assert!(rbac.contains(&format!("resourceNames: [{name}]")), "{name}");
    }
    let deployment = template!("deployment.yaml");
    assert!(deployment.contains(&format!("\n  name: {}\n", names::WEBHOOK_DEPLOYMENT)));
    assert!(deployment.contains(&format!("containerPort: {}}}", names::ADMIN_PORT)));
    let values = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../chart/values.yaml"));
    assert!(values.contains(&format!("\n  port: {}\n", names::WEBHOOK_PORT)));
    assert!(template!("service.yaml").contains(&format!("\n  name: {}\n", names::WEBHOOK_SERVICE)));
}

#[test]
fn the_ca_bundle_is_never_rendered_and_nothing_fails_closed() {
    let configuration = template!("configuration.yaml");
    let fields = configuration
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let fields = fields.collect::<Vec<_>>().join("\n");
    assert!(!fields.contains("caBundle"));
    assert!(fields.contains("failurePolicy: Ignore") && !fields.contains("failurePolicy: Fail"));
}

/// The policy of annotations is executed on 100,000 updates; what the audit is asked about is told by the same words.
#[test]
fn the_audit_hears_of_the_updates_that_the_policy_looks_at() {
    fn words(text: &str) -> String {
        let words: Vec<_> = text.split_whitespace().collect();
        words.join(" ")
    }
    let policy = words(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../chart/files/policies/annotations.yaml"
    )));
    let of_update = policy.split_once("oldObject == null || ").unwrap().1;
    let of_update = of_update.split_once(" variables:").unwrap().0;
    assert!(of_update.len() > 300, "{of_update}");
    let audit = words(template!("configuration.yaml"));
    let expected = format!("request.resource.resource != 'pods' || {of_update} failurePolicy:");
    assert!(audit.contains(&expected), "{expected}");
}
