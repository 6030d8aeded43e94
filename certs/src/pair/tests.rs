use std::time::Duration;

use k8s_openapi::ByteString;
use rcgen::{CertificateParams, KeyPair};
use x509_parser::der_parser::parse_der;

use super::*;

/// A certificate as others make it.
pub(crate) struct Made {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) leaf: CertificateDer<'static>,
}

/// One for `name`, signed by itself, that lives for `lifetime` from five minutes before `now` on.
pub(crate) fn make(name: &str, now: SystemTime, lifetime: Duration) -> Made {
    let validity = Validity::starting(now, lifetime);
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Made {
        chain: certificate.pem(),
        key: key.serialize_pem(),
        leaf: certificate.der().clone(),
    }
}

const DAY: Duration = Duration::from_hours(24);

fn read(chain: &str, key: &str, name: &str) -> Result<Pair, PairError> {
    Pair::read(chain.as_bytes(), key.as_bytes(), name, SystemTime::now())
}

#[test]
fn a_chain_is_kept_whole_and_its_first_certificate_counts() {
    let [one, two] = ["a.b.svc", "c.d.svc"].map(|name| make(name, SystemTime::now(), DAY));
    let chain = format!("{}{}", one.chain, two.chain);
    let pair = read(&chain, &one.key, "a.b.svc").unwrap();
    assert_eq!(pair.certified.cert, [one.leaf, two.leaf]);
    assert_eq!(
        read(&chain, &two.key, "a.b.svc").unwrap_err(),
        PairError::Mismatch
    );
}

#[test]
fn a_wildcard_that_covers_the_name_does() {
    let made = make("*.mbcas-system.svc", SystemTime::now(), DAY);
    assert!(read(&made.chain, &made.key, "mbcas-webhook.mbcas-system.svc").is_ok());
    let why = read(&made.chain, &made.key, "mbcas-webhook.default.svc").unwrap_err();
    assert_eq!(
        why.to_string(),
        "tls.crt is for *.mbcas-system.svc, not for mbcas-webhook.default.svc, by which the API server \
         calls the webhook; add that to the certificate's DNS names"
    );
}

#[test]
fn a_certificate_with_no_name_but_its_subject_is_for_nobody() {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::default().self_signed(&key).unwrap();
    let why = read(&made.pem(), &key.serialize_pem(), "a.b.svc").unwrap_err();
    assert!(
        why.to_string()
            .starts_with("tls.crt is for no DNS name, not for a.b.svc"),
        "{why}"
    );
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let now = SystemTime::now();
    let ended = make("a.b.svc", now - DAY * 2, DAY);
    assert_eq!(
        read(&ended.chain, &ended.key, "a.b.svc").unwrap_err(),
        PairError::Ended
    );
    let to_come = make("a.b.svc", now + DAY, DAY);
    assert_eq!(
        read(&to_come.chain, &to_come.key, "a.b.svc").unwrap_err(),
        PairError::NotYet
    );
}

#[test]
fn keys_are_read_in_each_of_the_forms_that_issuers_write() {
    for (algorithm, label) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "EC"),
        (&rcgen::PKCS_RSA_SHA256, "RSA"),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["a.b.svc".to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        // PKCS #8 wraps what SEC 1 and PKCS #1 write bare, which is cert-manager's default.
        let wrapped = key.serialize_der();
        let (_, sequence) = parse_der(&wrapped).unwrap();
        let bare = sequence.as_sequence().unwrap()[2]
            .as_slice()
            .unwrap()
            .to_vec();
        let base64 = serde_json::to_value(ByteString(bare)).unwrap();
        let base64 = base64.as_str().unwrap();
        let bare = format!(
            "-----BEGIN {label} PRIVATE KEY-----\n{base64}\n-----END {label} PRIVATE KEY-----\n"
        );
        for key in [key.serialize_pem(), bare] {
            read(&chain, &key, "a.b.svc").unwrap();
        }
    }
}
