//! Certificates that end and begin, and clocks that are wrong, under a stream of pods.
//!
//! docs/faults.md is the report. `MBCAS_ROTATIONS` says how often the authority changes (once), and
//! `MBCAS_LEAVES` how many leaves follow each other (four, one per replica).

use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mbcas_api::names::{CA_SECRET, ROTATE_ANNOTATION, WEBHOOK_PORT, WEBHOOK_SERVICE};
use serde_json::json;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::certificates::{bundles, replicas, served};
use crate::faults::{standing, two_stand};
use crate::support::release::{NAMESPACE, admin_address};
use crate::support::space::{cgroup, dry_run, ip, is_ready};
use crate::support::wait::that;
use crate::support::wrong_clock::shift_clock;
use crate::support::{Admission, Release, SOON, Space, Stream, http, on_cluster, wait_until};

fn times(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |n| n.parse().unwrap())
}

/// The Secret's authority that signs.
async fn authority(secrets: &Api<Secret>) -> Vec<u8> {
    let secret = secrets.get(CA_SECRET).await.unwrap();
    secret.data.unwrap()["ca.crt"].0.clone()
}

#[test]
fn the_authority_changes_under_a_stream_of_pods() {
    on_cluster("rotation", Admission::Labelled, async |space| {
        let rotations = times("MBCAS_ROTATIONS", 1);
        let secrets: Api<Secret> = Api::namespaced(space.client.clone(), NAMESPACE);
        let rotate = async {
            for _ in 0..rotations {
                let before = authority(&secrets).await;
                let ask = json!({"metadata": {"annotations": {ROTATE_ANNOTATION: "now"}}});
                let ask = Patch::Merge(ask);
                secrets
                    .patch(CA_SECRET, &PatchParams::default(), &ask)
                    .await
                    .unwrap();
                wait_until("another signs", Duration::from_mins(3), async || {
                    that(authority(&secrets).await != before, "the same signs")
                })
                .await;
            }
            // Until every replica serves what the new one signed.
            tokio::time::sleep(Duration::from_secs(15)).await;
        };
        let (stream, ()) = Stream::during(space, rotate).await;
        let seen = stream.is_whole("rotation");
        figure!("authority and leaves changed {rotations} times: {seen}");
    });
}

/// Replicas in the test of leaves: each makes its own, so that many leaves take little time.
const MANY: usize = 4;

/// The shortest life that the chart gives a leaf.
const SHORT: &str = "2m";

#[test]
fn leaves_follow_each_other_under_a_stream_of_pods() {
    on_cluster("leaves", Admission::Labelled, async |space| {
        let leaves = times("MBCAS_LEAVES", MANY);
        two_stand(space).await;
        Release::upgrade(&[
            "--set-string",
            &format!("certificates.auto.duration={SHORT}"),
            "--set",
            &format!("webhook.replicas={MANY}"),
        ]);
        wait_until("only those with short leaves are there", SOON, async || {
            let there = standing(space).await.len();
            that(there == MANY, format!("there are {there}"))
        })
        .await;
        let (all, trusted) = (replicas(space).await, bundles(&space.client).await);
        let before = standing(space).await;
        // What each of them starts with is none that followed another.
        let first = count(&all).await;
        let rounds = u32::try_from(leaves.div_ceil(MANY)).unwrap();
        let patience = SOON * 2 * rounds;
        let end = CancellationToken::new();
        let follow = async {
            wait_until("leaves follow leaves", patience, async || {
                let followed = count(&all).await - first;
                that(followed >= leaves, format!("{followed} have so far"))
            })
            .await;
            end.cancel();
        };
        let callers = async {
            tokio::join!(
                follow,
                handshakes(&all, &trusted[0], &end),
                anew(space, &trusted[0], &end)
            )
        };
        let (stream, ((), direct, anew)) = Stream::during(space, Box::pin(callers)).await;
        let seen = stream.is_whole("leaves");
        let followed = count(&all).await - first;
        figure!(
            "{followed} leaves followed others on {MANY} replicas: {seen}; {direct} handshakes with each replica \
             in turn, {anew} of the API server on a connection of its own, none refused"
        );
        assert!(direct >= leaves && anew >= leaves / 2, "{direct}, {anew}");
        assert_eq!(standing(space).await, before, "a replica was restarted");
        assert_eq!(bundles(&space.client).await, trusted);
        Release::ensure();
        two_stand(space).await;
    });
}

/// How many leaves they have begun to serve, together.
async fn count(all: &[Pod]) -> usize {
    let mut sum = 0.0;
    for replica in all {
        sum += served(replica).await.unwrap();
    }
    // Counted one by one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let sum = sum as usize;
    sum
}

