//! The controller that leads, asked through the API server: no way to the pods' network is needed.

use http::Request;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use mbcas_api::names::{ADMIN_PORT, CONTROLLER_LEASE};
use thiserror::Error;

use crate::args::Installation;
use crate::output;

/// Why the leader did not answer.
#[derive(Debug, Error)]
pub enum LeaderError {
    /// The Lease cannot be read.
    #[error("reading Lease {CONTROLLER_LEASE} of namespace {namespace} failed: {}; is MBCAS in another --controller-namespace?", output::words(.cause))]
    Lease {
        /// Where it was looked for.
        namespace: String,
        /// The cause.
        cause: Box<kube::Error>,
    },
    /// Nobody decides.
    #[error("no controller leads in namespace {0}: see mbcas check")]
    NoLeader(String),
    /// What it serves cannot be read.
    #[error("reading {path} of pod {pod} through the API server failed: {}; this needs `get` on pods/proxy in its namespace", output::words(.cause))]
    Read {
        /// The path.
        path: String,
        /// The leader.
        pod: String,
        /// The cause.
        cause: Box<kube::Error>,
    },
}

/// The controller that leads.
pub struct Leader {
    client: Client,
    namespace: String,
    /// Its pod.
    pub pod: String,
}

impl Leader {
    /// Finds it by its Lease.
    ///
    /// # Errors
    /// [`LeaderError::Lease`] and [`LeaderError::NoLeader`].
    pub async fn find(client: &Client, installation: &Installation) -> Result<Self, LeaderError> {
        let namespace = installation.controller_namespace.clone();
        let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
        let lease = leases.get(CONTROLLER_LEASE).await;
        let lease = lease.map_err(|cause| LeaderError::Lease {
            namespace: namespace.clone(),
            cause: Box::new(cause),
        })?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        // A pod's name and what tells its processes apart.
        let pod = holder.and_then(|holder| holder.rsplit_once('_').map(|(pod, _)| pod.to_owned()));
        let Some(pod) = pod else {
            return Err(LeaderError::NoLeader(namespace));
        };
        Ok(Self {
            client: client.clone(),
            namespace,
            pod,
        })
    }

    /// Reads what it serves on its admin port under `path`, which may have a query.
    ///
    /// # Errors
    /// [`LeaderError::Read`].
    pub async fn read(&self, path: &str) -> Result<String, LeaderError> {
        let failed = |cause: kube::Error| LeaderError::Read {
            path: path.to_owned(),
            pod: self.pod.clone(),
            cause: Box::new(cause),
        };
        let Self { namespace, pod, .. } = self;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{ADMIN_PORT}/proxy{path}");
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|why| failed(kube::Error::HttpError(why)))?;
        self.client.request_text(request).await.map_err(failed)
    }
}
