//! Shapes of load over an hour or a day: from a file, or made up from a seed.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;

/// Seconds of a trace that is made up.
const HOUR: u32 = 3_600;

/// Seconds of one that is as long as a day.
const DAY: u32 = 24 * HOUR;

/// Why a trace cannot be used.
#[derive(Debug, Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("cannot read the trace {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is no whole number.
    #[error(
        "line {line} of the trace {path} is not a whole number: one rate per line, a line per second"
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: usize,
    },
    /// It has no load in it.
    #[error("the trace {path} holds no load")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a trace: one whole number per line, a line per second, as Autothrottle's
/// traces are. What counts is the shape: the result has mean one.
///
/// # Errors
/// [`TraceError`].
pub fn read(path: &Path) -> Result<Arc<[f64]>, TraceError> {
    let at = || path.to_owned();
    let text = std::fs::read_to_string(path)
        .map_err(|source| TraceError::Unreadable { path: at(), source })?;
    let lines = text.lines().enumerate();
    let rates: Result<Vec<f64>, _> = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let rate = line.trim().parse::<u32>().map(f64::from);
            rate.map_err(|_| TraceError::NotANumber {
                path: at(),
                line: index + 1,
            })
        })
        .collect();
    normalised(rates?).ok_or_else(|| TraceError::Empty { path: at() })
}

/// An hour with a day's tide in it, bursts that come at random, and noise, of
/// mean one. Like Autothrottle's traces its peak is about half as much again as its mean.
pub fn made_up(seed: u64) -> Arc<[f64]> {
    let phase = ChaCha8Rng::seed_from_u64(seed).random();
    tidal(seed, HOUR, phase)
}

/// A day like the hour of [`made_up`]. Its tide is lowest at its beginning and highest at noon whatever the
/// seed, so that services of several seeds are busy together, as those of one place are.
pub fn made_up_day(seed: u64) -> Arc<[f64]> {
    tidal(seed, DAY, 0.75)
}

/// A day of an hour's shape: each second of it lasts 24. Of mean one as that is.
pub fn as_a_day(hour: &[f64]) -> Arc<[f64]> {
    let seconds = hour.iter().copied();
    seconds.flat_map(|rate| [rate; 24]).collect()
}

fn tidal(seed: u64, length: u32, phase: f64) -> Arc<[f64]> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let _: f64 = random.random();
    let (mut burst, mut noise) = (false, 0.0);
    let rates = (0..length).map(|second| {
        let tide = 1.0 + 0.35 * (TAU * (f64::from(second) / f64::from(length) + phase)).sin();
        // Bursts come every five minutes or so and last twelve seconds, in the mean.
        let turn = if burst { 1.0 / 12.0 } else { 1.0 / 300.0 };
        burst ^= random.random_bool(turn);
        // Noise that remembers half a minute, and stays within some tenths.
        noise = 0.97 * noise + 0.03 * (random.random::<f64>() - 0.5);
        tide * (1.0 + 2.0 * noise) * if burst { 1.4 } else { 1.0 }
    });
    normalised(rates.collect()).unwrap_or_else(|| Arc::from([1.0]))
}

#[allow(clippy::cast_precision_loss)] // thousands of lines
fn normalised(rates: Vec<f64>) -> Option<Arc<[f64]>> {
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    (mean > 0.0).then(|| rates.into_iter().map(|rate| rate / mean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mbcas-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_file_becomes_a_shape() {
        let path = file("good", "10\n20\n30\n");
        assert_eq!(&*read(&path).unwrap(), &[0.5, 1.0, 1.5]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        let bad = file("bad", "10\nmany\n");
        assert!(
            read(&bad)
                .unwrap_err()
                .to_string()
                .starts_with("line 2 of the trace")
        );
        let empty = file("empty", "0\n0\n");
        assert!(matches!(read(&empty), Err(TraceError::Empty { .. })));
        std::fs::remove_file(bad).unwrap();
        std::fs::remove_file(empty).unwrap();
        assert!(matches!(
            read(Path::new("/nowhere")),
            Err(TraceError::Unreadable { .. })
        ));
    }

    #[test]
    fn a_day_is_low_at_night_and_an_hour_can_be_stretched_to_one() {
        let day = made_up_day(3);
        let during = |hour: usize| day[hour * 3_600..][..3_600].iter().sum::<f64>() / 3_600.0;
        assert_eq!(day.len(), 86_400);
        assert!(during(0) < 0.8 && during(12) > 1.2, "{}", during(12));
        let stretched = as_a_day(&[0.5, 1.5]);
        assert_eq!(stretched.len(), 48);
        assert!(stretched[..24].iter().all(|rate| (rate - 0.5).abs() < 1e-9));
    }

    #[test]
    fn what_is_made_up_is_the_seeds_alone_and_of_mean_one() {
        let (one, again, other) = (made_up(1), made_up(1), made_up(2));
        assert!(one == again && one != other);
        let mean = one.iter().sum::<f64>() / f64::from(HOUR);
        let (least, most) = one
            .iter()
            .fold((9.0, 0.0), |(l, m), v| (v.min(l), v.max(m)));
        assert!(
            (mean - 1.0).abs() < 1e-9 && least > 0.3 && most < 2.6,
            "{least} {most}"
        );
    }
}
