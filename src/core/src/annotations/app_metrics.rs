//! The address at which an application tells how it fares, and what is read there.

use std::fmt;
use std::str::FromStr;

/// The longest address, in bytes.
const LONGEST: usize = 1024;

/// The word before a metric that counts what waits.
const QUEUE: &str = "queue=";

/// The word before a metric that counts what is worked on and what waits, together,
const IN_FLIGHT: &str = "in_flight=";

/// and the word before the number of those that can be worked on, which is to follow it.
const WORKERS: &str = "workers=";

/// The word before a metric that says how long requests take.
const LATENCY: &str = "latency=";

const RULE: &str = "it must read http://localhost:PORT/PATH#METRIC, or have \
                    queue=METRIC, latency=METRIC or queue=METRIC&latency=METRIC after the #, \
                    where in_flight=METRIC&workers=N may stand for queue=METRIC";

const RULE_OF_ONE: &str =
    "it must have one of queue=METRIC and in_flight=METRIC&workers=N, not both";

const RULE_OF_WORKERS: &str = "its in_flight=METRIC must have &workers=N after it, where N, \
                               from 1 to 65535, is how many requests are worked on at once";

/// Where an application reports on itself, on the pod's own loopback, and which
/// of its numbers are read. At least one of them is.
///
/// It is written in one of these ways, where a `METRIC` is the name of a
/// Prometheus metric, `[a-zA-Z_:][a-zA-Z0-9_:]*`, or a JSON pointer (RFC 6901,
/// without its escapes), `(/[A-Za-z0-9_.-]+)+`. One document is read, so both
/// are of the same kind.
///
/// ```text
/// http://localhost:PORT/PATH#METRIC                        a queue
/// http://localhost:PORT/PATH#queue=METRIC                  the same
/// http://localhost:PORT/PATH#latency=METRIC
/// http://localhost:PORT/PATH#queue=METRIC&latency=METRIC   in this order only
/// ```
///
/// `in_flight=METRIC&workers=N`, with `N` from 1 to 65535, may stand in the place of `queue=METRIC`.
///
/// ```
/// use mbcas_core::annotations::{AppMetrics, Format};
/// let app: AppMetrics = "http://localhost:80/stats#queue=/jobs/waiting&latency=/p99".parse()?;
/// assert_eq!(app.format, Format::Json);
/// assert_eq!(app.latency.as_deref(), Some("/p99"));
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppMetrics {
    /// The port on localhost.
    pub port: u16,
    /// The path, with its leading slash.
    pub path: String,
    /// What is answered there, and so what the two below are.
    pub format: Format,
    /// The number of requests that wait.
    pub queue: Option<Queue>,
    /// How long requests take.
    pub latency: Option<String>,
}

/// How many requests wait in an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// What counts them.
    pub metric: String,
    /// Of what it counts, so many are worked on and do not wait; 0 where it counts only what waits.
    pub workers: u16,
}

impl Queue {
    /// Those that wait where the metric counts so many.
    pub fn waiting(&self, counted: u64) -> u64 {
        counted.saturating_sub(self.workers.into())
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.workers {
            0 => write!(f, "{QUEUE}{}", self.metric),
            workers => write!(f, "{IN_FLIGHT}{}&{WORKERS}{workers}", self.metric),
        }
    }
}

/// How an application's answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// As Prometheus text; a metric is known by its name.
    Prometheus,
    /// As JSON; a metric is known by the pointer to it.
    Json,
}

impl Format {
    /// That in which `metric` can be.
    fn of(metric: &str) -> Option<Self> {
        if is_pointer(metric) {
            Some(Self::Json)
        } else {
            is_name(metric).then_some(Self::Prometheus)
        }
    }
}

fn is_name(metric: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    metric
        .bytes()
        .next()
        .is_some_and(|b| word(b) && !b.is_ascii_digit())
        && metric.bytes().all(word)
}

fn is_pointer(metric: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(word);
    metric
        .strip_prefix('/')
        .is_some_and(|tokens| tokens.split('/').all(is_token))
}

/// A single queue is written without its word, as agents of the first version know it.
impl fmt::Display for AppMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://localhost:{}{}#", self.port, self.path)?;
        match (&self.queue, &self.latency) {
            (Some(queue), Some(latency)) => write!(f, "{queue}&{LATENCY}{latency}"),
            (None, Some(latency)) => write!(f, "{LATENCY}{latency}"),
            (Some(queue), None) if queue.workers == 0 => f.write_str(&queue.metric),
            (Some(queue), None) => queue.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

impl FromStr for AppMetrics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it must be at most {LONGEST} characters long"));
        }
        let rest = text.strip_prefix("http://localhost:").ok_or(RULE)?;
        let (address, metrics) = rest.split_once('#').ok_or(RULE)?;
        let (port, path) = address.split_at(address.find('/').ok_or(RULE)?);
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|p| digits && *p > 0);
        let port = port.ok_or("its port must be a number from 1 to 65535")?;
        if !path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-._~%".contains(&b))
        {
            return Err("its path may hold letters, digits and / - . _ ~ % only".to_owned());
        }
        let (queue, latency) = parts(metrics)?;
        let metric = queue.as_ref().map(|queue| &*queue.metric);
        Ok(Self {
            port,
            path: path.to_owned(),
            format: format(metric.into_iter().chain(latency))?,
            queue,
            latency: latency.map(str::to_owned),
        })
    }
}

