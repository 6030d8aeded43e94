//! The operator's tool, as it is in the image.

use std::process::Command;

use crate::support::environment::{binary, kubeconfig};
use crate::support::space::{cgroup, limit_of, millicores, restarts};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, on_cluster, wait_until};

/// Runs `mbcas` with `words`; exit status, standard output and standard error.
pub(crate) fn mbcas(words: &[&str]) -> (i32, String, String) {
    let output = Command::new(binary("mbcas", "mbcas"))
        .env_remove("KUBECONFIG")
        .arg("--kubeconfig")
        .arg(kubeconfig())
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_pod_is_resized_by_hand_rehearsed_first_and_waited_for() {
    on_cluster("cli", Admission::Unlabelled, async |space| {
        space
            .start(&Lab::burn("app", 1).request("50m").limit("100m"))
            .await;
        let resize = ["resize", "app", "--namespace", &space.name, "--cpu", "300m"];

        let (status, out, err) = mbcas(&[&resize[..], &["--dry-run"]].concat());
        assert_eq!(status, 0, "{out}{err}");
        for word in ["limits.cpu", "100m", "300m"] {
            assert!(out.contains(word), "{word} is not in the plan:\n{out}");
        }
        assert_eq!(
            limit_of(&space.pod("app").await),
            Some(100),
            "a dry run changed the pod"
        );

        let (status, out, err) = mbcas(&[&resize[..], &["--wait", "--timeout", "30s"]].concat());
        assert_eq!(status, 0, "{out}{err}");
        figure!("{}", out.trim());
        let pod = space.pod("app").await;
        assert_eq!(limit_of(&pod), Some(300), "it did not wait for the status");
        assert_eq!(cgroup(&pod, "app").unwrap().quota(), Some(300));
        assert_eq!(restarts(&pod), 0);
    });
}

#[test]
fn what_cannot_be_done_is_refused_and_nothing_changes() {
    on_cluster("cli-refused", Admission::Unlabelled, async |space| {
        space
            .start(&Lab::burn("app", 1).request("50m").limit("100m"))
            .await;
        let namespace = ["--namespace", &space.name];
        for (words, help) in [
            (["resize", "app", "--cpu", "20m"], "50m"),
            (["resize", "app", "--cpu", "lots"], "no quantity"),
            (["resize", "gone", "--cpu", "200m"], "gone"),
        ] {
            let (status, out, err) = mbcas(&[&words[..], &namespace].concat());
            assert_ne!(status, 0, "{words:?}: {out}");
            assert!(err.contains(help), "{words:?}: {err}");
        }
        assert_eq!(limit_of(&space.pod("app").await), Some(100));
    });
}

#[test]
fn what_the_market_would_set_is_told_of_a_pod_that_it_only_watches() {
    on_cluster("recommend", Admission::Labelled, async |space| {
        let web = Lab::serve("web", &[]).request("50m").limit("100m");
        space.start(&web.annotate("mbcas.mode", "observe")).await;
        let asked = ["recommend", "web", "--namespace", &space.name];
        let rows = wait_until("the market has seen it", SOON, async || {
            let (status, out, err) = mbcas(&[&asked[..], &["-o", "json"]].concat());
            that(status == 0, err)?;
            let rows: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
            that(rows.len() == 1, out)?;
            Ok(rows)
        })
        .await;
        assert_eq!(rows[0]["limit"], "100m");
        let recommended = millicores(rows[0]["recommended"].as_str().unwrap());
        assert!(recommended > 100, "nobody else wants the node: {rows:?}");
        let (_, table, _) = mbcas(&asked);
        figure!("{}", table.trim());
        assert_eq!(
            limit_of(&space.pod("web").await),
            Some(100),
            "it was resized"
        );
    });
}

#[test]
fn what_was_decided_about_a_pod_is_explained_and_replayed_bit_for_bit() {
    on_cluster("explain", Admission::Labelled, async |space| {
        space
            .start(&Lab::serve("web", &[]).request("50m").limit("100m"))
            .await;
        let asked = ["explain", "web", "--namespace", &space.name];
        let rows = wait_until("two decisions are kept", SOON, async || {
            let (status, out, err) = mbcas(&[&asked[..], &["-o", "json"]].concat());
            that(status == 0, err)?;
            let rows: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
            that(rows.len() >= 2, out)?;
            Ok(rows)
        })
        .await;
        assert_eq!(rows[0]["pod"], "web");
        assert!(rows[0]["grantBecause"].is_string() && rows[0]["limitBecause"].is_string());
        let (_, told, _) = mbcas(&asked);
        figure!("{}", told.trim());

        let file = std::env::temp_dir().join(&space.name);
        let file = file.to_str().unwrap();
        let (status, live, err) = mbcas(&["replay", "--save", file]);
        assert_eq!(status, 0, "{live}{err}");
        assert!(live.trim_end().ends_with(" equal, 0 not"), "{live}");
        let size = std::fs::metadata(file).unwrap().len();
        figure!("{}; the record has {size} bytes", live.trim());
        let (status, again, err) = mbcas(&["replay", file]);
        assert_eq!((status, again), (0, live), "{err}");
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn check_finds_this_cluster_well() {
    on_cluster("check", Admission::Labelled, async |space| {
        space
            .start(&Lab::serve("web", &[]).request("50m").limit("100m"))
            .await;
        space.release.after_cycles(1.0).await;
        let (status, out, err) = mbcas(&["check"]);
        assert_eq!(status, 0, "{out}{err}");
        assert!(out.contains(" 0 failed"), "{out}");
        figure!("{}", out.trim());
    });
}
