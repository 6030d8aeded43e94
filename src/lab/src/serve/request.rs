//! What a request asks for.

use std::time::Duration;

use super::MOST_MS;

/// The answer to the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `GET /work` or `GET /`, perhaps with a cost of its own.
    Work(Option<Duration>),
    /// A path that is not served.
    NotFound,
    /// Not a request, or a cost that is no whole number of milliseconds up to [`MOST_MS`].
    Malformed,
}

/// Reads the first line of a request's head.
pub(super) fn parse(head: &[u8]) -> Asked {
    let line = head
        .split(|b| *b == b'\r' || *b == b'\n')
        .next()
        .unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return Asked::Malformed;
    };
    let mut words = line.split(' ');
    let (Some("GET"), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Asked::Malformed;
    };
    match target.split_once('?').unwrap_or((target, "")) {
        ("/" | "/work", "") => Asked::Work(None),
        ("/work", query) => cost(query).map_or(Asked::Malformed, |cost| Asked::Work(Some(cost))),
        _ => Asked::NotFound,
    }
}

fn cost(query: &str) -> Option<Duration> {
    let digits = query.strip_prefix("ms=")?;
    let known = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let ms = digits
        .parse::<u32>()
        .ok()
        .filter(|ms| known && *ms <= MOST_MS)?;
    Some(Duration::from_millis(ms.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(target: &str) -> Asked {
        parse(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    #[test]
    fn a_request_may_name_its_cost() {
        assert_eq!(line("/"), Asked::Work(None));
        assert_eq!(line("/work"), Asked::Work(None));
        assert_eq!(
            line("/work?ms=12"),
            Asked::Work(Some(Duration::from_millis(12)))
        );
        assert_eq!(line("/work?ms=0"), Asked::Work(Some(Duration::ZERO)));
        assert_eq!(
            line("/work?ms=1000"),
            Asked::Work(Some(Duration::from_secs(1)))
        );
    }

    #[test]
    fn what_is_not_served_is_refused() {
        assert_eq!(line("/favicon.ico"), Asked::NotFound);
        for bad in [
            "/work?ms=1001",
            "/work?ms=-1",
            "/work?ms=+1",
            "/work?ms=",
            "/work?ms=1e3",
            "/work?s=1",
            "/a b",
        ] {
            assert_eq!(line(bad), Asked::Malformed, "{bad}");
        }
        for bad in [
            &b"POST / HTTP/1.1\r\n\r\n"[..],
            b"",
            b"\xff\xfe",
            b"GET /\r\n",
            b"GET / HTTP/2\r\n",
        ] {
            assert_eq!(parse(bad), Asked::Malformed);
        }
    }
}
