//! One metric in Prometheus text form, read as it arrives: the [`Sum`] of its samples, or its
//! [`Buckets`].
//!
//! Only lines of the metric that was asked for are read closely; those must be
//! perfect. Memory is one line, however long the answer is.

use mbcas_core::exposition::label;
use thiserror::Error;

/// The longest line that is read, in bytes.
const LINE_MAX: usize = 8 * 1024;

/// The most buckets that a histogram has.
const BUCKETS_MAX: usize = 256;

/// Why the metric says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExpositionError {
    /// The answer has no sample of the metric.
    #[error("the answer has no sample of the metric")]
    Absent,
    /// A sample of the metric cannot be read.
    #[error("a sample of the metric is malformed")]
    Malformed,
    /// A sample's value, or the sum of several, is not a finite number from 0.
    #[error("a sample of the metric, or their sum, is not a finite number from 0 up")]
    Value,
    /// A line is longer than any sample is.
    #[error("a line of the answer has more than {LINE_MAX} bytes")]
    LongLine,
    /// A histogram without its last bucket, or with more than any has.
    #[error("the metric is no histogram: it has no bucket le=\"+Inf\", or more than {BUCKETS_MAX}")]
    Histogram,
}

/// Cuts an answer into lines.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), ExpositionError>,
    ) -> Result<(), ExpositionError> {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (head, tail) = bytes.split_at(end);
            self.extend(head)?;
            bytes = tail.get(1..).unwrap_or_default();
            let outcome = each(&self.0);
            self.0.clear();
            outcome?;
        }
        self.extend(bytes)
    }

    fn extend(&mut self, part: &[u8]) -> Result<(), ExpositionError> {
        if self.0.len() + part.len() > LINE_MAX {
            return Err(ExpositionError::LongLine);
        }
        self.0.extend_from_slice(part);
        Ok(())
    }
}

/// Adds up the samples of one metric.
#[derive(Debug)]
pub struct Sum<'a> {
    metric: &'a [u8],
    lines: Lines,
    total: Option<f64>,
}

impl<'a> Sum<'a> {
    /// Sums the samples of `metric`, whatever their labels.
    pub const fn of(metric: &'a str) -> Self {
        Self {
            metric: metric.as_bytes(),
            lines: Lines(Vec::new()),
            total: None,
        }
    }

    /// Takes in the next part of the answer.
    ///
    /// # Errors
    /// [`ExpositionError`] as soon as the sum is out of reach.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ExpositionError> {
        let Self {
            metric,
            lines,
            total,
        } = self;
        lines.push(bytes, |line| {
            if let Some((_, value)) = sample(line, metric)? {
                *total = Some(added(total.unwrap_or_default(), value)?);
            }
            Ok(())
        })
    }

    /// The sum, at the end of the answer.
    ///
    /// # Errors
    /// [`ExpositionError`], [`ExpositionError::Absent`] among them.
    pub fn finish(mut self) -> Result<f64, ExpositionError> {
        // The format asks for a line feed at the very end, and servers forget it.
        self.push(b"\n")?;
        self.total.ok_or(ExpositionError::Absent)
    }
}

/// Finite numbers may have a sum that is none.
fn added(sum: f64, value: f64) -> Result<f64, ExpositionError> {
    let sum = sum + value;
    sum.is_finite().then_some(sum).ok_or(ExpositionError::Value)
}

/// The buckets of one histogram: upper bounds in growing order, with all that is at most so much.
pub type Histogram = Vec<(f64, f64)>;

/// Collects the buckets of one histogram.
#[derive(Debug)]
pub struct Buckets {
    metric: String,
    lines: Lines,
    found: Histogram,
}

impl Buckets {
    /// Collects the buckets of the histogram `name`, those of the same bound added up.
    pub fn of(name: &str) -> Self {
        Self {
            metric: format!("{name}_bucket"),
            lines: Lines::default(),
            found: Vec::new(),
        }
    }

    /// Takes in the next part of the answer.
    ///
    /// # Errors
    /// [`ExpositionError`] as soon as the histogram is out of reach.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ExpositionError> {
        let Self {
            metric,
            lines,
            found,
        } = self;
        lines.push(bytes, |line| {
            let Some((labels, count)) = sample(line, metric.as_bytes())? else {
                return Ok(());
            };
            let bound = bound(labels).ok_or(ExpositionError::Malformed)?;
            if let Some((_, sum)) = found
                .iter_mut()
                .find(|(known, _)| known.total_cmp(&bound).is_eq())
            {
                *sum = added(*sum, count)?;
            } else if found.len() < BUCKETS_MAX {
                found.push((bound, count));
            } else {
                return Err(ExpositionError::Histogram);
            }
            Ok(())
        })
    }

    /// The histogram, at the end of the answer.
    ///
    /// # Errors
    /// [`ExpositionError`], [`ExpositionError::Absent`] among them.
    pub fn finish(mut self) -> Result<Histogram, ExpositionError> {
        self.push(b"\n")?;
        if self.found.is_empty() {
            return Err(ExpositionError::Absent);
        }
        self.found.sort_by(|a, b| a.0.total_cmp(&b.0));
        match self.found.last() {
            Some((last, _)) if last.is_infinite() && *last > 0.0 => Ok(self.found),
            _ => Err(ExpositionError::Histogram),
        }
    }
}

/// The bound of a bucket: its label `le`.
fn bound(labels: &str) -> Option<f64> {
    let bound: f64 = label(labels, "le")?.parse().ok()?;
    (!bound.is_nan()).then_some(bound)
}

/// The labels of a line, and its value, if it is a sample of `metric`. Beyond what Prometheus' text form
/// asks for it may have an exemplar and a time in fractions, as in OpenMetrics.
fn sample<'a>(line: &'a [u8], metric: &[u8]) -> Result<Option<(&'a str, f64)>, ExpositionError> {
    let Some(rest) = line.trim_ascii().strip_prefix(metric) else {
        return Ok(None);
    };
    // A longer name that begins like ours is another's.
    if !matches!(rest.first(), None | Some(b'{' | b' ' | b'\t')) {
        return Ok(None);
    }
    let rest = std::str::from_utf8(rest).map_err(|_| ExpositionError::Malformed)?;
    let (labels, value) = parts(rest).ok_or(ExpositionError::Malformed)?;
    if value.is_finite() && value >= 0.0 {
        Ok(Some((labels, value)))
    } else {
        Err(ExpositionError::Value)
    }
}

fn parts(text: &str) -> Option<(&str, f64)> {
    let (labels, rest) = labelled(text).unwrap_or(("", text));
    let (own, exemplar) = match rest.split_once(" # ") {
        Some((own, exemplar)) => (own, Some(exemplar)),
        None => (rest, None),
    };
    if let Some(exemplar) = exemplar {
        number_and_time(labelled(exemplar)?.1)?;
    }
    Some((labels, number_and_time(own)?))
}

/// A number, and a time after it or none.
fn number_and_time(text: &str) -> Option<f64> {
    let mut fields = text.split_ascii_whitespace().map(str::parse::<f64>);
    let number = fields.next()?.ok()?;
    let is_time = |field: Result<f64, _>| field.is_ok_and(f64::is_finite);
    (fields.next().is_none_or(is_time) && fields.next().is_none()).then_some(number)
}

/// A set of labels and what follows: the brace that closes it is the first one outside quotes.
fn labelled(text: &str) -> Option<(&str, &str)> {
    let inside = text.trim_ascii_start().strip_prefix('{')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some((&inside[..at], &inside[at + 1..])),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
