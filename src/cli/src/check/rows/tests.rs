use std::collections::BTreeMap;

use jiff::Timestamp;
use mbcas_actuator::Support;
use mbcas_api::NotParticipant;
use mbcas_webhook::namespace::Rules;
use serde_json::json;

use super::super::Row;
use super::super::facts::{
    ClusterFacts, DeploymentFacts, InstallationFacts, LeaseFacts, NamespaceFacts, NodeFacts,
    ParticipationFacts, Permission, PodFacts, Standing, Version,
};
use super::{cluster, installation, participation};
use crate::output::Level;

fn good_cluster() -> ClusterFacts {
    ClusterFacts {
        version: Ok(Version::parse("v1.37.2")),
        support: Ok(Support::Supported),
        permission: Ok(Permission {
            allowed: true,
            namespace: None,
        }),
        nodes: Ok(vec![node("v1.37.2", "linux", true)]),
        rules: Ok(BTreeMap::new()),
    }
}

fn node(kubelet: &str, os: &str, ready: bool) -> NodeFacts {
    NodeFacts {
        name: "node-1".into(),
        kubelet: Version::parse(kubelet),
        os: os.into(),
        ready,
    }
}

fn levels(rows: &[Row]) -> Vec<Level> {
    rows.iter().map(|row| row.level).collect()
}

/// The one row that is not as it should be.
fn bad(rows: &[Row]) -> &Row {
    let bad: Vec<&Row> = rows.iter().filter(|row| row.level != Level::Ok).collect();
    assert_eq!(bad.len(), 1, "{rows:#?}");
    assert!(
        !bad[0].hint.is_empty(),
        "a row that is not ok says what to do: {bad:?}"
    );
    bad[0]
}

#[test]
fn a_cluster_that_can_is_all_ok() {
    assert_eq!(levels(&cluster(&good_cluster())), [Level::Ok; 5]);
}

#[test]
fn versions_are_compared_as_numbers() {
    for (text, level) in [
        ("v1.33.0", Level::Ok),
        ("v1.33.1+k3s1", Level::Ok),
        ("v2.0.0", Level::Ok),
        ("v1.100.0", Level::Ok),
        ("v1.32.9", Level::Fail),
        ("v1.9.3", Level::Fail),
        ("dev", Level::Fail),
    ] {
        let rows = cluster(&ClusterFacts {
            version: Ok(Version::parse(text)),
            ..good_cluster()
        });
        assert_eq!(rows[0].level, level, "{text}");
    }
}

#[test]
fn an_api_server_that_does_not_answer_is_one_failure() {
    let rows = cluster(&ClusterFacts {
        version: Err("connection refused".into()),
        ..good_cluster()
    });
    assert_eq!(
        rows,
        [Row::fail(
            "the API server does not answer",
            "connection refused"
        )]
    );
}

#[test]
fn a_cluster_without_the_subresource_fails() {
    let rows = cluster(&ClusterFacts {
        support: Ok(Support::Unsupported("not served".into())),
        ..good_cluster()
    });
    let row = bad(&rows);
    assert_eq!(row.level, Level::Fail);
    assert!(row.hint.contains("not served"), "{row:?}");
}

#[test]
fn a_missing_permission_names_the_scope_and_the_subresource() {
    let permission = Ok(Permission {
        allowed: false,
        namespace: Some("shop".into()),
    });
    let rows = cluster(&ClusterFacts {
        permission,
        ..good_cluster()
    });
    let row = bad(&rows);
    assert!(
        row.what.contains("namespace shop") && row.hint.contains("pods/resize"),
        "{row:?}"
    );
}

