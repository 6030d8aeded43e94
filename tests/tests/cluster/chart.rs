//! The release on a real cluster: tried by `helm test`, upgraded under way, applied by others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{Api, DeleteParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use mbcas_api::names::WEBHOOK_CONFIGURATION;
use mbcas_core::annotations::Settings;
use serde_json::Value;

use crate::support::environment::{binary, helm, output_of, workspace};
use crate::support::release::{CHART, NAME, NAMESPACE, values};
use crate::support::space::{dry_run, has_agent, ip, is_ready, phase};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, on_cluster, wait_until};

#[test]
fn helm_test_tries_admission_and_leaves_nothing_behind() {
    on_cluster("helmtest", Admission::Unlabelled, async |space| {
        let mut test = helm();
        test.args(["test", NAME, "--namespace", NAMESPACE, "--logs"]);
        let said = output_of(&mut test);
        figure!("{}", said.trim());
        for part in ["webhook", "controller"] {
            let read = format!("the {part}'s metrics can be read");
            assert!(said.contains(&read), "{said}");
        }
        let namespaces: Api<Namespace> = Api::all(space.client.clone());
        let accounts: Api<ServiceAccount> = Api::namespaced(space.client.clone(), NAMESPACE);
        let roles: Api<Role> = Api::namespaced(space.client.clone(), NAMESPACE);
        wait_until("what the test made goes", SOON, async || {
            let namespace = namespaces.get_opt(&format!("{NAMESPACE}-test")).await;
            let pod = space.release.pods().get_opt("mbcas-test").await;
            let account = accounts.get_opt("mbcas-test").await;
            let role = roles.get_opt("mbcas-test-metrics").await;
            let left = [
                namespace.unwrap().is_some(),
                pod.unwrap().is_some(),
                account.unwrap().is_some(),
                role.unwrap().is_some(),
            ];
            that(
                left == [false; 4],
                format!("namespace, pod, account, role: {left:?}"),
            )
        })
        .await;
    });
}

/// A pod that looks like a controller and has no metrics.
async fn decoy(space: &Space) -> Pod {
    let mut pod = Lab::serve("decoy", &[]).request("10m").bare_pod();
    for (part, value) in [("part-of", "mbcas"), ("component", "controller")] {
        let key = format!("app.kubernetes.io/{part}");
        pod.labels_mut().insert(key, value.to_owned());
    }
    let pods = space.release.pods();
    let _ = pods.delete("decoy", &DeleteParams::default()).await;
    wait_until("the decoy runs", SOON, async || {
        let _ = pods.create(&PostParams::default(), &pod).await;
        let found = pods.get("decoy").await.map_err(|why| why.to_string())?;
        that(is_ready(&found), format!("{:?}", phase(&found)))?;
        Ok(found)
    })
    .await
}

#[test]
fn helm_test_says_what_does_not_answer() {
    on_cluster("helmtest", Admission::Unlabelled, async |space| {
        let pods = space.release.pods();
        let decoy = decoy(space).await;
        let fails = async {
            let mut test = helm();
            test.args(["test", NAME, "--namespace", NAMESPACE]);
            let output = test.output().unwrap();
            let log = pods.logs("mbcas-test", &LogParams::default()).await;
            let log = log.unwrap();
            assert!(!output.status.success(), "helm test passed: {log}");
            figure!("{}", log.trim());
            let unread = format!("decoy: its metrics cannot be read at {}:9464", ip(&decoy));
            for word in [
                "by the policy alone",
                "no webhook runs in namespace",
                &unread,
                "networkPolicy.metricsFrom",
            ] {
                assert!(log.contains(word), "{word}: {log}");
            }
        };
        space.release.without_webhook(fails).await;
        for pod in ["mbcas-test", "decoy"] {
            pods.delete(pod, &DeleteParams::default()).await.unwrap();
        }
    });
}

