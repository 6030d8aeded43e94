//! Authorities that are trusted together, and whether they vouch for a leaf.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::schedule::Validity;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A set of authorities. Their order means nothing, so that a change of the one
/// that signs changes nothing for those who trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle(BTreeSet<String>);

/// Why a bundle does not vouch for a certificate.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The bundle holds no authority.
    #[error("the caBundle holds no certificate that can be read and is valid now")]
    NoAuthority,
    /// The check itself says no.
    #[error("the caBundle does not vouch for the served certificate: {0}")]
    Refused(String),
}

impl Bundle {
    /// The certificates of a text in PEM form; whatever else stands in it means nothing.
    pub fn read(pem: &str) -> Self {
        Self(blocks(pem).map(str::to_owned).collect())
    }

    /// The bundle as it stands in `caBundle`.
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

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything that `other` trusts is trusted here too.
    pub fn contains(&self, other: &Self) -> bool {
        self.0.is_superset(&other.0)
    }

    /// What either of them trusts.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(&self.0 | &other.0)
    }

    /// What both of them trust.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self(&self.0 & &other.0)
    }

    /// What this one trusts and `other` does not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    /// Checks as the API server will: do these vouch for `leaf` under `name` at `now`?
    /// Go, unlike rustls, also asks that the authority itself is valid.
    ///
    /// # Errors
    /// Why they do not.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        name: &str,
        now: SystemTime,
    ) -> Result<(), TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().filter_map(|block| {
            let (der, validity) = read(block)?;
            validity.holds(now).then_some(der)
        }));
        if roots.is_empty() {
            return Err(TrustError::NoAuthority);
        }
        let refused = |why: &dyn Display| TrustError::Refused(why.to_string());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crate::provider());
        let verifier = verifier.build().map_err(|why| refused(&why))?;
        let name = ServerName::try_from(name.to_owned()).map_err(|why| refused(&why))?;
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        verifier
            .verify_server_cert(leaf, &[], &name, &[], UnixTime::since_unix_epoch(now))
            .map(drop)
            .map_err(|why| refused(&plainly(&why)))
    }
}

/// The check's answer in words that stay the same as time passes.
fn plainly(why: &rustls::Error) -> &dyn Display {
    match why {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }) => {
            &"it has ended"
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }) => {
            &"it is not valid yet"
        }
        other => other,
    }
}

/// The certificates of a PEM text, each from its BEGIN line to its END line.
pub(crate) fn blocks(pem: &str) -> impl Iterator<Item = &str> {
    pem.match_indices(BEGIN).filter_map(move |(start, _)| {
        let length = pem[start..].find(END)? + END.len();
        Some(&pem[start..start + length])
    })
}

/// One certificate of a PEM text, with its validity.
pub(crate) fn read(block: &str) -> Option<(CertificateDer<'static>, Validity)> {
    let der = CertificateDer::from_pem_slice(block.as_bytes()).ok()?;
    let validity = validity(&der).ok()?;
    Some((der, validity))
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

#[cfg(test)]
mod tests;
