use serde_json::{Value, json};

use super::*;
use crate::fixtures::{LEADER, installation, lease, lines, pod, record, refused, telling};

fn args(pod: &str, container: Option<&str>, output: Format) -> ExplainArgs {
    ExplainArgs {
        pod: pod.to_owned(),
        container: container.map(str::to_owned),
        installation: installation(),
        output,
    }
}

/// What comes of these answers, and what was asked for.
async fn told(
    answers: [Value; 3],
    args: &ExplainArgs,
) -> (Result<Report, ExplainError>, Vec<String>) {
    let (cluster, asked) = telling(answers.into());
    let report = run(&cluster, args).await;
    drop(cluster);
    (report, asked.await.unwrap())
}

fn web() -> Value {
    pod("web", "100m", "1", None)
}

#[tokio::test]
async fn the_last_decision_is_told_in_sentences_and_those_before_in_a_table() {
    let record = json!(lines(&record()));
    let (report, asked) = told([lease(), web(), record], &args("web", None, Format::Table)).await;
    assert_eq!(
        report.unwrap().text,
        "\
shop/web/app on node node-1, decided in a cycle at 2027-01-15T08:00:30Z, term 3
  need     1800m
  budget   600, with a demand of 0.50 a bid of 585.000
  floor    100m
  cap      1800m
  grant    1300m: its floor 100m and, for a bid of 585.000 among 780.000, its part of the 1600m above the floors
  limit    1300m
  wanted   1300m: its grant, by the proportional rule
  write    none: the limit is as wanted
  price    0.487 per millicore on this node

DECIDED                TURN    NEED    DEMAND   BID       GRANT   REASON   LIMIT   WANTED   REASON   WRITTEN
2027-01-15T08:00:20Z   early   1800m   0.50     585.000   1300m   share    1300m   1300m    rule     -
2027-01-15T08:00:15Z   cycle   1800m   0.50     585.000   1300m   share    1000m   1300m    rule     1300m done
"
    );
    assert!(asked[0].ends_with("/namespaces/mbcas-system/leases/mbcas-controller"));
    assert_eq!(asked[1], "/api/v1/namespaces/shop/pods/web");
    assert_eq!(asked[2], format!("{LEADER}/decisions?node=node-1"));
}

#[tokio::test]
async fn a_budget_that_its_namespace_s_total_lowers_is_told_as_such() {
    let mut record = record();
    for decision in &mut record {
        for observed in decision.snapshot.to_mut().participants.values_mut() {
            observed.is_scaled = true;
        }
    }
    let answers = [lease(), web(), json!(lines(&record))];
    let (report, _) = told(answers, &args("web", None, Format::Table)).await;
    let text = report.unwrap().text;
    let line =
        "budget   600 (what the total of its namespace's BudgetPolicy leaves of it), with a demand";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_pod_that_is_gone_is_looked_for_on_all_nodes() {
    let answers = [
        lease(),
        refused(404, "no such pod"),
        json!(lines(&record())),
    ];
    let (report, asked) = told(answers, &args("web", Some("app"), Format::Json)).await;
    assert_eq!(asked[2], format!("{LEADER}/decisions"));
    let rows: Vec<Value> = serde_json::from_str(&report.unwrap().text).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].get("write"), None);
    assert_eq!(
        (&rows[2]["write"], &rows[2]["outcome"], &rows[2]["turn"]),
        (&json!("1300m"), &json!("done"), &json!("cycle"))
    );
}

#[test]
fn what_kept_a_limit_is_said() {
    let mut record = record();
    let plan = record[0].plan.to_mut();
    let id = plan.clearing.allocations[1].id.clone();
    assert_eq!(id.pod.name, "web");
    plan.writes.clear();
    let wanted = mbcas_core::MilliCpu::new(1_300);
    let remaining = Duration::from_secs(5);
    let held = mbcas_market::HoldReason::Cooldown { wanted, remaining };
    plan.held.push((id.clone(), held));
    let rows = about(&record[0], |one| *one == id);
    let text = words::words(&rows);
    assert!(
        text.contains("held     1300m has to wait 5 s after the last write\n"),
        "{text}"
    );
    assert!(!text.contains("  write "), "{text}");
    assert_eq!(rows[0].held, Some("cooldown"));
}

#[tokio::test]
async fn what_is_missing_is_named_with_its_mend() {
    let good = || json!(lines(&record()));
    let cases = [
        (
            [refused(404, "no lease"), web(), good()],
            None,
            "--controller-namespace",
        ),
        (
            [lease(), refused(403, "you may not"), good()],
            None,
            "`get` on pods",
        ),
        (
            [lease(), web(), refused(403, "you may not")],
            None,
            "pods/proxy",
        ),
        (
            [lease(), web(), good()],
            Some("log"),
            "no decision about container log of pod shop/web is among the 3",
        ),
        ([lease(), web(), json!("")], None, "mbcas check"),
        (
            [lease(), web(), json!("{\"format\":9}\n")],
            None,
            "line 1: the decision has format 9",
        ),
    ];
    for (answers, container, mend) in cases {
        let (report, _) = told(answers, &args("web", container, Format::Table)).await;
        let why = report.unwrap_err();
        assert!(why.to_string().contains(mend), "{why}");
    }
}
