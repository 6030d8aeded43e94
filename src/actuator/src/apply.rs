//! Sending a planned resize to the API server.

use std::time::Duration;

use http::header::RETRY_AFTER;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, GetParams, Patch, PatchParams};
use kube::client::Body;
use kube::core::Request;
use kube::core::Status;

use crate::answer::{ApplyError, explain};
use crate::gate::{Gate, Open};
use crate::plan::{ResizePlan, plan};
use crate::refusal::Refusal;
use crate::request::ResizeRequest;

/// How often [`resize`] writes at most.
const ATTEMPTS: u32 = 5;

/// How long is waited after the first conflict; twice as long after each further one.
const BACKOFF: Duration = Duration::from_millis(50);

/// How long one request may take. A writer that leads by a Lease keeps 5 s free
/// between its last write and the end of the Lease, for what is on its way.
const ANSWER: Duration = Duration::from_secs(4);

/// What the API server has accepted.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The pod's generation with the new spec; a status that observed an older one says nothing about it.
    pub generation: Option<i64>,
    /// The pod as the server returned it.
    pub pod: Box<Pod>,
}

/// Sends `plan`; with `dry_run` the server checks everything and keeps nothing.
///
/// # Errors
/// [`ApplyError`], never [`ApplyError::Refused`] or [`ApplyError::Stopped`].
pub async fn apply(
    pods: &Api<Pod>,
    plan: &ResizePlan,
    dry_run: bool,
) -> Result<Applied, ApplyError> {
    let shown = || format!("{}/{}", plan.namespace, plan.pod);
    let mut params = PatchParams::apply(&plan.manager);
    params.force = plan.force;
    params.dry_run = dry_run;
    let failed = |source| ApplyError::Failed {
        pod: shown(),
        source: Box::new(source),
    };
    let request = Request::new(pods.resource_url())
        .patch_subresource("resize", &plan.pod, &params, &Patch::Apply(&plan.patch))
        .map_err(|error| failed(kube::Error::BuildRequest(error)))?;
    let pod = send(pods.clone().into_client(), request, &shown()).await?;
    Ok(Applied {
        generation: pod.metadata.generation,
        pod: Box::new(pod),
    })
}

/// As [`Client::request`], but with an end, and with an eye on the one header that counts.
async fn send(
    client: Client,
    request: http::Request<Vec<u8>>,
    shown: &str,
) -> Result<Pod, ApplyError> {
    let answering = async {
        let response = client.send(request.map(Body::from)).await?;
        let (head, body) = response.into_parts();
        Ok::<_, kube::Error>((head, body.collect_bytes().await?))
    };
    let failed = |source| ApplyError::Failed {
        pod: shown.to_owned(),
        source: Box::new(source),
    };
    let (head, bytes) = tokio::time::timeout(ANSWER, answering)
        .await
        .map_err(|_| ApplyError::Unanswered {
            pod: shown.to_owned(),
            after: ANSWER,
        })?
        .map_err(failed)?;
    if head.status.is_success() {
        return serde_json::from_slice(&bytes)
            .map_err(|error| failed(kube::Error::SerdeError(error)));
    }
    let status: Status = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&bytes);
        Status::failure(text.trim(), "NotAStatus").with_code(head.status.as_u16())
    });
    let seconds = head.headers.get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let error = kube::Error::Api(status.boxed());
    Err(explain(error, shown.to_owned(), seconds))
}

/// Reads the pod, plans, and applies; after a conflict it reads again, at most
/// five times and always the same incarnation. Returns the plan that was carried
/// out; one without changes was not sent.
///
/// # Errors
/// [`ApplyError`]; [`ApplyError::Stale`] and [`ApplyError::Busy`] only after the last attempt.
pub async fn resize(
    pods: &Api<Pod>,
    name: &str,
    request: &ResizeRequest,
    manager: &str,
    dry_run: bool,
) -> Result<(ResizePlan, Option<Applied>), ApplyError> {
    resize_through(&Open, pods, name, request, manager, dry_run).await
}

