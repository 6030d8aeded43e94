//! Logging, the same in every process.

use std::io::{self, IsTerminal, Write, stderr};

use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PIPE_BUF;
use thiserror::Error;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{Data, LookupSpan, Registry};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How much is logged, and in which form. Lines go to standard error.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace), or levels per module, such as info,kube=debug.
    #[arg(
        long,
        env = "MBCAS_LOG",
        default_value = "info",
        value_name = "FILTER",
        global = true
    )]
    pub log_level: String,

    /// The form of a log line.
    #[arg(
        long,
        env = "MBCAS_LOG_FORMAT",
        default_value = "plain",
        value_name = "FORMAT",
        global = true
    )]
    pub log_format: Format,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; coloured on a terminal only.
    Plain,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter is not one.
    #[error(
        "log filter {filter:?} is refused ({why}); write a level such as info in --log-level or MBCAS_LOG"
    )]
    Filter {
        /// The text that was given.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something set up logging before.
    #[error("logging is set up already; set it up once, in main ({0})")]
    Twice(#[from] TryInitError),
}

impl LogArgs {
    /// Sets up logging for the whole process.
    ///
    /// # Errors
    /// [`LogError::Filter`] for a filter that cannot be read, [`LogError::Twice`] at the second call.
    pub fn init(&self) -> Result<(), LogError> {
        start(filter(&self.log_level)?, self.log_format)
    }
}

/// Sets up logging for the whole process: what passes `filter`, in that form.
///
/// # Errors
/// [`LogError::Twice`] at the second call.
pub fn start(filter: Targets, format: Format) -> Result<(), LogError> {
    start_over(Registry::default(), stderr, filter, format)
}

/// As [`start`], for a process that must not wait: lines for which there is no room, because nobody reads them, are
/// dropped. Of events alone: who opens no span does without the registry of them, which takes 32 kB.
///
/// # Errors
/// [`LogError::Twice`] at the second call.
pub fn start_flat(filter: Targets, format: Format) -> Result<(), LogError> {
    start_over(NoSpans, || Unwaiting, filter, format)
}

/// The same, with what knows the `spans`, and to what `writer` makes.
fn start_over<S, W>(spans: S, writer: W, filter: Targets, format: Format) -> Result<(), LogError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = layer()
        .with_writer(writer)
        .with_ansi(stderr().is_terminal());
    match format {
        Format::Plain => spans.with(lines).with(filter).try_init()?,
        Format::Json => {
            let lines = lines.json().flatten_event(true);
            spans.with(lines).with(filter).try_init()?;
        }
    }
    Ok(())
}

/// Standard error as far as it can be written to at once. A pipe that says it has room takes [`PIPE_BUF`] bytes without
/// waiting, where nobody else writes to it meanwhile: no other thread of ours does.
#[derive(Debug)]
struct Unwaiting;

impl Write for Unwaiting {
    /// It never fails: there is nobody to tell.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let error = stderr().lock();
        let mut room = [PollFd::new(&error, PollFlags::OUT)];
        let at_once = Timespec::default();
        let is_ready = poll(&mut room, Some(&at_once)).is_ok_and(|ready| ready > 0);
        if is_ready && room[0].revents().contains(PollFlags::OUT) {
            // What does not fit is cut, so that the next line stands alone.
            let mut part = [0; PIPE_BUF];
            let length = line.len().min(PIPE_BUF);
            part[..length].copy_from_slice(&line[..length]);
            part[length.saturating_sub(1)] = b'\n';
            let _ = rustix::io::write(&error, &part[..length]);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What knows of no spans, so that lines are written without.
#[derive(Debug)]
struct NoSpans;

impl Subscriber for NoSpans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
    }

    // None is enabled, so none of these is called.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}
}

impl<'a> LookupSpan<'a> for NoSpans {
    type Data = Data<'a>;

    fn span_data(&'a self, _: &Id) -> Option<Data<'a>> {
        None
    }
}

/// Reads a filter. Levels and modules are all there is to filter by: `EnvFilter` would bring regular expressions into
/// every process.
///
/// # Errors
/// [`LogError::Filter`] for what is not one, and for what [`Targets`] would take for something else: nothing for
/// errors everywhere, and a span for a module.
pub fn filter(text: &str) -> Result<Targets, LogError> {
    let refused = |why: &str| LogError::Filter {
        filter: text.to_owned(),
        why: why.to_owned(),
    };
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    if parts
        .iter()
        .any(|part| part.is_empty() || part.ends_with('='))
    {
        return Err(refused("a part of it is empty"));
    }
    if text.contains('[') {
        return Err(refused("it filters by levels and modules only"));
    }
    let filter: Result<Targets, ParseError> = parts.join(",").parse();
    filter.map_err(|why| refused(&why.to_string()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        log: LogArgs,
    }

    fn args(line: &[&str]) -> Result<LogArgs, clap::Error> {
        Cli::try_parse_from([&["test"], line].concat()).map(|cli| cli.log)
    }

    #[test]
    fn the_defaults_are_plain_lines_from_info_up() {
        let log = args(&[]).unwrap();
        assert_eq!(
            (log.log_level.as_str(), log.log_format),
            ("info", Format::Plain)
        );
        assert_eq!(filter(&log.log_level).unwrap().to_string(), "info");
    }

    #[test]
    fn a_filter_may_name_modules() {
        let log = args(&["--log-level", "info,kube=debug", "--log-format", "json"]).unwrap();
        assert_eq!(log.log_format, Format::Json);
        assert!(
            filter(&log.log_level)
                .unwrap()
                .to_string()
                .contains("kube=debug")
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_name() {
        let log = args(&["--log-level", "mbcas=loud"]).unwrap();
        let message = filter(&log.log_level).unwrap_err().to_string();
        assert!(
            message.contains("\"mbcas=loud\"") && message.contains("MBCAS_LOG"),
            "{message}"
        );
        for text in ["info,", "", "kube=", "mbcas[cycle]=debug"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
        let spaced = filter("info, kube=debug").unwrap();
        assert!(spaced.would_enable("kube", &tracing::Level::DEBUG));
        assert!(args(&["--log-format", "xml"]).is_err());
    }
}