type Parts<'a> = (Option<Queue>, Option<&'a str>);

/// What is written after the `#`: the queue and the latency's metric.
fn parts(text: &str) -> Result<Parts<'_>, String> {
    if let Some(latency) = text.strip_prefix(LATENCY) {
        return if latency.contains('&') {
            Err(RULE.to_owned())
        } else {
            Ok((None, Some(latency)))
        };
    }
    let queue = |metric: &str, workers| Queue {
        metric: metric.to_owned(),
        workers,
    };
    let (queue, rest) = if let Some(rest) = text.strip_prefix(IN_FLIGHT) {
        let (metric, rest) = rest.split_once('&').unwrap_or((rest, ""));
        let (number, rest) = cut(rest);
        (queue(metric, workers(number)?), rest)
    } else {
        let (metric, rest) = cut(text);
        let word = metric.strip_prefix(QUEUE);
        // Without its word a queue stands alone.
        if word.is_none() && rest.is_some() {
            return Err(RULE.to_owned());
        }
        (queue(word.unwrap_or(metric), 0), rest)
    };
    let latency = match rest {
        Some(rest) if rest.starts_with(QUEUE) && queue.workers == 0 => return Err(RULE.to_owned()),
        Some(rest) if rest.starts_with(QUEUE) || rest.starts_with(IN_FLIGHT) => {
            return Err(RULE_OF_ONE.to_owned());
        }
        Some(rest) => Some(rest.strip_prefix(LATENCY).ok_or(RULE)?),
        None => None,
    };
    Ok((Some(queue), latency))
}

/// What stands before the next sign &, and after it if there is one.
fn cut(text: &str) -> (&str, Option<&str>) {
    text.split_once('&')
        .map_or((text, None), |(part, rest)| (part, Some(rest)))
}

/// Digits only, and no leading zero.
fn workers(text: &str) -> Result<u16, String> {
    if text.starts_with(QUEUE) {
        return Err(RULE_OF_ONE.to_owned());
    }
    let number = text
        .strip_prefix(WORKERS)
        .filter(|number| !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit()));
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| RULE_OF_WORKERS.to_owned())
}