/// As [`resize`], and asks `gate` before every write.
///
/// # Errors
/// As [`resize`], and [`ApplyError::Stopped`] once the gate is closed.
pub async fn resize_through(
    gate: &impl Gate,
    pods: &Api<Pod>,
    name: &str,
    request: &ResizeRequest,
    manager: &str,
    dry_run: bool,
) -> Result<(ResizePlan, Option<Applied>), ApplyError> {
    let job = Job {
        pods,
        name,
        request,
        manager,
        dry_run,
    };
    let mut before = None;
    let mut attempt = 1;
    loop {
        if !gate.pass().await {
            return Err(ApplyError::Stopped(job.shown()));
        }
        let refused = match job.attempt(gate, &mut before).await {
            Ok(done) => return Ok(done),
            Err(refused) => refused,
        };
        match &refused {
            _ if attempt == ATTEMPTS => return Err(refused),
            ApplyError::Busy(wait) => gate.busy(*wait).await,
            ApplyError::Stale(_) | ApplyError::Contested { .. } if before.is_some() => {
                let wait = BACKOFF * (1 << (attempt - 1));
                tokio::time::sleep(wait / 2 + spread(wait)).await;
            }
            _ => return Err(refused),
        }
        attempt += 1;
    }
}

/// One resize, however often it has to be tried.
struct Job<'a> {
    pods: &'a Api<Pod>,
    name: &'a str,
    request: &'a ResizeRequest,
    manager: &'a str,
    dry_run: bool,
}

/// What was looked at before, when the write was refused.
struct Before {
    uid: String,
    container_id: Option<String>,
    resource_version: String,
    /// The server's words, if it said that another resizer owns the field.
    contested: Option<String>,
}

impl Job<'_> {
    fn shown(&self) -> String {
        format!(
            "{}/{}",
            self.pods.namespace().unwrap_or_default(),
            self.name
        )
    }

    /// Reads, plans and writes once. `before` is what the last attempt looked at, if it was refused.
    async fn attempt(
        &self,
        gate: &impl Gate,
        before: &mut Option<Before>,
    ) -> Result<(ResizePlan, Option<Applied>), ApplyError> {
        let planned = plan(&self.read().await?, self.request, self.manager)?;
        if let Some(before) = before.take() {
            self.same_target(before, &planned)?;
        }
        if planned.changes.is_empty() {
            return Ok((planned, None));
        }
        // Reading took time, and the gate may have closed meanwhile.
        if !gate.is_open() {
            return Err(ApplyError::Stopped(self.shown()));
        }
        let refused = match apply(self.pods, &planned, self.dry_run).await {
            Ok(applied) => return Ok((planned, Some(applied))),
            Err(refused) => refused,
        };
        *before = Some(Before {
            uid: planned.uid,
            container_id: planned.container_id,
            resource_version: planned.resource_version,
            contested: match &refused {
                ApplyError::Contested { message, .. } => Some(message.clone()),
                _ => None,
            },
        });
        Err(refused)
    }

    async fn read(&self) -> Result<Pod, ApplyError> {
        let read = Request::new(self.pods.resource_url())
            .get(self.name, &GetParams::default())
            .map_err(|error| ApplyError::Failed {
                pod: self.shown(),
                source: Box::new(kube::Error::BuildRequest(error)),
            })?;
        send(self.pods.clone().into_client(), read, &self.shown()).await
    }

    /// Whether what was read again is still what was meant.
    fn same_target(&self, before: Before, again: &ResizePlan) -> Result<(), ApplyError> {
        if again.uid != before.uid {
            return Err(ApplyError::Gone(self.shown()));
        }
        // A new container starts at what the kubelet allocated, and may need something else.
        if again.container_id != before.container_id {
            let container = again.container.clone();
            return Err(Refusal::Restarted(self.shown(), container).into());
        }
        // The API server looks at owners before it looks at versions, so what was
        // only stale can look contested. It is, if nothing has changed since.
        match before.contested {
            Some(message) if again.resource_version == before.resource_version => {
                Err(ApplyError::Contested {
                    pod: self.shown(),
                    message,
                })
            }
            _ => Ok(()),
        }
    }
}

/// A random time up to `most`, so that those who were refused together do not come back together.
pub(crate) fn spread(most: Duration) -> Duration {
    most.mul_f64(rand::random::<f64>())
}

#[cfg(test)]
mod tests;
