//! Stopping the controller, which would undo the restoring.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use mbcas_api::names::{CLI_FIELD_MANAGER, CONTROLLER_DEPLOYMENT};
use serde_json::json;
use thiserror::Error;

use crate::output;

/// How long the controller's pods may take to go.
const LONGEST: Duration = Duration::from_mins(1);
/// How often they are counted.
const POLL: Duration = Duration::from_secs(1);
/// The labels of the controller's pods.
const PODS: &str = "app.kubernetes.io/component=controller,app.kubernetes.io/part-of=mbcas";

/// Why the controller goes on.
#[derive(Debug, Error)]
pub enum StopError {
    /// The API server refused, or did not answer.
    #[error("stopping the controller in namespace {namespace} failed: {}", output::words(.cause))]
    Failed {
        /// Where it is installed.
        namespace: String,
        /// The cause.
        cause: Box<kube::Error>,
    },
    /// Its pods do not go.
    #[error(
        "the controller in namespace {namespace} was scaled to 0, but {left} of its pods are still there after {LONGEST:?}: nothing was restored, run the command again"
    )]
    Stays {
        /// Where it is installed.
        namespace: String,
        /// Pods that are left.
        left: usize,
    },
}

/// Scales the controller to 0 and waits until no pod of it is left. One that is
/// not there is stopped already, but a pod of it may still be.
///
/// # Errors
/// [`StopError`]
pub(super) async fn stop_controller(client: &Client, namespace: &str) -> Result<(), StopError> {
    let failed = |cause| StopError::Failed {
        namespace: namespace.to_owned(),
        cause: Box::new(cause),
    };
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    let params = PatchParams {
        field_manager: Some(CLI_FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match deployments
        .patch_scale(CONTROLLER_DEPLOYMENT, &params, &patch)
        .await
    {
        Ok(_) => output::progress(&format!(
            "the controller in namespace {namespace} is scaled to 0"
        )),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            output::progress(&format!("there is no controller in namespace {namespace}"));
        }
        Err(error) => return Err(failed(error)),
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut left = 0;
    let gone = async {
        loop {
            let now = pods
                .list(&ListParams::default().labels(PODS))
                .await?
                .items
                .len();
            if now == 0 {
                return Ok(());
            }
            if now != left {
                output::progress(&format!("waiting until {now} of its pods are gone"));
            }
            left = now;
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(LONGEST, gone).await {
        Ok(gone) => gone.map_err(failed),
        Err(_) => Err(StopError::Stays {
            namespace: namespace.to_owned(),
            left,
        }),
    }
}

#[cfg(test)]
mod tests;
