//! Lists of authorities in PEM form, and whether they vouch for a leaf.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::schedule::Validity;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Authorities that are trusted together: the one that signs first, then those
/// whose leaves may still be in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle(Vec<String>);

/// Why a bundle does not vouch for a certificate.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The bundle holds no authority.
    #[error("the caBundle holds no readable certificate")]
    NoAuthority,
    /// The check itself says no.
    #[error("the caBundle does not vouch for the served certificate: {0}")]
    Refused(String),
}

impl Bundle {
    /// `signing` first, then those of `others` that still hold at `now` and are not the same.
    pub fn new(signing: &str, others: &str, now: SystemTime) -> Self {
        let signing = blocks(signing).next().unwrap_or_default().to_owned();
        let kept = blocks(others)
            .filter(|block| *block != signing && holds(block, now))
            .map(str::to_owned);
        let kept: Vec<_> = kept.collect();
        Self(std::iter::once(signing).chain(kept).collect())
    }

    /// The bundle as it stands in `ca.crt` and in `caBundle`.
    pub fn pem(&self) -> String {
        self.0
            .iter()
            .flat_map(|block| [block.as_str(), "\n"])
            .collect()
    }

    /// How many authorities it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none, which [`Self::new`] never makes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The certificates of a PEM text, each from its BEGIN line to its END line.
pub(crate) fn blocks(pem: &str) -> impl Iterator<Item = &str> {
    pem.match_indices(BEGIN).filter_map(move |(start, _)| {
        let length = pem[start..].find(END)? + END.len();
        Some(&pem[start..start + length])
    })
}

fn holds(block: &str, now: SystemTime) -> bool {
    let der = CertificateDer::from_pem_slice(block.as_bytes()).ok();
    der.and_then(|der| validity(&der).ok())
        .is_some_and(|validity| validity.holds(now))
}

/// Reads from when until when a certificate is valid.
pub(crate) fn validity(der: &CertificateDer<'_>) -> Result<Validity, String> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|why| why.to_string())?;
    let at = |timestamp: i64| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp.try_into().unwrap_or(0))
    };
    let validity = parsed.validity();
    Ok(Validity {
        not_before: at(validity.not_before.timestamp()),
        not_after: at(validity.not_after.timestamp()),
    })
}

/// Checks as the API server will: does `bundle` vouch for `leaf` under `name` at `now`?
///
/// # Errors
/// Why it does not.
pub fn verify(
    bundle: &[u8],
    leaf: &CertificateDer<'_>,
    name: &str,
    now: SystemTime,
) -> Result<(), TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(TrustError::NoAuthority);
    }
    let refused = |why: &dyn std::fmt::Display| TrustError::Refused(why.to_string());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crate::provider());
    let verifier = verifier.build().map_err(|why| refused(&why))?;
    let name = ServerName::try_from(name.to_owned()).map_err(|why| refused(&why))?;
    let now = UnixTime::since_unix_epoch(
        now.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    );
    verifier
        .verify_server_cert(leaf, &[], &name, &[], now)
        .map(drop)
        .map_err(|why| refused(&why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;
    use crate::schedule::{AUTHORITY_LIFETIME, LEAF_LIFETIME};

    const NAME: &str = "mbcas-webhook.mbcas-system.svc";

    #[test]
    fn a_bundle_vouches_for_leaves_of_each_of_its_authorities_and_of_no_other() {
        let now = SystemTime::now();
        let [old, new, foreign] = [(); 3].map(|()| Authority::generate(now).unwrap());
        let bundle = Bundle::new(new.certificate_pem(), old.certificate_pem(), now);
        assert_eq!(bundle.len(), 2);
        let pem = bundle.pem();
        for authority in [&old, &new] {
            let leaf = authority.issue(NAME, now).unwrap();
            verify(pem.as_bytes(), leaf.certificate(), NAME, now).unwrap();
        }
        let leaf = foreign.issue(NAME, now).unwrap();
        assert!(matches!(
            verify(pem.as_bytes(), leaf.certificate(), NAME, now),
            Err(TrustError::Refused(_))
        ));
    }

    #[test]
    fn another_name_or_another_time_is_refused() {
        let now = SystemTime::now();
        let authority = Authority::generate(now).unwrap();
        let (leaf, pem) = (
            authority.issue(NAME, now).unwrap(),
            authority.certificate_pem(),
        );
        let check = |name: &str, at| verify(pem.as_bytes(), leaf.certificate(), name, at);
        check(NAME, now).unwrap();
        assert!(check("mbcas-webhook.default.svc", now).is_err());
        assert!(check("mbcas-webhook.mbcas-system.svc.cluster.local", now).is_err());
        assert!(check(NAME, now + LEAF_LIFETIME + Duration::from_secs(1)).is_err());
        assert!(check(NAME, now - Duration::from_mins(6)).is_err());
    }

    #[test]
    fn garbage_vouches_for_nothing() {
        let now = SystemTime::now();
        let leaf = Authority::generate(now).unwrap().issue(NAME, now).unwrap();
        for bundle in [
            "",
            "Cg==",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let verdict = verify(bundle.as_bytes(), leaf.certificate(), NAME, now);
            assert!(
                matches!(verdict, Err(TrustError::NoAuthority)),
                "{bundle}: {verdict:?}"
            );
        }
    }

    #[test]
    fn authorities_that_ended_and_garbage_are_dropped_and_none_is_held_twice() {
        let now = SystemTime::now();
        let ended =
            Authority::generate(now - AUTHORITY_LIFETIME - Duration::from_hours(1)).unwrap();
        let (old, new) = (
            Authority::generate(now).unwrap(),
            Authority::generate(now).unwrap(),
        );
        let others = [
            new.certificate_pem(),
            "rubbish",
            ended.certificate_pem(),
            old.certificate_pem(),
            BEGIN,
        ]
        .join("\n");
        let bundle = Bundle::new(new.certificate_pem(), &others, now);
        assert_eq!(
            bundle.0,
            [new.certificate_pem().trim(), old.certificate_pem().trim()]
        );
        assert_eq!(Bundle::new(&bundle.pem(), &bundle.pem(), now), bundle);
    }
}
