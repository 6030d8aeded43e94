//! A certificate that somebody else keeps: cert-manager, or the operator, in a
//! Secret that is mounted as `tls.crt` and `tls.key`.
//!
//! The kubelet writes a new version into a new directory and renames the link
//! `..data` to it. A watch on the files would hear of the first such swap at
//! most, for the file that it watches is gone then; so the content itself is
//! read, once a second: a few kilobytes from memory (a Secret's volume is one),
//! the same on every file system, and nothing to lose track of.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::info;

use crate::pair::{Pair, PairError};
use crate::report::{Event, Report, Told};
use crate::resolver::LiveCertificate;

/// How often the files are read.
pub const PERIOD: Duration = Duration::from_secs(1);

/// The certificate's chain, the server's own first.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// Its private key.
pub const KEY_FILE: &str = "tls.key";

/// Serves what two files say, and the last good pair while they say nothing good.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    name: String,
    clock: fn() -> SystemTime,
    live: Arc<LiveCertificate>,
    served: Option<(Content, Pair)>,
    refused: Option<Content>,
}

/// Both files, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    /// Reads from `directory` what the webhook in `namespace` is to serve from `live`.
    pub fn new(directory: PathBuf, namespace: &str, live: Arc<LiveCertificate>) -> Self {
        Self::with_clock(directory, namespace, live, SystemTime::now)
    }

    /// As [`Self::new`], with a wall clock of the caller's.
    pub fn with_clock(
        directory: PathBuf,
        namespace: &str,
        live: Arc<LiveCertificate>,
        clock: fn() -> SystemTime,
    ) -> Self {
        Self {
            directory,
            name: crate::server_name(namespace),
            clock,
            live,
            served: None,
            refused: None,
        }
    }

    /// Looks once. Both files may be of different versions, where the swap came
    /// between the two reads; then they do not match, and the next look mends it.
    pub async fn look(&mut self) -> Report {
        let now = (self.clock)();
        let mut report = Report::default();
        let directory = self.directory.clone();
        match spawn_blocking(move || Content::read(&directory)).await {
            Ok(Ok(content)) => self.take(content, now, &mut report),
            Ok(Err(why)) => report.troubles.push(self.unreadable(&why.to_string())),
            Err(why) => report.troubles.push(self.unreadable(&why.to_string())),
        }
        if let Some((_, pair)) = &self.served {
            report.leaf = Some(pair.validity);
            report.ready = !pair.validity.is_ending(now);
            if !report.ready {
                report.troubles.push(format!(
                    "the served certificate is about to end, or has ended, and {} holds no better one; renew it",
                    self.directory.display()
                ));
            }
        }
        report
    }

    fn take(&mut self, content: Content, now: SystemTime, report: &mut Report) {
        if self
            .served
            .as_ref()
            .is_some_and(|(served, _)| *served == content)
        {
            self.refused = None;
            return;
        }
        match Pair::read(&content.chain, &content.key, &self.name, now) {
            Ok(pair) => {
                let days = pair.validity.remaining(now).as_secs() / 86_400;
                info!(days, directory = %self.directory.display(), "serving a new certificate");
                self.live.set(Arc::clone(&pair.certified));
                self.served = Some((content, pair));
                self.refused = None;
                report.events.push(Event::Served);
            }
            Err(why) => {
                report.troubles.push(self.refuse(&why));
                if self.refused.as_ref() != Some(&content) {
                    self.refused = Some(content);
                    report.events.push(Event::Refused);
                }
            }
        }
    }

    fn refuse(&self, why: &PairError) -> String {
        format!(
            "cannot serve what {} holds: {why}{}",
            self.directory.display(),
            self.instead()
        )
    }

    fn unreadable(&self, why: &str) -> String {
        format!(
            "cannot read the certificate: {why}; mount a Secret with {CERTIFICATE_FILE} and {KEY_FILE} at {}{}",
            self.directory.display(),
            self.instead()
        )
    }

    fn instead(&self) -> &'static str {
        if self.served.is_some() {
            ". The last good certificate is served on"
        } else {
            ". No certificate is served"
        }
    }

    /// Looks for ever, every [`PERIOD`]; `observe` sees each report. Drop it to stop.
    pub async fn run(mut self, mut observe: impl FnMut(&Report)) -> Infallible {
        let mut told = Told::new("the webhook's certificate is well again");
        loop {
            let report = self.look().await;
            told.tell(&report.troubles);
            observe(&report);
            sleep(PERIOD).await;
        }
    }
}

impl Content {
    fn read(directory: &Path) -> io::Result<Self> {
        let read = |file| {
            let path = directory.join(file);
            std::fs::read(&path)
                .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", path.display())))
        };
        Ok(Self {
            chain: read(CERTIFICATE_FILE)?,
            key: read(KEY_FILE)?,
        })
    }
}

#[cfg(test)]
mod tests;
