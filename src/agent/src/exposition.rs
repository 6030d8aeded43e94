//! The sum of one metric in Prometheus text form, read as it arrives.
//!
//! Only lines of the metric that was asked for are read closely; those must be
//! perfect. Memory is one line, however long the answer is.

use thiserror::Error;

/// The longest line that is read, in bytes.
const LINE_MAX: usize = 8 * 1024;

/// Why there is no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExpositionError {
    /// The answer has no sample of the metric.
    #[error("the answer has no sample of the metric")]
    Absent,
    /// A sample of the metric cannot be read.
    #[error("a sample of the metric is malformed")]
    Malformed,
    /// A sample's value is not a finite number from 0.
    #[error("a sample of the metric is not a finite number from 0 up")]
    Value,
    /// A line is longer than any sample is.
    #[error("a line of the answer has more than {LINE_MAX} bytes")]
    LongLine,
}

/// Adds up the samples of one metric.
#[derive(Debug)]
pub struct Sum<'a> {
    metric: &'a [u8],
    line: Vec<u8>,
    total: Option<f64>,
}

impl<'a> Sum<'a> {
    /// Sums the samples of `metric`, whatever their labels.
    pub const fn of(metric: &'a str) -> Self {
        Self {
            metric: metric.as_bytes(),
            line: Vec::new(),
            total: None,
        }
    }

    /// Takes in the next part of the answer.
    ///
    /// # Errors
    /// [`ExpositionError`] as soon as the sum is out of reach.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), ExpositionError> {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (head, tail) = bytes.split_at(end);
            self.extend(head)?;
            bytes = tail.get(1..).unwrap_or_default();
            self.take_line()?;
        }
        self.extend(bytes)
    }

    /// The sum, at the end of the answer.
    ///
    /// # Errors
    /// [`ExpositionError`], [`ExpositionError::Absent`] among them.
    pub fn finish(mut self) -> Result<f64, ExpositionError> {
        // The format asks for a line feed at the very end, and servers forget it.
        self.take_line()?;
        self.total.ok_or(ExpositionError::Absent)
    }

    fn extend(&mut self, part: &[u8]) -> Result<(), ExpositionError> {
        if self.line.len() + part.len() > LINE_MAX {
            return Err(ExpositionError::LongLine);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn take_line(&mut self) -> Result<(), ExpositionError> {
        let sample = sample(&self.line, self.metric);
        self.line.clear();
        if let Some(value) = sample? {
            self.total = Some(self.total.unwrap_or_default() + value);
        }
        Ok(())
    }
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
