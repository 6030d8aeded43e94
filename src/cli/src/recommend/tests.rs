use serde_json::{Value, json};

use super::*;
use crate::fixtures::{LEADER, installation, lease, refused, telling};

const PAGE: &str = r#"
# TYPE mbcas_alloc_cpu_mcores gauge
mbcas_alloc_cpu_mcores{container="app",namespace="shop",pod="web"} 800
mbcas_alloc_cpu_mcores{container="app",namespace="shop",pod="hog"} 1210
mbcas_alloc_cpu_mcores{container="app",namespace="other",pod="web"} 90
mbcas_limit_cpu_mcores{container="app",namespace="shop",pod="hog"} 2000
mbcas_usage_cpu_mcores{container="app",namespace="shop",pod="web"} 412
mbcas_recommended_cpu_mcores{container="app",namespace="shop",pod="web",reason="unbound"} 4000
mbcas_recommended_cpu_mcores{container="app",namespace="shop",pod="hog",reason="held"} 1210
mbcas_recommended_cpu_mcores{container="app",namespace="other",pod="web",reason="unbound"} 1000
mbcas_participants{node="n1"} 3
"#;

#[test]
fn a_row_says_what_is_what_would_be_and_why() {
    let rows = rows(PAGE, Some("shop"), None);
    assert_eq!(
        table(rows),
        "\
NAMESPACE   POD   CONTAINER   LIMIT   RECOMMENDED   REASON    GRANT   USAGE
shop        hog   app         2       1210m         held      1210m   -
shop        web   app         -       4             unbound   800m    412m
"
    );
    let one = super::rows(PAGE, None, Some("web"));
    let names: Vec<_> = one.iter().map(|row| row.namespace.as_str()).collect();
    assert_eq!(names, ["other", "shop"]);
}

/// What comes of these two answers.
async fn told(answers: [Value; 2], args: RecommendArgs) -> Result<Report, RecommendError> {
    let (cluster, asked) = telling(answers.into());
    let report = run(&cluster, &args).await;
    drop(cluster);
    if report.is_ok() {
        let asked = asked.await.unwrap();
        assert!(asked[0].ends_with("/namespaces/mbcas-system/leases/mbcas-controller"));
        assert_eq!(asked[1], format!("{LEADER}/metrics"));
    }
    report
}

fn args(output: Format) -> RecommendArgs {
    RecommendArgs {
        pod: None,
        all_namespaces: false,
        installation: installation(),
        output,
    }
}

#[tokio::test]
async fn the_leader_is_asked_through_the_api_server() {
    let report = told([lease(), json!(PAGE)], args(Format::Yaml))
        .await
        .unwrap();
    let read: Vec<BTreeMap<String, String>> = serde_saphyr::from_str(&report.text).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0]["recommended"], "1210m");
    assert_eq!(read[1].get("limit"), None);
}

#[tokio::test]
async fn what_is_missing_is_named_with_its_mend() {
    let cases = [
        (
            refused(404, "no such lease"),
            json!(""),
            "--controller-namespace",
        ),
        (
            json!({"metadata": {}}),
            json!(""),
            "no controller leads in namespace mbcas-system",
        ),
        (lease(), refused(403, "you may not"), "pods/proxy"),
        (
            lease(),
            json!("mbcas_participants{node=\"n1\"} 3\n"),
            "controller.podMetrics",
        ),
    ];
    for (lease, page, mend) in cases {
        let why = told([lease, page], args(Format::Table)).await.unwrap_err();
        assert!(why.to_string().contains(mend), "{why}");
    }
}
