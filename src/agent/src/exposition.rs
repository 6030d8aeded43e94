//! One metric in Prometheus text form, read as it arrives: the [`Sum`] of its samples, or its
//! [`Buckets`].
//!
//! Only lines of the metric that was asked for are read closely; those must be
//! perfect. Memory is one line, however long the answer is.

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
            if let Some(value) = sample(line, metric)? {
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
            let Some(count) = sample(line, metric.as_bytes())? else {
                return Ok(());
            };
            let bound = bound(line, metric).ok_or(ExpositionError::Malformed)?;
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
fn bound(line: &[u8], metric: &str) -> Option<f64> {
    let line = std::str::from_utf8(line.trim_ascii()).ok()?;
    let text = mbcas_core::exposition::samples(line, metric).next()?;
    let bound: f64 = text.label("le")?.parse().ok()?;
    (!bound.is_nan()).then_some(bound)
}

/// The value of a line if it is a sample of `metric`.
fn sample(line: &[u8], metric: &[u8]) -> Result<Option<f64>, ExpositionError> {
    let Some(rest) = line.trim_ascii().strip_prefix(metric) else {
        return Ok(None);
    };
    let rest = match rest.first() {
        Some(b'{') => after_labels(rest).ok_or(ExpositionError::Malformed)?,
        Some(b' ' | b'\t') => rest,
        None => return Err(ExpositionError::Malformed),
        // A longer name that begins like ours.
        Some(_) => return Ok(None),
    };
    let rest = std::str::from_utf8(rest).map_err(|_| ExpositionError::Malformed)?;
    let mut fields = rest.split_ascii_whitespace();
    let value = fields.next().ok_or(ExpositionError::Malformed)?;
    if fields
        .next()
        .is_some_and(|stamp| stamp.parse::<i64>().is_err())
        || fields.next().is_some()
    {
        return Err(ExpositionError::Malformed);
    }
    let value: f64 = value.parse().map_err(|_| ExpositionError::Malformed)?;
    if value.is_finite() && value >= 0.0 {
        Ok(Some(value))
    } else {
        Err(ExpositionError::Value)
    }
}

/// What follows a set of labels: the brace that closes it is the first one outside quotes.
fn after_labels(text: &[u8]) -> Option<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return text.get(at + 1..),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
