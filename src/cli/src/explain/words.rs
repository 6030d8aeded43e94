//! Decisions in sentences, for people.

use super::Row;
use crate::output;

/// How many decisions the table of those before has.
const HISTORY: usize = 10;

/// The newest decision about each container in sentences, and a table of those before.
pub(super) fn words(rows: &[Row]) -> String {
    let name = |row: &Row| format!("{}/{}/{}", row.namespace, row.pod, row.container);
    let mut names: Vec<String> = rows.iter().map(name).collect();
    names.sort();
    names.dedup();
    let each = names.iter().map(|one| {
        let mut rows = rows.iter().filter(|row| name(row) == *one);
        let last = rows.next().map(last).unwrap_or_default();
        let before: Vec<_> = rows.take(HISTORY).map(cells).collect();
        if before.is_empty() {
            return last;
        }
        format!("{last}\n{}", output::table(&HEADER, before))
    });
    each.collect::<Vec<_>>().join("\n")
}

/// What a table of decisions has, as [`cells`] fills it.
const HEADER: [&str; 11] = [
    "DECIDED", "TURN", "NEED", "DEMAND", "BID", "GRANT", "REASON", "LIMIT", "WANTED", "REASON",
    "WRITTEN",
];

fn cells(row: &Row) -> Vec<String> {
    let written = match (&row.write, &row.held) {
        (Some(to), _) => format!("{to} {}", row.outcome.as_deref().unwrap_or_default()),
        (None, Some(held)) => (*held).to_owned(),
        (None, None) => "-".to_owned(),
    };
    let limit = row.limit.clone().unwrap_or_else(|| "-".to_owned());
    let texts = [
        &row.decided,
        row.turn,
        &row.need,
        &row.demand,
        &row.bid,
        &row.grant,
        row.grant_reason,
        &limit,
        &row.wanted,
        row.limit_reason,
        written.trim_end(),
    ];
    texts.map(str::to_owned).into()
}

fn last(row: &Row) -> String {
    let Row {
        decided,
        term,
        node,
        namespace,
        pod,
        container,
        ..
    } = row;
    let turn = match row.turn {
        "early" => "for a jump of demand",
        _ => "in a cycle",
    };
    let title = format!(
        "{namespace}/{pod}/{container} on node {node}, decided {turn} at {decided}, term {term}"
    );
    let write = row.write.as_ref();
    let write = write.map(|to| format!("{to}: {}", became(row.outcome.as_deref())));
    let is_as_wanted = row.held.is_none() && write.is_none();
    let limit = row.limit.as_deref().unwrap_or("none");
    let lines = [
        ("need", Some(row.need.clone())),
        (
            "budget",
            Some(format!(
                "{}{}, with a demand of {} a bid of {}",
                row.budget,
                if row.is_scaled {
                    " (what the total of its namespace's BudgetPolicy leaves of it)"
                } else {
                    ""
                },
                row.demand,
                row.bid
            )),
        ),
        ("doubt", row.doubt.clone()),
        ("floor", Some(row.floor.clone())),
        ("cap", Some(row.cap.clone())),
        (
            "grant",
            Some(format!("{}: {}", row.grant, row.grant_because)),
        ),
        ("limit", Some(limit.to_owned())),
        (
            "wanted",
            Some(format!("{}: {}", row.wanted, row.limit_because)),
        ),
        ("held", row.held_because.clone()),
        (
            "write",
            write.or_else(|| is_as_wanted.then(|| "none: the limit is as wanted".to_owned())),
        ),
        (
            "price",
            Some(format!("{} per millicore on this node", row.price)),
        ),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| {
        let value = value?;
        Some(format!("  {name:<8} {}\n", output::printable(&value)))
    });
    std::iter::once(output::printable(&title) + "\n")
        .chain(lines)
        .collect()
}

/// What became of a write, for people.
fn became(outcome: Option<&str>) -> &str {
    match outcome {
        Some("done") => "done, the kubelet has confirmed it",
        Some("unconfirmed") => "accepted, the kubelet has not confirmed it in time",
        Some("put_off") => "put off, what it waits for did not come in time",
        Some("quota") => "left out, a ResourceQuota has no room for it beside others",
        Some("write_budget") => "left out, the writes of this cycle bring more elsewhere",
        Some(word) => word,
        None => "nobody knows what became of it",
    }
}
