//! Where load may go: a literal address of this machine's own networks, and nowhere else.
//!
//! A load generator that takes names or public addresses is one typing error
//! away from somebody else's server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use thiserror::Error;

/// The most requests per second, all targets together.
pub const MOST_RATE: f64 = 2000.0;

/// One target.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What reports call it.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// The path of its requests, with the query.
    pub path: String,
    /// Requests per second, above 0 and up to [`MOST_RATE`].
    pub rate: f64,
}

/// Why a target is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// It is not in the form of one.
    #[error(
        "a target must read NAME=http://IP:PORT/PATH@RATE, for example web=http://127.0.0.1:8080/work@50"
    )]
    Form,
    /// The name is not one.
    #[error("a target's name must be lower case letters, digits and -, at most 63 of them")]
    Name,
    /// The address is a name or not an address at all.
    #[error(
        "{0:?} is not IP:PORT; names are refused, because only literal addresses are known to be this machine's own"
    )]
    Address(String),
    /// The address is not of this machine's own networks.
    #[error(
        "{0} is refused: load goes to loopback (127.0.0.0/8, ::1), private (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7) and carrier-grade NAT addresses (100.64.0.0/10) only"
    )]
    Foreign(IpAddr),
    /// The path holds what a path does not.
    #[error("a target's path must begin with / and hold printable ASCII without spaces or #")]
    Path,
    /// The rate is not one.
    #[error("a target's rate must be a number of requests per second above 0, at most {MOST_RATE}")]
    Rate,
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (name, rest) = text.split_once('=').ok_or(TargetError::Form)?;
        let rest = rest.strip_prefix("http://").ok_or(TargetError::Form)?;
        let (address, rest) = rest.split_at(rest.find('/').ok_or(TargetError::Form)?);
        let (path, rate) = rest.rsplit_once('@').ok_or(TargetError::Form)?;

        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(known) {
            return Err(TargetError::Name);
        }
        let shown = || TargetError::Address(address.chars().take(80).collect());
        let address: SocketAddr = address.parse().map_err(|_| shown())?;
        if address.port() == 0 {
            return Err(shown());
        }
        if !is_ours(address.ip()) {
            return Err(TargetError::Foreign(address.ip()));
        }
        if path.is_empty() || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(TargetError::Path);
        }
        let rate = rate
            .parse::<f64>()
            .ok()
            .filter(|rate| *rate > 0.0 && *rate <= MOST_RATE);
        let rate = rate.ok_or(TargetError::Rate)?;
        Ok(Self {
            name: name.to_owned(),
            address,
            path: path.to_owned(),
            rate,
        })
    }
}

/// Whether an address belongs to a network that cannot be anybody else's.
fn is_ours(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// Carrier-grade NAT, 100.64.0.0/10: the local cluster's own ranges lie there.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0b1100_0000 == 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Result<Target, TargetError> {
        text.parse()
    }

    #[test]
    fn a_target_is_read() {
        let web = target("web=http://100.64.3.4:8080/work?ms=12@37.5").unwrap();
        assert_eq!(
            (web.name.as_str(), web.path.as_str()),
            ("web", "/work?ms=12")
        );
        assert_eq!(web.address, "100.64.3.4:8080".parse().unwrap());
        assert!((web.rate - 37.5).abs() < 1e-9);
        assert_eq!(target("a=http://[::1]:80/@1").unwrap().path, "/");
    }

    #[test]
    fn only_our_own_networks_are_loaded() {
        let ours = [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "[::1]",
            "[fd00::1]",
            "[::ffff:10.0.0.1]",
        ];
        for ip in ours {
            assert!(target(&format!("a=http://{ip}:80/@1")).is_ok(), "{ip}");
        }
        let foreign = [
            "8.8.8.8",
            "172.32.0.1",
            "172.15.0.1",
            "192.169.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "[2001:db8::1]",
            "[fe80::1]",
            "[::]",
            "[::ffff:8.8.8.8]",
        ];
        for ip in foreign {
            let refused = target(&format!("a=http://{ip}:80/@1"));
            assert!(
                matches!(refused, Err(TargetError::Foreign(_))),
                "{ip} {refused:?}"
            );
        }
    }

    #[test]
    fn names_are_refused() {
        for name in [
            "localhost:80",
            "example.com:80",
            "127.1:80",
            "0x7f.0.0.1:80",
            "127.0.0.1",
            "127.0.0.1:0",
            "user@127.0.0.1:80",
            "127.0.0.1:99999",
        ] {
            let refused = target(&format!("a=http://{name}/@1"));
            assert!(
                matches!(refused, Err(TargetError::Address(_))),
                "{name} {refused:?}"
            );
        }
    }

    #[test]
    fn the_rest_is_strict_too() {
        for (text, expected) in [
            ("http://127.0.0.1:80/@1", TargetError::Form),
            ("a=https://127.0.0.1:80/@1", TargetError::Form),
            ("a=http://127.0.0.1:80@1", TargetError::Form),
            ("a=http://127.0.0.1:80/", TargetError::Form),
            ("=http://127.0.0.1:80/@1", TargetError::Name),
            ("A b=http://127.0.0.1:80/@1", TargetError::Name),
            ("a=http://127.0.0.1:80/a b@1", TargetError::Path),
            ("a=http://127.0.0.1:80/\r\n@1", TargetError::Path),
            ("a=http://127.0.0.1:80/@0", TargetError::Rate),
            ("a=http://127.0.0.1:80/@-1", TargetError::Rate),
            ("a=http://127.0.0.1:80/@NaN", TargetError::Rate),
            ("a=http://127.0.0.1:80/@inf", TargetError::Rate),
            ("a=http://127.0.0.1:80/@2000.1", TargetError::Rate),
        ] {
            assert_eq!(target(text), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z]{0,3}=)?(http://)?[0-9a-f.:\\[\\]]{0,20}(/[ -~]{0,5})?(@[0-9.e-]{0,5})?") {
            if let Ok(target) = target(&text) {
                prop_assert!(is_ours(target.address.ip()));
            }
        }
    }
}
