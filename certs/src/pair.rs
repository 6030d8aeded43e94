//! A certificate and its key as somebody else made them, checked before they are served.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::bundle;
use crate::schedule::Validity;

/// A certificate with its chain and key, ready for rustls.
#[derive(Clone, Debug)]
pub struct Pair {
    /// As rustls serves it.
    pub certified: Arc<CertifiedKey>,
    /// How long its certificate is valid.
    pub validity: Validity,
}

/// Why a pair cannot be served.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PairError {
    /// The certificate cannot be read.
    #[error("tls.crt holds no certificate in PEM form that can be read ({0})")]
    Certificate(String),
    /// The key cannot be read.
    #[error("tls.key holds no private key in PEM form that can be read ({0})")]
    Key(String),
    /// The two are not of one pair.
    #[error(
        "tls.key does not belong to the first certificate in tls.crt, which must be the server's own"
    )]
    Mismatch,
    /// It is a certificate for somebody else.
    #[error(
        "tls.crt is for {found}, not for {wanted}, by which the API server calls the webhook; \
         add that to the certificate's DNS names"
    )]
    Name {
        /// The name that it must have.
        wanted: String,
        /// Those that it has.
        found: String,
    },
    /// Its time is over.
    #[error("the certificate in tls.crt has ended; renew it")]
    Ended,
    /// Its time has not come.
    #[error(
        "the certificate in tls.crt is not valid yet; check this node's clock, and the issuer's"
    )]
    NotYet,
}

impl Pair {
    /// Reads a chain and a key, both PEM, that are to serve `name` at `now`.
    ///
    /// # Errors
    /// [`PairError`], the first that applies.
    pub fn read(chain: &[u8], key: &[u8], name: &str, now: SystemTime) -> Result<Self, PairError> {
        let certificate = |why: &dyn std::fmt::Display| PairError::Certificate(why.to_string());
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|why| certificate(&why))?;
        let leaf = chain
            .first()
            .ok_or_else(|| certificate(&"there is none"))?
            .clone();
        let validity = bundle::validity(&leaf).map_err(|why| certificate(&why))?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|why| PairError::Key(why.to_string()))?;
        let certified = CertifiedKey::from_der(chain, key, &crate::provider());
        let certified = certified.map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => PairError::Mismatch,
            other => PairError::Key(other.to_string()),
        })?;
        let wanted = ServerName::try_from(name).map_err(|why| certificate(&why))?;
        let parsed = ParsedCertificate::try_from(&leaf).map_err(|why| certificate(&why))?;
        rustls::client::verify_server_name(&parsed, &wanted).map_err(|_| PairError::Name {
            wanted: name.to_owned(),
            found: names(&leaf),
        })?;
        if validity.is_over(now) {
            return Err(PairError::Ended);
        }
        if !validity.holds(now) {
            return Err(PairError::NotYet);
        }
        Ok(Self {
            certified: Arc::new(certified),
            validity,
        })
    }
}

/// The names in a certificate, for people.
fn names(leaf: &CertificateDer<'_>) -> String {
    let parsed = X509Certificate::from_der(leaf).ok();
    let extension = parsed
        .as_ref()
        .map(|(_, parsed)| parsed.subject_alternative_name());
    let names = extension.and_then(Result::ok).flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let dns = dns.collect::<Vec<_>>().join(", ");
    if dns.is_empty() {
        "no DNS name".to_owned()
    } else {
        dns
    }
}

#[cfg(test)]
pub(crate) mod tests;
