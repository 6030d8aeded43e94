//! The certificate that one replica serves. Its key never leaves the process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::authority::{Authority, AuthorityError, random_serial};
use crate::bundle;
use crate::schedule::Validity;

/// A server certificate with its key, ready for rustls: ECDSA on P-256, short-lived.
#[derive(Clone, Debug)]
pub struct Leaf {
    certified: Arc<CertifiedKey>,
    certificate: CertificateDer<'static>,
    issuer: CertificateDer<'static>,
    validity: Validity,
}

/// Why there is no leaf.
#[derive(Debug, Error)]
pub enum LeafError {
    /// Making a key or a certificate failed.
    #[error("cannot make the webhook's certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// rustls does not take the key.
    #[error("cannot use the webhook's new certificate: {0}")]
    Load(#[from] rustls::Error),
    /// There is no serial number for it.
    #[error(transparent)]
    Serial(#[from] AuthorityError),
    /// The new certificate cannot be read back.
    #[error("cannot read the webhook's new certificate: {0}")]
    ReadBack(String),
}

impl Authority {
    /// Signs a new leaf for `name`, its only name, that is valid from `now` on for `lifetime`.
    ///
    /// # Errors
    /// Only if the crypto library fails, or `name` is no DNS name.
    pub fn issue(
        &self,
        name: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Leaf, LeafError> {
        let validity = Validity::starting(now, lifetime);
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.not_before = validity.not_before.into();
        params.not_after = validity.not_after.into();
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "mbcas-webhook");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|why| LeafError::ReadBack(why.to_owned()))?;
        let certified = CertifiedKey::from_der(vec![certificate.clone()], key, &crate::provider())?;
        let validity = bundle::validity(&certificate).map_err(LeafError::ReadBack)?;
        Ok(Leaf {
            certified: Arc::new(certified),
            certificate,
            issuer: self.certificate().clone(),
            validity,
        })
    }
}

impl Leaf {
    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Certificate and key as rustls serves them.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// How long it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether `authority` signed it.
    pub fn is_from(&self, authority: &Authority) -> bool {
        self.issuer == *authority.certificate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::LEAF_LIFETIME;
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    #[test]
    fn a_leaf_carries_one_name_and_its_own_key_and_serial() {
        let now = SystemTime::now();
        let authority = Authority::generate(now).unwrap();
        let (one, two) = (
            authority.issue("a.b.svc", now, LEAF_LIFETIME).unwrap(),
            authority.issue("a.b.svc", now, LEAF_LIFETIME).unwrap(),
        );
        let (_, first) = X509Certificate::from_der(one.certificate()).unwrap();
        let (_, second) = X509Certificate::from_der(two.certificate()).unwrap();
        let names = &first
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names;
        assert_eq!(*names, [GeneralName::DNSName("a.b.svc")]);
        assert_ne!(first.raw_serial(), second.raw_serial());
        assert_ne!(first.public_key().raw, second.public_key().raw);
        assert!(!first.is_ca());
        assert_eq!(one.validity().not_after, {
            let seconds = (now + LEAF_LIFETIME)
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs();
            SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
        });
        assert!(one.is_from(&authority));
        assert!(!one.is_from(&Authority::generate(now).unwrap()));
    }
}
