//! The time that certificates are judged by: the API server's.
//!
//! It is the API server that checks what the webhook serves, so it is its clock that says what is
//! valid, what is due and what has ended, and a node whose clock is wrong makes nothing that its
//! callers find too old or too new. Each answer carries that clock (`Date`, RFC 9110, 6.6.1); in
//! between time goes on as this machine counts it, asleep or awake.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Request, header};
use k8s_openapi::jiff::fmt::rfc2822;
use kube::Client;
use kube::client::Body;
use mbcas_runtime::clock::{Moment, since_boot};
use tower::service_fn;

/// A clock that is set by the answers of an API server.
#[derive(Debug, Default)]
pub(crate) struct ServerTime {
    heard: Mutex<Option<(SystemTime, Moment)>>,
}

impl ServerTime {
    /// The same client, and the clock that its answers set.
    pub(crate) fn of(client: Client) -> (Client, Arc<Self>) {
        let namespace = client.default_namespace().to_owned();
        let time = Arc::<Self>::default();
        let hears = Arc::clone(&time);
        let service = service_fn(move |request: Request<Body>| {
            let (client, time) = (client.clone(), Arc::clone(&hears));
            async move {
                let answer = client.send(request).await?;
                time.hear(answer.headers(), since_boot());
                Ok::<_, kube::Error>(answer)
            }
        });
        (Client::new(service, namespace), time)
    }

    /// What the API server's clock shows now; this machine's, as long as there was no answer that told.
    pub(crate) fn now(&self) -> SystemTime {
        self.at(since_boot()).unwrap_or_else(SystemTime::now)
    }

    fn at(&self, moment: Moment) -> Option<SystemTime> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|(date, then)| date + then.until(moment))
    }

    fn hear(&self, headers: &HeaderMap, moment: Moment) {
        if let Some(date) = headers
            .get(header::DATE)
            .and_then(|date| read(date.as_bytes()))
        {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, moment));
        }
    }
}

/// A date as HTTP writes it, to the second; `None` for anything else, and for one before 1970.
fn read(date: &[u8]) -> Option<SystemTime> {
    let parser = rfc2822::DateTimeParser::new();
    let seconds = parser.parse_timestamp(date).ok()?.as_second();
    let since = Duration::from_secs(u64::try_from(seconds).ok()?);
    Some(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: u64) -> Moment {
        Moment::after_zero(Duration::from_secs(seconds))
    }

    fn date(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn says(date: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::DATE, http::HeaderValue::from_static(date))])
    }

    #[test]
    fn the_last_answer_sets_the_clock_and_it_goes_on_from_there() {
        let time = ServerTime::default();
        assert_eq!(time.at(moment(5)), None);
        time.hear(&says("Sun, 06 Nov 1994 08:49:37 GMT"), moment(5));
        assert_eq!(time.at(moment(5)), Some(date(784_111_777)));
        assert_eq!(time.at(moment(65)), Some(date(784_111_837)));
        // The server's own clock was set back.
        time.hear(&says("Sun, 06 Nov 1994 07:49:37 GMT"), moment(70));
        assert_eq!(time.at(moment(71)), Some(date(784_108_178)));
    }

    #[test]
    fn an_answer_that_tells_no_time_changes_nothing() {
        let time = ServerTime::default();
        time.hear(&says("Sun, 06 Nov 1994 08:49:37 GMT"), moment(0));
        for bad in ["", "now", "784111777", "Sun, 06 Nov 1894 08:49:37 GMT"] {
            time.hear(&says(bad), moment(9));
        }
        time.hear(&HeaderMap::new(), moment(9));
        assert_eq!(time.at(moment(0)), Some(date(784_111_777)));
    }

    #[test]
    fn before_the_first_answer_it_is_this_machines() {
        let now = ServerTime::default().now();
        assert!(now.elapsed().unwrap() < Duration::from_mins(1));
    }
}
