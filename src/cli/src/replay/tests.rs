use mbcas_core::MilliCpu;

use super::*;
use crate::fixtures::{installation, lines, record};

#[test]
fn what_was_recorded_is_decided_again_and_a_difference_is_named() {
    let mut record = record();
    let verdict = replay("it", &lines(&record)).unwrap();
    assert_eq!(
        verdict.to_string(),
        "replayed 3 decisions about 1 nodes: 3 equal, 0 not\n"
    );
    record[1].plan.to_mut().clearing.allocations[1].grant = MilliCpu::new(1_310);
    let verdict = replay("it", &lines(&record)).unwrap();
    assert_eq!((verdict.equal, verdict.differences.len()), (2, 1));
    assert_eq!(
        verdict.to_string(),
        "line 2, node node-1, 2027-01-15T08:00:20Z: shop/web/app: grant is recorded as MilliCpu(1310) and replayed as MilliCpu(1300)
replayed 3 decisions about 1 nodes: 2 equal, 1 not
"
    );
}

#[tokio::test]
async fn a_file_is_replayed_without_a_cluster_and_fails_where_it_differs() {
    let file = std::env::temp_dir().join(format!("mbcas-replay-{}", std::process::id()));
    let args = ReplayArgs {
        file: Some(file.clone()),
        save: None,
        installation: installation(),
        output: Format::Yaml,
    };
    let nowhere = Connection::default();
    let why = run(&nowhere, &args).await.unwrap_err().to_string();
    assert!(why.contains(&file.display().to_string()), "{why}");

    let mut record = record();
    std::fs::write(&file, lines(&record)).unwrap();
    let report = run(&nowhere, &args).await.unwrap();
    assert!(
        !report.failed && report.text.contains("equal: 3"),
        "{report:?}"
    );
    record[2].plan.to_mut().capacity = MilliCpu::ZERO;
    std::fs::write(&file, lines(&record)).unwrap();
    let report = run(&nowhere, &args).await.unwrap();
    assert!(
        report.failed && report.text.contains("capacity"),
        "{report:?}"
    );
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_is_no_record_is_named_with_its_line() {
    let mut text = lines(&record());
    text.push_str("{}\n");
    let why = replay("web.ndjson", &text).unwrap_err().to_string();
    assert!(
        why.starts_with("reading web.ndjson failed in line 4:"),
        "{why}"
    );
    let why = replay("web.ndjson", "").unwrap_err().to_string();
    assert!(why.contains("after its first cycle"), "{why}");
}
