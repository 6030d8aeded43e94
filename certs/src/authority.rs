//! The certificate authority that the replicas share.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::bundle;
use crate::schedule::{AUTHORITY_LIFETIME, Validity};

/// A CA certificate with its private key: ECDSA on P-256, one year.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    validity: Validity,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

/// Why there is no authority.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// Making a key or a certificate failed.
    #[error("cannot make a certificate authority: {0}")]
    Generate(#[from] rcgen::Error),
    /// There is no randomness for a serial number.
    #[error("cannot make a certificate authority: the system gives no random numbers")]
    NoRandomness,
    /// The certificate cannot be read.
    #[error("ca.crt does not begin with a CA certificate: {0}")]
    Certificate(String),
    /// The private key cannot be read.
    #[error("ca.key is not a private key in PEM form: {0}")]
    Key(rcgen::Error),
    /// Certificate and key are not of one pair.
    #[error("ca.key does not belong to the first certificate in ca.crt")]
    Mismatch,
}

impl Authority {
    /// Makes a new authority that is valid from `now` on.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub fn generate(now: SystemTime) -> Result<Self, AuthorityError> {
        let validity = Validity::starting(now, AUTHORITY_LIFETIME);
        let mut params = CertificateParams::default();
        params.not_before = validity.not_before.into();
        params.not_after = validity.not_after.into();
        params.serial_number = Some(random_serial()?);
        params
            .distinguished_name
            .push(DnType::CommonName, "MBCAS webhook authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let (certificate_pem, certificate) = (certificate.pem(), certificate.der().clone());
        let validity = bundle::validity(&certificate).map_err(AuthorityError::Certificate)?;
        Ok(Self {
            certificate,
            certificate_pem,
            validity,
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads an authority. Certificates after the first are others' and ignored here.
    ///
    /// # Errors
    /// If one of the two cannot be read or they do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|why| AuthorityError::Certificate(why.to_string()))?;
        let parsed = X509Certificate::from_der(&der);
        let (_, parsed) = parsed.map_err(|why| AuthorityError::Certificate(why.to_string()))?;
        if !parsed.is_ca() {
            return Err(AuthorityError::Certificate(
                "it is not marked as an authority".to_owned(),
            ));
        }
        let key = KeyPair::from_pem(key).map_err(AuthorityError::Key)?;
        if parsed.public_key().raw != key.subject_public_key_info().as_slice() {
            return Err(AuthorityError::Mismatch);
        }
        let validity = bundle::validity(&der).map_err(AuthorityError::Certificate)?;
        let block = bundle::blocks(certificate).next().unwrap_or_default();
        let certificate_pem = format!("{block}\n");
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self {
            certificate: der,
            certificate_pem,
            validity,
            issuer,
        })
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate in PEM form.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key in PEM form (PKCS #8). It goes into the Secret and nowhere else.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// How long it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// 128 random bits: a serial number that repeats makes some clients refuse the second certificate.
pub(crate) fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0_u8; 16];
    crate::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::NoRandomness)?;
    // The number must be positive and must not begin with a zero byte.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use x509_parser::oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256,
    };

    use super::*;
    use crate::schedule::LEAF_LIFETIME;

    #[test]
    fn an_authority_survives_its_own_pem() {
        let made = Authority::generate(SystemTime::now()).unwrap();
        let read = Authority::from_pem(made.certificate_pem(), &made.key_pem()).unwrap();
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.validity(), made.validity());
        assert_eq!(read.key_pem(), made.key_pem());
        assert_eq!(read.certificate_pem(), made.certificate_pem());
    }

    #[test]
    fn it_signs_for_a_year_by_p256_and_began_five_minutes_ago() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let authority = Authority::generate(now).unwrap();
        let leaf = authority.issue("a.b.svc", now, LEAF_LIFETIME).unwrap();
        for (certificate, days) in [(authority.certificate(), 365), (leaf.certificate(), 7)] {
            let (_, read) = X509Certificate::from_der(certificate).unwrap();
            let key = read.public_key();
            assert_eq!(key.algorithm.algorithm, OID_KEY_TYPE_EC_PUBLIC_KEY);
            let curve = key.algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
            assert_eq!(curve, OID_EC_P256);
            assert_eq!(
                read.signature_algorithm.algorithm,
                OID_SIG_ECDSA_WITH_SHA256
            );
            let validity = read.validity();
            assert_eq!(validity.not_before.timestamp(), 1_800_000_000 - 5 * 60);
            let end = Duration::from_hours(24 * days).as_secs();
            assert_eq!(
                validity.not_after.timestamp(),
                1_800_000_000 + i64::try_from(end).unwrap()
            );
        }
    }

    #[test]
    fn halves_that_do_not_belong_together_are_refused() {
        let now = SystemTime::now();
        let (one, two) = (
            Authority::generate(now).unwrap(),
            Authority::generate(now).unwrap(),
        );
        let mixed = Authority::from_pem(one.certificate_pem(), &two.key_pem());
        assert!(matches!(mixed, Err(AuthorityError::Mismatch)), "{mixed:?}");
        assert!(matches!(
            Authority::from_pem("", &one.key_pem()),
            Err(AuthorityError::Certificate(_))
        ));
        assert!(matches!(
            Authority::from_pem(one.certificate_pem(), "lots"),
            Err(AuthorityError::Key(_))
        ));
    }

    #[test]
    fn a_leaf_is_no_authority() {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["a.b.svc".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let why = Authority::from_pem(&leaf.pem(), &key.serialize_pem())
            .unwrap_err()
            .to_string();
        assert!(why.contains("not marked as an authority"), "{why}");
    }

    #[test]
    fn serial_numbers_are_positive_full_and_never_the_same() {
        let serials: std::collections::BTreeSet<_> = (0..1000)
            .map(|_| random_serial().unwrap().to_bytes())
            .collect();
        assert_eq!(serials.len(), 1000);
        assert!(
            serials
                .iter()
                .all(|s| s.len() == 16 && (0x40..0x80).contains(&s[0]))
        );
    }
}