#[test]
fn nodes_that_cannot_resize_are_warned_of() {
    for (node, word) in [
        (node("v1.32.4", "linux", true), "upgrade"),
        (node("v1.37.2", "windows", true), "cannot be resized"),
        (node("v1.37.2", "linux", false), "not ready"),
    ] {
        let rows = cluster(&ClusterFacts {
            nodes: Ok(vec![node]),
            ..good_cluster()
        });
        let row = bad(&rows);
        assert_eq!(row.level, Level::Warn);
        assert!(
            format!("{} {}", row.what, row.hint).contains(word),
            "{row:?}"
        );
    }
    let rows = cluster(&ClusterFacts {
        nodes: Ok(vec![]),
        ..good_cluster()
    });
    assert_eq!(bad(&rows).level, Level::Fail);
}

#[test]
fn what_cannot_be_read_is_said_and_fails_nothing() {
    let facts = ClusterFacts {
        support: Err("forbidden".into()),
        permission: Err("forbidden".into()),
        nodes: Err("forbidden".into()),
        rules: Err("forbidden".into()),
        ..good_cluster()
    };
    let levels = levels(&cluster(&facts));
    assert_eq!(
        (levels[0], &levels[1..]),
        (Level::Ok, &[Level::Warn; 4][..])
    );
}

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn good_installation() -> InstallationFacts {
    let replicas = Ok(Some(DeploymentFacts {
        wanted: 2,
        available: 2,
    }));
    InstallationFacts {
        namespace: "mbcas-system".into(),
        webhook: Ok(Some(true)),
        webhook_deployment: replicas.clone(),
        controller_deployment: replicas,
        lease: Ok(Some(LeaseFacts {
            holder: "controller-a".into(),
            until: "2026-01-01T12:00:01Z".parse().ok(),
        })),
    }
}

fn judged(facts: &InstallationFacts) -> Vec<Row> {
    installation(facts, now())
}

#[test]
fn a_sound_installation_is_all_ok_and_names_the_leader() {
    let rows = judged(&good_installation());
    assert_eq!(levels(&rows), [Level::Ok; 4]);
    assert!(rows[3].what.contains("held by controller-a"));
}

#[test]
fn no_installation_at_all_is_one_failure() {
    let facts = InstallationFacts {
        webhook: Ok(None),
        webhook_deployment: Ok(None),
        controller_deployment: Ok(None),
        lease: Ok(None),
        ..good_installation()
    };
    let rows = judged(&facts);
    assert_eq!(rows.len(), 1);
    assert!(bad(&rows).hint.contains("helm install"));
}

fn replicas(wanted: i32, available: i32) -> DeploymentFacts {
    DeploymentFacts { wanted, available }
}

fn lease(holder: &str, until: &str) -> LeaseFacts {
    LeaseFacts {
        holder: holder.into(),
        until: until.parse().ok(),
    }
}

#[test]
fn each_part_that_is_missing_or_broken_is_told_by_itself() {
    type Break = fn(&mut InstallationFacts);
    let cases: [(Break, Level, &str); 11] = [
        (|f| f.webhook = Ok(None), Level::Fail, "missing"),
        (|f| f.webhook = Ok(Some(false)), Level::Fail, "no CA bundle"),
        (|f| f.webhook_deployment = Ok(None), Level::Fail, "missing"),
        (
            |f| f.webhook_deployment = Ok(Some(replicas(2, 0))),
            Level::Fail,
            "0 of 2",
        ),
        (
            |f| f.webhook_deployment = Ok(Some(replicas(2, 1))),
            Level::Warn,
            "1 of 2",
        ),
        (
            |f| f.controller_deployment = Ok(Some(replicas(0, 0))),
            Level::Fail,
            "scaled to 0",
        ),
        (|f| f.lease = Ok(None), Level::Fail, "does not exist"),
        (
            |f| f.lease = Ok(Some(lease("", "2026-01-01T12:00:01Z"))),
            Level::Fail,
            "nobody",
        ),
        (
            |f| f.lease = Ok(Some(lease("a", "2026-01-01T12:00:00Z"))),
            Level::Fail,
            "run out",
        ),
        (
            |f| f.lease = Ok(Some(lease("a", ""))),
            Level::Fail,
            "run out",
        ),
        (
            |f| f.lease = Err("forbidden".into()),
            Level::Warn,
            "cannot be read",
        ),
    ];
    for (break_it, level, word) in cases {
        let mut facts = good_installation();
        break_it(&mut facts);
        let rows = judged(&facts);
        let row = bad(&rows);
        assert_eq!(row.level, level, "{row:?}");
        assert!(row.what.contains(word), "{word}: {row:?}");
    }
}

