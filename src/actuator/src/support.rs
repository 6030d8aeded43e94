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
    Ok(match resize {
        Some(resource) if resource.verbs.iter().any(|v| v == "patch") => Support::Supported,
        Some(_) => Support::Unsupported("pods/resize is served without the verb patch".to_owned()),
        None => Support::Unsupported(
            "the API server does not serve pods/resize: Kubernetes 1.33 or later has it switched on".to_owned(),
        ),
    })
}