/// The one format that all of `metrics` have.
fn format<'a>(metrics: impl Iterator<Item = &'a str>) -> Result<Format, String> {
    let mut found = None;
    for metric in metrics {
        let format = Format::of(metric).ok_or(
            "its metric must match [a-zA-Z_:][a-zA-Z0-9_:]*, or (/[A-Za-z0-9_.-]+)+ in JSON",
        )?;
        if *found.get_or_insert(format) != format {
            return Err(
                "its metrics must both be names, or both pointers into JSON: one answer is read"
                    .to_owned(),
            );
        }
    }
    Ok(found.unwrap_or(Format::Prometheus))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metrics(text: &str) -> Result<AppMetrics, String> {
        format!("http://localhost:80/m#{text}").parse()
    }

    #[test]
    fn every_way_to_write_it_is_read() {
        use Format::{Json, Prometheus};
        for (text, format, queue, latency) in [
            ("q", Prometheus, Some("q"), None),
            ("queue", Prometheus, Some("queue"), None),
            ("queue=q", Prometheus, Some("q"), None),
            ("latency=l", Prometheus, None, Some("l")),
            ("queue=q&latency=l", Prometheus, Some("q"), Some("l")),
            (
                "queue=latency&latency=queue",
                Prometheus,
                Some("latency"),
                Some("queue"),
            ),
            ("/a", Json, Some("/a"), None),
            ("queue=/a/0/-", Json, Some("/a/0/-"), None),
            ("latency=/a.b", Json, None, Some("/a.b")),
            (
                "queue=/a_b&latency=/../9",
                Json,
                Some("/a_b"),
                Some("/../9"),
            ),
        ] {
            let app = metrics(text).unwrap();
            let plain = app.queue.filter(|queue| queue.workers == 0);
            let plain = plain.as_ref().map(|queue| &*queue.metric);
            let read = (app.format, plain, app.latency.as_deref());
            assert_eq!(read, (format, queue, latency), "{text}");
        }
    }

    #[test]
    fn what_is_in_flight_waits_but_for_what_is_worked_on() {
        for (text, metric, workers, latency) in [
            ("in_flight=n&workers=1", "n", 1, None),
            (
                "in_flight=n&workers=65535&latency=l",
                "n",
                65_535,
                Some("l"),
            ),
            (
                "in_flight=/a/n&workers=16&latency=/p",
                "/a/n",
                16,
                Some("/p"),
            ),
        ] {
            let app = metrics(text).unwrap();
            let queue = app.queue.unwrap();
            assert_eq!((&*queue.metric, queue.workers), (metric, workers), "{text}");
            assert_eq!(app.latency.as_deref(), latency, "{text}");
            let most = u64::from(workers);
            let waiting = [0, most - 1, most, most + 3].map(|counted| queue.waiting(counted));
            assert_eq!(waiting, [0, 0, 0, 3]);
        }
        let workers = "its in_flight=METRIC must have &workers=N";
        let both = "not both";
        for (text, rule) in [
            ("in_flight=n", workers),
            ("in_flight=n&", workers),
            ("in_flight=n&latency=l", workers),
            ("in_flight=n&latency=l&workers=4", workers),
            ("in_flight=n&workers=", workers),
            ("in_flight=n&workers=0", workers),
            ("in_flight=n&workers=04", workers),
            ("in_flight=n&workers=+4", workers),
            ("in_flight=n&workers=65536", workers),
            ("in_flight=n&workers=4.5", workers),
            ("in_flight=n&Workers=4", workers),
            ("in_flight=n&workers=4&", "or have queue=METRIC"),
            ("in_flight=n&workers=4&workers=4", "or have queue=METRIC"),
            ("latency=l&in_flight=n&workers=4", "or have queue=METRIC"),
            ("workers=4&in_flight=n", "or have queue=METRIC"),
            ("in_flight=n&queue=q", both),
            ("in_flight=n&workers=4&queue=q", both),
            ("in_flight=n&workers=4&in_flight=n", both),
            ("queue=q&in_flight=n&workers=4", both),
            ("in_flight=&workers=4", "its metric must match"),
            ("in_flight=/n&workers=4&latency=l", "both be names"),
            ("workers=4", "its metric must match"),
        ] {
            let refusal = metrics(text).unwrap_err();
            assert!(refusal.contains(rule), "{text}: {refusal}");
        }
    }

    #[test]
    fn near_misses_are_refused_with_their_rule() {
        let form = "or have queue=METRIC, latency=METRIC";
        let metric = "its metric must match";
        for (text, rule) in [
            ("q&l", form),
            ("q&latency=l", form),
            ("queue=q&l", form),
            ("latency=l&queue=q", form),
            ("queue=q&queue=r", form),
            ("latency=l&latency=m", form),
            ("queue=q&", form),
            ("&latency=l", form),
            ("queue=q&latency=l&", metric),
            ("queue=q&latency=l&latency=m", metric),
            ("", metric),
            ("queue=", metric),
            ("latency=", metric),
            ("queue=&latency=l", metric),
            ("queue=q&latency=", metric),
            ("queue=queue=q", metric),
            ("Queue=q", metric),
            ("latency =l", metric),
            ("errors=e", metric),
            ("/", metric),
            ("//a", metric),
            ("/a/", metric),
            ("a/b", metric),
            ("/a~1b", metric),
            ("/a b", metric),
            ("/a:b", metric),
            ("#q", metric),
            ("queue=/q&latency=l", "both be names"),
            ("queue=q&latency=/l", "both be names"),
        ] {
            let refusal = metrics(text).unwrap_err();
            assert!(refusal.contains(rule), "{text}: {refusal}");
        }
    }

    fn written() -> impl Strategy<Value = AppMetrics> {
        let part = |format| match format {
            Format::Prometheus => "[a-zA-Z_:][a-zA-Z0-9_:]{0,20}",
            Format::Json => "(/[A-Za-z0-9_.-]{1,8}){1,4}",
        };
        let format = prop_oneof![Just(Format::Prometheus), Just(Format::Json)];
        let parts = (format, 0..3).prop_flat_map(move |(format, which)| {
            let workers = prop_oneof![Just(0), any::<u16>()];
            let parts = (part(format), workers, part(format));
            parts.prop_map(move |(metric, workers, latency)| {
                let queue = (which != 1).then_some(Queue { metric, workers });
                (format, queue, (which != 0).then_some(latency))
            })
        });
        (1u16.., "/[a-z/._~%-]{0,20}", parts).prop_map(|(port, path, (format, queue, latency))| {
            AppMetrics {
                port,
                path,
                format,
                queue,
                latency,
            }
        })
    }

    proptest! {
        #[test]
        fn an_address_survives_its_own_text(address in written()) {
            prop_assert_eq!(address.to_string().parse::<AppMetrics>(), Ok(address));
        }

        #[test]
        fn what_is_read_is_written_in_one_way(text in "(queue=|latency=|in_flight=q&workers=|&|[0-9a-z/]{0,3}){0,5}") {
            if let Ok(address) = metrics(&text) {
                prop_assert_eq!(address.to_string().replace("#queue=", "#"), format!("http://localhost:80/m#{text}").replace("#queue=", "#"));
            }
        }
    }
}