fn of(standings: Vec<(&str, Standing)>) -> ParticipationFacts {
    let pods = standings.into_iter().map(|(pod, standing)| {
        let (namespace, name) = pod.split_once('/').unwrap();
        PodFacts {
            namespace: namespace.into(),
            name: name.into(),
            standing,
        }
    });
    let shop = NamespaceFacts {
        name: "shop".into(),
        label: "enabled".into(),
    };
    ParticipationFacts {
        namespaces: Ok(vec![shop]),
        pods: Ok(pods.collect()),
    }
}

#[test]
fn participants_are_counted() {
    let facts = of(vec![
        ("shop/a", Standing::Participant { has_agent: true }),
        ("shop/b", Standing::Participant { has_agent: false }),
    ]);
    let rows = participation(&facts);
    assert_eq!(levels(&rows), [Level::Ok; 2]);
    assert_eq!(rows[1].what, "2 pods take part, 1 of them without an agent");
}

#[test]
fn pods_that_were_not_admitted_are_told_to_restart() {
    let left_out = || Standing::LeftOut(NotParticipant::NotAdmitted);
    let rows = participation(&of(vec![
        ("shop/a", left_out()),
        ("shop/b", left_out()),
        ("till/c", left_out()),
    ]));
    let row = bad(&rows);
    assert!(row.what.starts_with("3 pods not admitted"), "{row:?}");
    assert!(
        row.hint
            .contains("kubectl --namespace shop rollout restart deployment"),
        "{row:?}"
    );
    assert!(
        row.hint
            .contains("kubectl --namespace till rollout restart deployment"),
        "{row:?}"
    );
    assert_eq!(row.hint.matches("rollout restart").count(), 2, "{row:?}");
}

#[test]
fn every_reason_has_a_row_of_its_own() {
    let reasons = [
        (NotParticipant::OptedOut, Level::Ok),
        (
            NotParticipant::Malformed("annotation mbcas.budget=\"lots\" is refused".into()),
            Level::Warn,
        ),
        (NotParticipant::NoSuchContainer("ap".into()), Level::Warn),
        (NotParticipant::NoRequest, Level::Warn),
        (NotParticipant::Guaranteed, Level::Ok),
        (NotParticipant::NotResizable, Level::Warn),
        (NotParticipant::RestartOnResize, Level::Warn),
        (NotParticipant::NotRunning, Level::Ok),
    ];
    for (reason, level) in reasons {
        let rows = participation(&of(vec![("shop/a", Standing::LeftOut(reason.clone()))]));
        assert_eq!(rows.len(), 2, "{reason:?}");
        assert_eq!(rows[1].level, level, "{reason:?}");
        assert!(
            rows[1].what.starts_with("1 pod ") && rows[1].what.ends_with(": shop/a"),
            "{:?}",
            rows[1]
        );
        assert_eq!(rows[1].hint.is_empty(), level == Level::Ok, "{:?}", rows[1]);
    }
    let malformed = NotParticipant::Malformed("mbcas.budget=\"lots\" is refused".into());
    let rows = participation(&of(vec![("shop/a", Standing::LeftOut(malformed))]));
    assert!(bad(&rows).hint.contains("lots"));
}

