//! What is written down by hand in a second place says the same there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mbcas_controller::report;
use mbcas_core::DemandReport;
use mbcas_core::annotations::KEYS;
use mbcas_core::demand::{self, StandingQueue};
use mbcas_core::units::Demand;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every word in `text` of the form of a user's annotation: `mbcas.` and letters.
fn keys_in(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("mbcas.").map(|(at, _)| at);
    let words = starts.filter(|at| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"-_./".contains(c))
    });
    let keys = words.filter_map(|at| {
        let rest = &text[at + "mbcas.".len()..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let after = rest[end..].chars().next();
        // A host (mbcas.local/…), a reserved key (mbcas.dev/…), a file (mbcas.json).
        let other = after == Some('/')
            || ["dev", "local", "json", "md", "rs", "yaml"].contains(&&rest[..end]);
        (end > 0 && !other).then(|| format!("mbcas.{}", &rest[..end]))
    });
    keys.collect()
}

fn known() -> BTreeSet<String> {
    KEYS.iter().map(|key| (*key).to_owned()).collect()
}

fn markdown(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<_> = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "md"))
        .collect();
    found.extend(folders.iter().flat_map(|folder| markdown(folder)));
    found
}

#[test]
fn keys_are_found_in_prose() {
    let text = "`mbcas.budget: \"300\"`, mbcas.minCPU. Not mbcas.dev/original, mbcas.local/mbcas:1, x-mbcas.mode.";
    assert_eq!(
        keys_in(text),
        ["mbcas.budget", "mbcas.minCPU"].map(str::to_owned).into()
    );
}

#[test]
fn the_admission_policy_knows_the_parsers_keys() {
    let file = workspace().join("chart/files/policies/annotations.yaml");
    let keys = keys_in(&std::fs::read_to_string(file).unwrap());
    assert_eq!(keys, known());
}

#[test]
fn documents_name_no_annotation_that_there_is_not() {
    let mut files = markdown(&workspace().join("docs"));
    files.extend(["README.md", "CHANGELOG.md"].map(|name| workspace().join(name)));
    for file in files.iter().filter(|file| file.exists()) {
        let keys = keys_in(&std::fs::read_to_string(file).unwrap());
        let unknown: Vec<_> = keys.difference(&known()).cloned().collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", file.display());
    }
}

#[test]
fn the_reference_names_every_annotation() {
    let file = workspace().join("docs/annotations.md");
    let text =
        std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let rows: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|key| key.starts_with("mbcas.") && !key.contains('/'))
        .map(str::to_owned)
        .collect();
    assert_eq!(rows, known());
}

/// The numbers that another agent is written by are the code's own.
#[test]
fn the_contract_has_the_codes_numbers() {
    let file = workspace().join("docs/contract.md");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let urgent = mbcas_market::claim::jump(Demand::ZERO).unwrap().fraction();
    let deadline = report::DEADLINE.as_millis();
    let [span, moment] = [
        StandingQueue::SPAN.as_secs(),
        u64::try_from(StandingQueue::MOMENT.as_millis()).unwrap(),
    ];
    assert!(text.contains("in the last eight seconds, and in eight looks at least"));
    assert_eq!(
        (span, StandingQueue::LOOKS),
        (8, 8),
        "these are words in the text"
    );
    for sentence in [
        format!("port {} of", demand::AGENT_PORT),
        format!("above {} a reader refuses", DemandReport::MAX_AGE_MS),
        format!("older than {} s", DemandReport::MAX_AGE_MS / 1_000),
        format!(
            "at most {} bytes, within {deadline} ms",
            demand::MAX_REPORT_BYTES
        ),
        format!("{} at the most, and without `wait`", demand::LONGEST_WAIT),
        format!("| {urgent} and 0.3 above its average"),
        format!("`q / (q + {})`", demand::QUEUE_HALF),
        format!(
            "stands at {} or above in two looks running, no more than {moment} ms apart",
            StandingQueue::JUMP
        ),
        format!("`{}{{namespace,pod,container}}`", demand::METRIC),
    ] {
        assert!(text.contains(&sentence), "it does not say: {sentence}");
    }
}
