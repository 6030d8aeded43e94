use std::io::{Read, Write};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use super::*;
use crate::Authority;
use crate::schedule::LEAF_LIFETIME;

const NAME: &str = "mbcas-webhook.mbcas-system.svc";

fn client(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = authority.certificate_pem().as_bytes();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).map(Result::unwrap));
    let config = ClientConfig::builder_with_provider(crate::provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

fn server(live: &Arc<LiveCertificate>) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(crate::provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let live: Arc<dyn ResolvesServerCert> = Arc::clone(live) as _;
    Arc::new(config.with_no_client_auth().with_cert_resolver(live))
}

/// Carries bytes both ways until neither side has any left.
fn shuttle(client: &mut Connection, server: &mut Connection) -> Result<(), rustls::Error> {
    while client.wants_write() || server.wants_write() {
        carry(client, server)?;
        carry(server, client)?;
    }
    Ok(())
}

fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(Connection, Connection), rustls::Error> {
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = Connection::from(ClientConnection::new(Arc::clone(client), name).unwrap());
    let mut server = Connection::from(ServerConnection::new(Arc::clone(server)).unwrap());
    shuttle(&mut client, &mut server)?;
    Ok((client, server))
}

fn leaf_seen_by(client: &Connection) -> CertificateDer<'static> {
    client.peer_certificates().unwrap()[0].clone()
}

#[test]
fn a_renewal_reaches_the_next_handshake_and_leaves_running_connections_alone() {
    let now = SystemTime::now();
    let authority = Authority::generate(now).unwrap();
    let (first, second) = (
        authority.issue(NAME, now, LEAF_LIFETIME).unwrap(),
        authority.issue(NAME, now, LEAF_LIFETIME).unwrap(),
    );
    let live = Arc::new(LiveCertificate::default());
    let (client, server) = (client(&authority), server(&live));

    assert!(
        connect(&client, &server).is_err(),
        "without a certificate there is no handshake"
    );

    live.set(first.certified());
    let (mut caller, mut replica) = connect(&client, &server).unwrap();
    assert_eq!(leaf_seen_by(&caller), *first.certificate());

    live.set(second.certified());
    caller.writer().write_all(b"review").unwrap();
    shuttle(&mut caller, &mut replica).unwrap();
    let mut heard = [0; 6];
    replica.reader().read_exact(&mut heard).unwrap();
    assert_eq!(
        &heard, b"review",
        "the connection from before the renewal works on"
    );

    let (caller, _) = connect(&client, &server).unwrap();
    assert_eq!(leaf_seen_by(&caller), *second.certificate());
}

#[test]
fn a_stranger_is_refused_by_the_caller() {
    let now = SystemTime::now();
    let (ours, foreign) = (
        Authority::generate(now).unwrap(),
        Authority::generate(now).unwrap(),
    );
    let live = Arc::new(LiveCertificate::default());
    live.set(foreign.issue(NAME, now, LEAF_LIFETIME).unwrap().certified());
    assert!(connect(&client(&ours), &server(&live)).is_err());
}
