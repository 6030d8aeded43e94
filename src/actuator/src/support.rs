//! Whether a cluster can resize pods in place at all.

use kube::Client;

/// What the API server's own discovery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// `pods/resize` is served and can be patched.
    Supported,
    /// It is not; the text says what is missing and what would mend it.
    Unsupported(String),
}

/// Asks the API server whether it serves `pods/resize`.
///
/// # Errors
/// Any failure of the question itself: an answer that did not come says nothing about the cluster.
pub async fn support(client: &Client) -> Result<Support, kube::Error> {
    let served = client.list_core_api_resources("v1").await?;
    let resize = served.resources.iter().find(|r| r.name == "pods/resize");
    // The alpha of 1.32 reports in another way, so that nothing would ever be confirmed.
    // Who does not tell its version is not held to it: discovery said that it can.
    let old = match resize {
        Some(_) => version(client)
            .await
            .ok()
            .flatten()
            .filter(|v| *v < Version::RESIZE),
        None => None,
    };
    Ok(match resize {
        Some(_) if old.is_some() => Support::Unsupported(
            "pods/resize is served as an alpha that reports in another way: Kubernetes 1.33 or later is needed".to_owned(),
        ),
        Some(resource) if resource.verbs.iter().any(|v| v == "patch") => Support::Supported,
        Some(_) => Support::Unsupported("pods/resize is served without the verb patch".to_owned()),
        None => Support::Unsupported(
            "the API server does not serve pods/resize: Kubernetes 1.33 or later has it switched on".to_owned(),
        ),
    })
}

/// A Kubernetes version, as far as resizing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Always 1 so far.
    pub major: u32,
    /// The 33 of 1.33.
    pub minor: u32,
}

impl Version {
    /// Before this one a resize is reported in another way (`status.resize`), and was off by default.
    pub const RESIZE: Self = Self {
        major: 1,
        minor: 33,
    };
    /// From this one on pods with resources of their own can be resized (KEP-5419),
    /// and an infeasible resize is refused instead of noted as a condition.
    pub const POD_LEVEL: Self = Self {
        major: 1,
        minor: 36,
    };

    /// Reads `major` and `minor` of `/version`; providers write `33+` there.
    pub fn parse(major: &str, minor: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        Some(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }

    /// Whether pods with pod-level resources can be resized.
    pub fn resizes_pod_level(self) -> bool {
        self >= Self::POD_LEVEL
    }
}

/// Asks the API server for its version; absent if it says something unreadable.
///
/// # Errors
/// Any failure of the question itself.
pub async fn version(client: &Client) -> Result<Option<Version>, kube::Error> {
    let info = client.apiserver_version().await?;
    Ok(Version::parse(&info.major, &info.minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_providers_write_them() {
        let at = |major, minor| Version::parse(major, minor);
        assert_eq!(at("1", "33"), Some(Version::RESIZE));
        assert_eq!(at("1", "36+"), Some(Version::POD_LEVEL));
        assert_eq!(at("1", "x"), None);
        assert!(!at("1", "35").unwrap().resizes_pod_level());
        assert!(at("1", "36").unwrap().resizes_pod_level());
        assert!(at("2", "0").unwrap().resizes_pod_level());
    }
}
