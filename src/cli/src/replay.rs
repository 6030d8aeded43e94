//! `mbcas replay`: decides again what was recorded, and compares bit for bit.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use mbcas_api::names::DECISIONS_PATH;
use mbcas_market::decision::{Decision, DecisionError};
use serde::Serialize;
use thiserror::Error;

use crate::args::{Connection, ReplayArgs};
use crate::connect::{self, ConnectError};
use crate::explain::moment;
use crate::input;
use crate::leader::{Leader, LeaderError};
use crate::output::{self, Format, OutputError, Report};

/// Why nothing was replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// There is no cluster to talk to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The leader cannot be asked.
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// The file cannot be read.
    #[error("reading {} failed: {cause}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// The file cannot be written.
    #[error("writing the record to {} failed: {cause}", .file.display())]
    Save {
        /// The file.
        file: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// A line is no decision.
    #[error("reading {record} failed in line {line}: {cause}")]
    Line {
        /// Of what.
        record: String,
        /// Where, from 1.
        line: usize,
        /// The cause.
        cause: DecisionError,
    },
    /// There is nothing to replay.
    #[error("{0} has no decision: a leader has one after its first cycle with a participant")]
    Empty(String),
    /// The result cannot be written down.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What came of deciding again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// How many decisions there are.
    pub decisions: usize,
    /// Of how many nodes.
    pub nodes: usize,
    /// How many are the same again.
    pub equal: usize,
    /// Of each other one the first difference.
    pub differences: Vec<Differing>,
}

/// A decision that is another one now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Differing {
    /// Its line in the record, from 1.
    pub line: usize,
    /// When it was made, in UTC.
    pub decided: String,
    /// The node.
    pub node: String,
    /// Container, field and both values.
    pub difference: String,
}

/// Carries out the command.
///
/// # Errors
/// [`ReplayError`]; that a decision differs is none.
pub async fn run(connection: &Connection, args: &ReplayArgs) -> Result<Report, ReplayError> {
    let (name, record) = match &args.file {
        Some(file) => {
            let read = input::read(file).map_err(|cause| ReplayError::Read {
                file: file.clone(),
                cause,
            })?;
            (file.display().to_string(), read)
        }
        None => told(connection, args).await?,
    };
    let verdict = replay(&name, &record)?;
    let text = match args.output {
        Format::Json => output::json(&verdict)?,
        Format::Yaml => output::yaml(&verdict)?,
        Format::Table => verdict.to_string(),
    };
    let failed = !verdict.differences.is_empty();
    Ok(Report { text, failed })
}

/// The leader's record, kept in a file if that is wanted.
async fn told(connection: &Connection, args: &ReplayArgs) -> Result<(String, String), ReplayError> {
    let cluster = connect::connect(connection).await?;
    let leader = Leader::find(&cluster.client, &args.installation).await?;
    let record = leader.read(DECISIONS_PATH).await?;
    if let Some(file) = &args.save {
        std::fs::write(file, &record).map_err(|cause| ReplayError::Save {
            file: file.clone(),
            cause,
        })?;
    }
    Ok((format!("the record of pod {}", leader.pod), record))
}

/// Decides every line of `record` again.
fn replay(name: &str, record: &str) -> Result<Verdict, ReplayError> {
    let (mut nodes, mut differences, mut decisions) = (BTreeSet::new(), Vec::new(), 0);
    for (at, line) in record.lines().enumerate() {
        let place = at + 1;
        let decision = Decision::read(line).map_err(|cause| ReplayError::Line {
            record: name.to_owned(),
            line: place,
            cause,
        })?;
        decisions += 1;
        if let Err(difference) = decision.replay() {
            differences.push(Differing {
                line: place,
                decided: moment(decision.time),
                node: decision.snapshot.node.clone(),
                difference: difference.to_string(),
            });
        }
        nodes.insert(decision.snapshot.into_owned().node);
    }
    if decisions == 0 {
        return Err(ReplayError::Empty(name.to_owned()));
    }
    Ok(Verdict {
        decisions,
        nodes: nodes.len(),
        equal: decisions - differences.len(),
        differences,
    })
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.differences {
            let Differing {
                line,
                decided,
                node,
                difference,
            } = one;
            let text = format!("line {line}, node {node}, {decided}: {difference}");
            writeln!(f, "{}", output::printable(&text))?;
        }
        let Self {
            decisions,
            nodes,
            equal,
            differences,
        } = self;
        writeln!(
            f,
            "replayed {decisions} decisions about {nodes} nodes: {equal} equal, {} not",
            differences.len()
        )
    }
}

#[cfg(test)]
mod tests;