#[test]
fn pods_that_a_restart_would_not_help_are_not_told_to_restart() {
    for (word, level, mend) in [
        ("bare_pod", Level::Warn, "Deployment"),
        ("best_effort", Level::Warn, "CPU request"),
        ("no_request", Level::Warn, "CPU request"),
        ("restart_on_resize", Level::Warn, "resizePolicy"),
        ("pod_resources", Level::Warn, "its containers"),
        ("quota", Level::Warn, "mbcas.dev/injection"),
        ("guaranteed", Level::Ok, ""),
        ("static_pod", Level::Ok, ""),
    ] {
        let rows = participation(&of(vec![("shop/a", Standing::Skipped(word.into()))]));
        let row = rows.last().unwrap();
        assert_eq!(row.level, level, "{row:?}");
        assert!(
            row.what.contains(word) && row.what.ends_with(": shop/a"),
            "{row:?}"
        );
        assert!(
            row.hint.contains(mend) && !row.hint.contains("rollout"),
            "{row:?}"
        );
    }
}

#[test]
fn annotations_where_nothing_listens_are_said_to_have_no_effect() {
    let rows = participation(&of(vec![("till/c", Standing::Unheard)]));
    let row = bad(&rows);
    assert!(
        row.what.contains("has no effect") && row.what.ends_with("till/c"),
        "{row:?}"
    );
    assert!(
        row.hint
            .contains("kubectl label namespace till mbcas-injection=enabled"),
        "{row:?}"
    );
}

#[test]
fn labels_that_do_nothing_and_no_label_at_all_are_warned_of() {
    let with = |namespaces| ParticipationFacts {
        namespaces: Ok(namespaces),
        pods: Ok(vec![]),
    };
    let rows = participation(&with(vec![]));
    assert!(bad(&rows).what.contains("no namespace takes part"));
    let shop = NamespaceFacts {
        name: "shop".into(),
        label: "enabled".into(),
    };
    let till = NamespaceFacts {
        name: "till".into(),
        label: "true".into(),
    };
    let rows = participation(&with(vec![shop, till]));
    let row = bad(&rows);
    assert!(
        row.what.contains("namespace till") && row.hint.contains("--overwrite"),
        "{row:?}"
    );
}

#[test]
fn long_lists_are_cut() {
    let names: Vec<String> = (0..8).map(|n| format!("shop/p{n}")).collect();
    let rows = participation(&of(names
        .iter()
        .map(|n| (n.as_str(), Standing::Unheard))
        .collect()));
    assert!(bad(&rows).what.ends_with("shop/p4 and 3 more"), "{rows:?}");
}

#[test]
fn namespaces_without_room_for_the_agent_are_listed() {
    let limit_range = |max: &str| {
        Rules::of([
            &json!({"kind": "LimitRange", "spec": {"limits": [{"type": "Container", "max": {"cpu": max}}]}}),
        ])
    };
    let quota = json!({"kind": "ResourceQuota", "spec": {"hard": {"limits.cpu": "1"}}, "status": {"used": {"limits.cpu": "900m"}}});
    let rules = [
        ("clamped", limit_range("100m").unwrap()),
        ("fits", limit_range("2").unwrap()),
        ("full", Rules::of([&quota]).unwrap()),
        ("small", limit_range("5m").unwrap()),
    ];
    let rows = cluster(&ClusterFacts {
        rules: Ok(rules.map(|(name, rules)| (name.to_owned(), rules)).into()),
        ..good_cluster()
    });
    let said: Vec<_> = rows[4..].iter().map(|row| row.what.as_str()).collect();
    assert_eq!(
        said,
        [
            "namespace clamped: its LimitRange makes the demand agent take 10m to 100m of CPU and 16Mi to 32Mi of memory",
            "namespace full: pods get no demand agent (quota)",
            "namespace small: pods get no demand agent (limit_range)",
        ]
    );
    assert!(
        rows[4..]
            .iter()
            .all(|row| row.level == Level::Warn && !row.hint.is_empty())
    );
}