/// Every object of the release changes here, and every pod is replaced: a later
/// chart, other resources, more replicas.
#[test]
fn every_pod_that_is_created_during_an_upgrade_is_injected() {
    on_cluster("upgrade", Admission::Labelled, async |space| {
        install_earlier();
        let before = bundle(&space.client).await;
        assert!(!before.is_empty());
        let pods = space.pods();
        let lab = Lab::serve("stream", &[]).request("10m").pod();
        let upgrade = tokio::task::spawn_blocking(|| {
            let later = later_chart();
            Release::upgrade_to(&later, &["--values", "chart/values-ha.yaml"]);
            std::fs::remove_dir_all(later).unwrap();
        });
        // Old replicas go on answering for a while after helm has seen the new ones.
        let mut rest = 100;
        let (mut refused, mut bare, mut all) = (Vec::new(), 0_u32, 0_u32);
        while rest > 0 {
            match pods.create(&dry_run(), &lab).await {
                Ok(pod) if has_agent(&pod) => {}
                Ok(_) => bare += 1,
                Err(why) => refused.push(why.to_string()),
            }
            all += 1;
            rest -= u32::from(upgrade.is_finished());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        upgrade.await.unwrap();
        figure!("{all} pods were created during an upgrade, {bare} of them without an agent");
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(bare, 0, "of {all}");
        assert_eq!(
            bundle(&space.client).await,
            before,
            "the upgrade replaced the caBundle"
        );
    });
}

/// Takes an earlier release to upgrade from, if one is named; else it is the one that is here.
fn install_earlier() {
    let named = std::env::var("MBCAS_TEST_UPGRADE_FROM").unwrap_or_default();
    let words: Vec<_> = named.split_whitespace().collect();
    if let [chart, words @ ..] = &words[..] {
        Release::upgrade_to(Path::new(chart), words);
    }
}

/// The chart as its next version.
fn later_chart() -> PathBuf {
    let later = std::env::temp_dir().join(format!("mbcas-chart-{}", std::process::id()));
    let chart = workspace().join(CHART);
    output_of(Command::new("cp").arg("-R").arg(chart).arg(&later));
    let about = later.join("Chart.yaml");
    let text = std::fs::read_to_string(&about).unwrap();
    let (before, rest) = text.split_once("\nversion: ").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    std::fs::write(&about, format!("{before}\nversion: 99.0.0\n{after}")).unwrap();
    later
}

async fn bundle(client: &Client) -> Vec<u8> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let found = configurations.get(WEBHOOK_CONFIGURATION).await.unwrap();
    let webhook = found.webhooks.into_iter().flatten().next().unwrap();
    webhook.client_config.ca_bundle.unwrap_or_default().0
}

/// As `helm template | kubectl apply` does, and a GitOps controller again and again.
#[test]
fn the_rendered_configuration_applied_over_a_live_one_takes_nothing_away() {
    on_cluster("apply", Admission::Labelled, async |space| {
        let before = bundle(&space.client).await;
        let mut template = helm();
        template.args([
            "template",
            NAME,
            "./chart",
            "--namespace",
            NAMESPACE,
            "--no-hooks",
        ]);
        let rendered = output_of(template.args(values()));
        let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
        let configuration = objects
            .into_iter()
            .find(|object| object["kind"] == "MutatingWebhookConfiguration");
        let configuration = configuration.unwrap();
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(space.client.clone());
        for manager in ["gitops", "kubectl"] {
            let params = PatchParams::apply(manager).force();
            let applied = configurations
                .patch(
                    WEBHOOK_CONFIGURATION,
                    &params,
                    &Patch::Apply(&configuration),
                )
                .await;
            applied.unwrap();
            assert_eq!(bundle(&space.client).await, before, "applied by {manager}");
        }
        let pod: Pod = space
            .pods()
            .create(&dry_run(), &Lab::serve("after", &[]).request("10m").pod())
            .await
            .unwrap();
        assert!(has_agent(&pod));
    });
}

#[test]
fn the_agent_reads_all_that_the_webhook_tells_it() {
    let help = output_of(Command::new(binary("agent", "mbcas-demand-agent")).arg("--help"));
    let agent = mbcas_webhook::AgentSpec::usual("example/agent:1");
    let metrics = "http://localhost:8081/metrics#queue=waiting&latency=took_seconds";
    let settings = [("mbcas.metrics", metrics), ("mbcas.slo", "250ms")];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let settings = Settings::parse(&settings.into()).unwrap();
    let sidecar = mbcas_webhook::sidecar::Sidecar::of(&agent).container("app", &settings);
    let sidecar: serde_json::Value = serde_json::from_str(&sidecar).unwrap();
    for variable in sidecar["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(
            help.contains(&format!("[env: {name}=")),
            "the agent does not read {name}:\n{help}"
        );
    }
}
