//! Events, written behind the answer: a review never waits for them.

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

/// Where notes are handed in. Those that are each to be read wait in a queue of
/// their own, so that a crowd of others neither delays nor displaces them.
#[derive(Clone, Debug)]
pub struct Notes {
    single: mpsc::Sender<Note>,
    others: mpsc::Sender<Note>,
}

/// Where they come out.
#[derive(Debug)]
pub struct Received {
    single: mpsc::Receiver<Note>,
    others: mpsc::Receiver<Note>,
}

impl Received {
    /// The next one; none where whoever hands them in is gone.
    pub async fn next(&mut self) -> Option<Note> {
        tokio::select! {
            biased;
            Some(note) = self.single.recv() => Some(note),
            Some(note) = self.others.recv() => Some(note),
            else => None,
        }
    }
}

impl Notes {
    /// A place for notes, and the other end for [`write()`].
    pub fn new() -> (Self, Received) {
        let (single, received) = mpsc::channel(WAITING);
        let (others, more) = mpsc::channel(WAITING);
        let (notes, received) = (
            Self { single, others },
            Received {
                single: received,
                others: more,
            },
        );
        (notes, received)
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
        let queue = if note.is_single {
            &self.single
        } else {
            &self.others
        };
        if let Err(error) = queue.try_send(note) {
            warn!(%error, "An event is lost: the API server takes them too slowly");
        }
    }
}

/// Writes notes as Events until whoever hands them in is gone.
/// What cannot be written stands in the log.
pub async fn write(client: Client, mut notes: Received) {
    let instance = std::env::var("HOSTNAME").ok();
    let controller = "mbcas-webhook".to_owned();
    let reporter = Reporter {
        controller,
        instance,
    };
    let recorder = || Recorder::new(client.clone(), reporter.clone());
    let summing = recorder();
    while let Some(note) = notes.next().await {
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
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn note(number: usize, is_single: bool) -> Note {
        Note {
            regarding: ObjectReference::default(),
            reason: "Test",
            action: "Admit",
            text: number.to_string(),
            is_warning: false,
            is_single,
        }
    }

    #[test]
    fn a_crowd_of_others_neither_delays_nor_displaces_those_that_are_each_to_be_read() {
        let (notes, mut received) = Notes::new();
        for number in 0..2 * WAITING {
            notes.note(note(number, false));
        }
        notes.note(note(WAITING, true));
        drop(notes);
        let mut next = || received.next().now_or_never().unwrap();
        assert_eq!(next(), Some(note(WAITING, true)));
        for number in 0..WAITING {
            assert_eq!(next(), Some(note(number, false)));
        }
        assert_eq!(next(), None);
    }
}
