//! Finding the cluster.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use thiserror::Error;

use crate::args::Connection;

/// A cluster to talk to.
#[derive(Clone)]
pub struct Cluster {
    /// The way to its API server.
    pub client: Client,
    /// The namespace that was named, if one was.
    pub named: Option<String>,
    /// The namespace of the context.
    pub usual: String,
}

impl Cluster {
    /// The namespace to work in: the named one, else the context's.
    pub fn namespace(&self) -> &str {
        self.named.as_deref().unwrap_or(&self.usual)
    }
}

/// The objects of a kind in `namespace`, or in all.
pub fn objects<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(name) => Api::namespaced(client.clone(), name),
        None => Api::all(client.clone()),
    }
}

/// Why there is no cluster to talk to.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig that was named cannot be used.
    #[error("the kubeconfig{} cannot be used: {source}", .context.as_ref().map(|c| format!(" (context {c:?})")).unwrap_or_default())]
    Kubeconfig {
        /// The context that was asked for.
        context: Option<String>,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// Nothing was named, and nothing was found.
    #[error("no cluster found: name a kubeconfig with --kubeconfig or KUBECONFIG ({0})")]
    None(kube::config::InferConfigError),
    /// The client cannot be built.
    #[error("the connection to the cluster cannot be set up: {0}")]
    Client(kube::Error),
}

/// Finds the cluster that `connection` names: a kubeconfig or context that was
/// named is used and nothing else; with neither, as kubectl does, and inside a
/// pod its service account.
///
/// # Errors
/// [`ConnectError`]; the API server itself is not asked anything yet.
pub async fn connect(connection: &Connection) -> Result<Cluster, ConnectError> {
    let config = if connection.kubeconfig.is_some() || connection.context.is_some() {
        named(connection)
            .await
            .map_err(|source| ConnectError::Kubeconfig {
                context: connection.context.clone(),
                source,
            })?
    } else {
        Config::infer().await.map_err(ConnectError::None)?
    };
    let usual = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(ConnectError::Client)?;
    Ok(Cluster {
        client,
        named: connection.namespace.clone(),
        usual,
    })
}

async fn named(connection: &Connection) -> Result<Config, kube::config::KubeconfigError> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        ..KubeConfigOptions::default()
    };
    match &connection.kubeconfig {
        Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await,
        None => Config::from_kubeconfig(&options).await,
    }
}
