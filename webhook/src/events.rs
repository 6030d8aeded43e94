//! Events, written behind the answer: a review never waits for them.

use std::convert::Infallible;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::{info, warn};

/// How many notes wait at most. Beyond that they are dropped and counted in the
/// log: an API server that takes no events must not fill our memory.
const WAITING: usize = 1_000;

/// Something that people may want to know about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The object.
    pub regarding: ObjectReference,
    /// Why, in one word: `BudgetChanged`.
    pub reason: &'static str,
    /// What was done: `Admit`.
    pub action: &'static str,
    /// The sentence.
    pub text: String,
    /// Something that they should do something about.
    pub is_warning: bool,
    /// Every one is to be read: it is not summed up with others of its reason about the same object.
    pub is_single: bool,
}

/// Where notes are handed in.
#[derive(Clone, Debug)]
pub struct Notes(mpsc::Sender<Note>);

impl Notes {
    /// A place for notes, and the other end for [`write()`].
    pub fn new() -> (Self, mpsc::Receiver<Note>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Hands one in; never waits.
    pub fn note(&self, note: Note) {
        let Note {
            reason,
            text,
            regarding,
            ..
        } = &note;
        let (kind, namespace, name) = (&regarding.kind, &regarding.namespace, &regarding.name);
        info!(kind, namespace, name, reason, "{text}");
        if let Err(error) = self.0.try_send(note) {
            warn!(%error, "An event is lost: the API server takes them too slowly");
        }
    }
}

/// Writes notes as Events for ever.
pub async fn write(client: Client, mut notes: mpsc::Receiver<Note>) -> Infallible {
    let instance = std::env::var("HOSTNAME").ok();
    let controller = "mbcas-webhook".to_owned();
    let reporter = Reporter {
        controller,
        instance,
    };
    let recorder = || Recorder::new(client.clone(), reporter.clone());
    let summing = recorder();
    while let Some(note) = notes.recv().await {
        let event = Event {
            type_: if note.is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.to_owned(),
            note: Some(note.text.chars().take(1_000).collect()),
            action: note.action.to_owned(),
            secondary: None,
        };
        let recorder = if note.is_single {
            recorder()
        } else {
            summing.clone()
        };
        if let Err(error) = recorder.publish(&event, &note.regarding).await {
            warn!(%error, reason = note.reason, "An event could not be written");
        }
    }
    std::future::pending().await
}
