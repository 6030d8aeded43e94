//! The address at which an application tells how it fares, and what is read there.

use std::fmt;
use std::str::FromStr;

/// The longest address, in bytes.
const LONGEST: usize = 1024;

/// The word before a metric that counts what waits.
const QUEUE: &str = "queue=";

/// The word before a metric that says how long requests take.
const LATENCY: &str = "latency=";

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
    pub queue: Option<String>,
    /// How long requests take.
    pub latency: Option<String>,
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
            (Some(queue), Some(latency)) => write!(f, "{QUEUE}{queue}&{LATENCY}{latency}"),
            (None, Some(latency)) => write!(f, "{LATENCY}{latency}"),
            (queue, None) => f.write_str(queue.as_deref().unwrap_or_default()),
        }
    }
}

impl FromStr for AppMetrics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const RULE: &str = "it must read http://localhost:PORT/PATH#METRIC, or have \
                            queue=METRIC, latency=METRIC or queue=METRIC&latency=METRIC after the #";
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
        let (queue, latency) = parts(metrics).ok_or(RULE)?;
        Ok(Self {
            port,
            path: path.to_owned(),
            format: format(queue.into_iter().chain(latency))?,
            queue: queue.map(str::to_owned),
            latency: latency.map(str::to_owned),
        })
    }
}

type Parts<'a> = (Option<&'a str>, Option<&'a str>);

/// What is written after the `#`: the queue's metric and the latency's.
fn parts(text: &str) -> Option<Parts<'_>> {
    if let Some((queue, latency)) = text.split_once('&') {
        let queue = queue.strip_prefix(QUEUE)?;
        return Some((Some(queue), Some(latency.strip_prefix(LATENCY)?)));
    }
    Some(match text.strip_prefix(LATENCY) {
        Some(latency) => (None, Some(latency)),
        None => (Some(text.strip_prefix(QUEUE).unwrap_or(text)), None),
    })
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
            let read = (app.format, app.queue.as_deref(), app.latency.as_deref());
            assert_eq!(read, (format, queue, latency), "{text}");
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
            let parts = (part(format), part(format));
            parts.prop_map(move |(queue, latency)| {
                let queue = (which != 1).then_some(queue);
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
        fn what_is_read_is_written_in_one_way(text in "(queue=|latency=|&|[a-z/]{0,3}){0,5}") {
            if let Ok(address) = metrics(&text) {
                prop_assert_eq!(address.to_string().replace("#queue=", "#"), format!("http://localhost:80/m#{text}").replace("#queue=", "#"));
            }
        }
    }
}
