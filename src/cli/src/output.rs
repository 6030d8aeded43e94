//! Results for people and programs.
//!
//! Results go to stdout in one piece, progress to stderr. Colour is used on a
//! terminal only. Text of the cluster may hold what a tenant wrote, so control
//! characters never reach a terminal.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use mbcas_runtime::log;
use serde::Serialize;
use thiserror::Error;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// A result could not be written down.
#[derive(Debug, Error)]
#[error("writing the result down failed: {0}")]
pub struct OutputError(String);

/// The result of a command.
#[derive(Debug)]
pub struct Report {
    /// What goes to stdout.
    pub text: String,
    /// The exit status is 1.
    pub failed: bool,
}

impl Report {
    /// Prints the result and gives the exit status.
    pub fn finish(self) -> ExitCode {
        let mut stdout = std::io::stdout().lock();
        let written = stdout
            .write_all(self.text.as_bytes())
            .and_then(|()| stdout.flush());
        // A reader that has seen enough (`| head`) is no failure of ours.
        let lost = written.is_err_and(|e| e.kind() != std::io::ErrorKind::BrokenPipe);
        if self.failed || lost {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// How good something is, in three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but worth knowing.
    Warn,
    /// Does not work.
    Fail,
}

impl Level {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Fail => "\x1b[31m",
        }
    }
}

/// Whether stdout takes colour.
pub fn takes_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// An aligned table without lines. Empty columns stay; trailing blanks go.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().map(|h| (*h).to_owned()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let text = table.to_string();
    let lines = text.lines().map(str::trim_end);
    lines
        .flat_map(|line| {
            [
                line, "
",
            ]
        })
        .collect()
}

/// A level's word, four characters wide.
pub fn word(level: Level, colour: bool) -> String {
    if colour {
        format!("{}{:<4}\x1b[0m", level.colour(), level.word())
    } else {
        format!("{:<4}", level.word())
    }
}

/// As [`table`], where each row begins with a level.
pub fn levels(
    header: &[&str],
    rows: impl IntoIterator<Item = (Level, Vec<String>)>,
    colour: bool,
) -> String {
    let (levels, rows): (Vec<Level>, Vec<Vec<String>>) = rows.into_iter().unzip();
    let plain = table(header, rows);
    let blank = std::iter::once("    ".to_owned());
    let words = blank.chain(levels.into_iter().map(|level| word(level, colour)));
    let lines = words.zip(plain.lines());
    let lines: Vec<String> = lines
        .map(|(word, line)| {
            format!(
                "{word}  {line}
"
            )
        })
        .collect();
    lines.concat()
}

/// `text` on one line, without control characters.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// `value` as JSON for people and programs.
///
/// # Errors
/// [`OutputError`] if it cannot be written as JSON.
pub fn json(value: &impl Serialize) -> Result<String, OutputError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| OutputError(e.to_string()))?;
    Ok(text + "\n")
}

/// `value` as YAML.
///
/// # Errors
/// [`OutputError`] if it cannot be written as YAML.
pub fn yaml(value: &impl Serialize) -> Result<String, OutputError> {
    serde_saphyr::to_string(value).map_err(|e| OutputError(e.to_string()))
}

/// One line of progress, to stderr.
pub fn progress(line: &str) {
    // Nobody to tell is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

/// What the API server said, or why it said nothing.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => chain(other),
    }
}

/// An error with its causes: the outermost one of a failed connection says little.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// Logs of the libraries go to stderr; `MBCAS_LOG` says how much (default `off`:
/// what matters is said in the error).
pub fn init_log() {
    let asked = std::env::var("MBCAS_LOG").unwrap_or_else(|_| "off".to_owned());
    let filter = log::filter(&asked).or_else(|why| {
        progress(&format!("{why}; nothing is logged"));
        log::filter("off")
    });
    // Fails only if there is a log already.
    let _ = filter.and_then(|filter| log::start(filter, log::Format::Plain));
}

#[cfg(test)]
mod tests;
