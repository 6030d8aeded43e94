//! The table, and the statements that are checked against it.

use std::io::IsTerminal;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use super::DemoError;
use super::record::{Grants, Observed, Phase, Run};

/// How far a share of CPU above the floors may be from the share of budgets, relative.
const TOLERANCE: f64 = 0.10;

/// The least time over which shares are judged, in seconds.
const LEAST_SECONDS: f64 = 60.0;

/// One statement, and whether it holds.
#[derive(Debug, PartialEq, Eq)]
struct Statement {
    holds: bool,
    claim: &'static str,
    figures: String,
}

/// Prints everything, and fails unless every statement holds.
#[allow(clippy::print_stdout)] // this is the command's answer
pub(super) fn print(
    grants: &(Grants, Grants),
    runs: &(Run, Run),
    refusal: &str,
) -> Result<(), DemoError> {
    let (observed, acted) = runs;
    println!("\nThe first service within its grant, the others saturated");
    println!("{}", table(&observed.within, &acted.within));
    println!("\nAll three saturated; a time-out counts as a violation");
    println!("{}", table(&observed.saturated, &acted.saturated));
    println!("observe: MBCAS measures and writes nothing. auto: the same load, with MBCAS acting.");
    println!(
        "CPU in millicores; late: share of requests over 100 ms, timed out, failed or dropped.\n"
    );
    let statements = [
        shares(&acted.saturated),
        restarts(&[
            &observed.within,
            &observed.saturated,
            &acted.within,
            &acted.saturated,
        ]),
        neighbours(&grants.0, &grants.1),
        refused(refusal),
    ];
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for statement in &statements {
        println!("{} {}", verdict(statement.holds, colour), statement.claim);
        println!("         {}", statement.figures);
    }
    let failed = statements
        .iter()
        .filter(|statement| !statement.holds)
        .count();
    if failed == 0 {
        Ok(())
    } else {
        Err(DemoError::Refuted(failed))
    }
}

fn verdict(holds: bool, colour: bool) -> &'static str {
    match (holds, colour) {
        (true, true) => "\u{1b}[32mholds  \u{1b}[0m ",
        (true, false) => "holds   ",
        (false, true) => "\u{1b}[31mFAILS  \u{1b}[0m ",
        (false, false) => "FAILS   ",
    }
}

fn table(observed: &Phase, acted: &Phase) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header([
        "service",
        "budget",
        "offered/s",
        "mode",
        "demand",
        "limit",
        "CPU used",
        "p50 ms",
        "p95 ms",
        "late",
        "restarts app/agent",
    ]);
    let mut services: Vec<_> = acted.services.iter().collect();
    services.sort_by_key(|(_, service)| std::cmp::Reverse(service.budget));
    for (name, service) in services {
        if let Some(before) = observed.services.get(name) {
            table.add_row(row(name, "observe", before));
        }
        table.add_row(row("", "auto", service));
    }
    for column in [1, 2, 4, 5, 6, 7, 8, 9, 10] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(name: &str, mode: &str, service: &Observed) -> Vec<String> {
    let named = |text: String| if name.is_empty() { String::new() } else { text };
    let milliseconds = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
    vec![
        name.to_owned(),
        named(service.budget.to_string()),
        named(format!("{:.1}", service.load.rate)),
        mode.to_owned(),
        format!("{:.2}", service.demand),
        format!("{}m", service.limit),
        format!("{}m", service.used),
        milliseconds(service.load.p50_ms),
        milliseconds(service.load.p95_ms),
        format!("{:.1} %", service.load.violation_share * 100.0),
        format!("{}/{}", service.app_restarts, service.agent_restarts),
    ]
}

/// CPU used above the floors follows the budgets.
#[allow(clippy::cast_precision_loss)] // millicores of one node
fn shares(phase: &Phase) -> Statement {
    let above: u64 = phase
        .services
        .values()
        .map(|s| s.used.saturating_sub(s.floor))
        .sum();
    let budgets: u64 = phase.services.values().map(|s| s.budget).sum();
    let mut services: Vec<_> = phase.services.iter().collect();
    services.sort_by_key(|(_, service)| std::cmp::Reverse(service.budget));
    let mut worst: f64 = 0.0;
    let mut parts = Vec::new();
    for (name, service) in services {
        let due = service.budget as f64 / budgets as f64;
        let got = service.used.saturating_sub(service.floor) as f64 / above.max(1) as f64;
        let off = got / due - 1.0;
        worst = worst.max(off.abs());
        parts.push(format!(
            "{name} {:.1} % for {:.1} % of the budgets ({:+.1} %)",
            got * 100.0,
            due * 100.0,
            off * 100.0
        ));
    }
    let long_enough = phase.seconds >= LEAST_SECONDS;
    let figures = format!(
        "{}; over {:.0} s, {} limits written in the two cycles before and meanwhile",
        parts.join(", "),
        phase.seconds,
        phase.writes,
    );
    Statement {
        holds: worst <= TOLERANCE && long_enough && phase.writes == 0 && above > 0,
        claim: "CPU used above the floors follows the budgets within 10 %, all saturated, by the kernel's counters",
        figures,
    }
}

fn restarts(phases: &[&Phase]) -> Statement {
    let all = || phases.iter().flat_map(|phase| phase.services.values());
    let app = all().map(|service| service.app_restarts).max().unwrap_or(0);
    let agents = all()
        .map(|service| service.agent_restarts)
        .max()
        .unwrap_or(0);
    let figures = format!("restarts of app containers: {app}; of agents: {agents}");
    Statement {
        holds: app == 0,
        claim: "No app container was restarted",
        figures,
    }
}

/// The neighbours cost the market at most what their requests and the kernel's weights give them anyway.
fn neighbours(quiet: &Grants, noisy: &Grants) -> Statement {
    let sum = |grants: &Grants| grants.services.values().map(|s| s.grant).sum::<u64>();
    let floors: u64 = noisy.services.values().map(|s| s.floor).sum();
    let (before, after) = (sum(quiet), sum(noisy));
    // Equal requests, so that the neighbour with one weighs as much as each service.
    let by_weight = noisy.allocatable / (noisy.services.len() as u64 + 1);
    let lost = before.saturating_sub(after);
    let by_usage = noisy
        .capacity
        .min(noisy.allocatable.saturating_sub(noisy.noise_used))
        .max(floors);
    let figures = format!(
        "granted before {before}m, beside them {after}m: {lost}m less, at most {by_weight}m is one equal weight of {}m; \
         they burn {}m, and a rule that subtracts usage would leave {by_usage}m (floors {floors}m)",
        noisy.allocatable, noisy.noise_used,
    );
    let claim = "The noisy neighbours do not talk the participants down: they cost at most their weight share";
    Statement {
        holds: lost <= by_weight && after > floors && noisy.noise_used > 0,
        claim,
        figures,
    }
}

fn refused(answer: &str) -> Statement {
    let holds = answer.contains("mbcas.budget")
        && answer.contains("lots")
        && answer.contains("1 to 1000000");
    let words = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    Statement {
        holds,
        claim: "A pod with mbcas.budget: \"lots\" was refused, in these words:",
        figures: words,
    }
}

#[cfg(test)]
mod tests;
