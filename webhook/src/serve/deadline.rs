//! Until when an answer is of use.

use std::time::Duration;

/// How long a caller waits that does not say how long: as long as our own configurations have it.
pub(super) const USUAL: Duration = Duration::from_secs(2);

/// The longest time that is spent on a request, whatever the caller says.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// How long an answer may take, from the request's query. The API server sends
/// its own timeout as `timeout=2s`; an eighth of it stays for the way.
pub(super) fn allowed(query: Option<&str>) -> Duration {
    let asked = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| seconds(pair.strip_prefix("timeout=")?));
    asked.unwrap_or(USUAL).min(LONGEST) * 7 / 8
}

/// Go's notation as far as it is needed: a webhook's timeout is a whole number of seconds, 30 at the most.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?.parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_timeout_counts_less_an_eighth() {
        for (query, milliseconds) in [
            (None, 1_750),
            (Some("timeout=2s"), 1_750),
            (Some("a=b&timeout=1s&c"), 875),
            (Some("timeout=10s"), 8_750),
            (Some("timeout=30s"), 8_750),
            (Some("timeout=18446744073709551615s"), 8_750),
            (Some("timeout=0s"), 1_750),
            (Some("timeout=-1s"), 1_750),
            (Some("timeout=soon"), 1_750),
            (Some("notimeout=1s"), 1_750),
        ] {
            assert_eq!(
                allowed(query),
                Duration::from_millis(milliseconds),
                "{query:?}"
            );
        }
    }
}