/// Calls each replica in turn, on a connection of its own, as one who trusts what the configuration
/// says; how often. Another library than the webhook's own looks at the certificate.
async fn handshakes(all: &[Pod], trusted: &serde_json::Value, end: &CancellationToken) -> usize {
    let file = std::env::temp_dir().join(format!("mbcas-trusted-{}", std::process::id()));
    let bundle: ByteString = serde_json::from_value(trusted.clone()).unwrap();
    std::fs::write(&file, bundle.0).unwrap();
    let name = format!("{WEBHOOK_SERVICE}.{NAMESPACE}.svc");
    let mut calls = 0;
    while !end.is_cancelled() {
        let replica = &all[calls % all.len()];
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--output", "/dev/null"])
            .args(["--write-out", "%{http_code}", "--max-time", "5", "--cacert"])
            .arg(&file)
            .args([
                "--resolve",
                &format!("{name}:{WEBHOOK_PORT}:{}", ip(replica)),
            ])
            .args(["--header", "Content-Type: application/json", "--data", "{}"])
            .arg(format!("https://{name}:{WEBHOOK_PORT}/inject"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let answer = curl.output().await.unwrap();
        let (code, why) = (answer.stdout, String::from_utf8_lossy(&answer.stderr));
        // No review: whoever says so was reached.
        assert_eq!(code, b"400", "{}: {why}", replica.name_any());
        calls += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::fs::remove_file(file).unwrap();
    calls
}

/// Makes the API server call the webhook on a new connection, again and again; how often. It keeps one
/// connection for each text that says whom to trust, so the text changes, and who is trusted does not.
async fn anew(space: &Space, trusted: &serde_json::Value, end: &CancellationToken) -> usize {
    let name = &space.name;
    let bundle: ByteString = serde_json::from_value(trusted.clone()).unwrap();
    let bundle = String::from_utf8(bundle.0).unwrap();
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(space.client.clone());
    let maps: Api<ConfigMap> = Api::namespaced(space.client.clone(), name);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "any"}})).unwrap();
    let mut calls = 0;
    while !end.is_cancelled() {
        let text = ByteString(format!("# {calls}\n{bundle}").into_bytes());
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "anew.example.org", "failurePolicy": "Fail", "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                           "operations": ["CREATE"]}],
                "clientConfig": {"caBundle": text, "service": {
                    "name": WEBHOOK_SERVICE, "namespace": NAMESPACE, "path": "/audit"}},
            }],
        });
        let write = PatchParams::apply("mbcas-test").force();
        let configuration = Patch::Apply(&configuration);
        let written = configurations.patch(name, &write, &configuration).await;
        written.unwrap();
        // Until the API server goes by it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let answer = maps.create(&dry_run(), &map).await;
        answer.expect("the API server does not trust a replica");
        calls += 1;
    }
    let gone = configurations.delete(name, &DeleteParams::default()).await;
    gone.unwrap();
    calls
}

const DAY: i64 = 86_400;

#[test]
fn a_clock_that_is_wrong_on_a_webhooks_node_is_nobodys_trouble() {
    on_cluster("clocks", Admission::Labelled, async |space| {
        two_stand(space).await;
        let all = replicas(space).await;
        let (trusted, before) = (bundles(&space.client).await, standing(space).await);
        let secrets: Api<Secret> = Api::namespaced(space.client.clone(), NAMESPACE);
        let authority = authority(&secrets).await;
        let leaves = count(&all).await;
        let one = &all[..1];
        // Beyond a leaf's renewal, its end, its authority's end; before its authority's begin, and any.
        let leaps = [
            (one, 5 * DAY),
            (one, 8 * DAY),
            (&all, 300 * DAY),
            (&all, 4000 * DAY),
            (&all, -DAY),
            (one, -4000 * DAY),
            (&all, 0),
        ];
        let number = leaps.len();
        let leap = async {
            for (who, shift) in leaps {
                let what = format!("{} days for {} of {}", shift / DAY, who.len(), all.len());
                for replica in who {
                    set_clock(replica, shift).await;
                }
                // It looks within two seconds of a leap, and every ten.
                tokio::time::sleep(Duration::from_secs(13)).await;
                for name in all.iter().map(ResourceExt::name_any) {
                    let pod = space.release.pods().get(&name).await.unwrap();
                    assert!(is_ready(&pod), "{what}: {name} is not ready");
                }
                assert_eq!(count(&all).await, leaves, "{what}: a leaf was made");
            }
        };
        let (stream, ()) = Stream::during(space, leap).await;
        let seen = stream.is_whole("clocks");
        figure!("{number} leaps of a webhook's clock, between -4,000 and 4,000 days: {seen}");
        assert_eq!(bundles(&space.client).await, trusted);
        assert_eq!(self::authority(&secrets).await, authority);
        assert_eq!(standing(space).await, before, "a replica was restarted");
    });
}

/// Sets the clock of a replica, and sees that it goes by it.
async fn set_clock(replica: &Pod, shift: i64) {
    let processes = cgroup(replica, "webhook").unwrap().processes();
    let [process] = processes[..] else {
        panic!("{} has {processes:?}", replica.name_any());
    };
    shift_clock(process, shift);
    // What answers keeps the text of its date until its clock is a second further.
    if shift > 0 {
        let now = http::date(&admin_address(replica).unwrap()).await.unwrap();
        let there = now.duration_since(std::time::SystemTime::now()).unwrap();
        let expected = Duration::from_secs(shift.unsigned_abs());
        assert!(
            there.abs_diff(expected) < Duration::from_mins(1),
            "{there:?}"
        );
    }
}
