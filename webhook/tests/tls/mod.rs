//! One whole call over TLS on loopback: the API server's part is played by a
//! client that trusts nothing but our authority.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;

use mbcas_certs::schedule::LEAF_LIFETIME;
use mbcas_certs::{Authority, LiveCertificate, server_name};
use mbcas_webhook::metrics::Metrics;
use mbcas_webhook::routes::{self, INJECT, Judge};
use mbcas_webhook::serve::{DRAIN, LINGER, ServeError, bind, serve};
use prometheus::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{pod, policy};

struct Webhook {
    address: SocketAddr,
    live: Arc<LiveCertificate>,
    token: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), ServeError>>,
}

fn start() -> Webhook {
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let (live, token) = (
        Arc::new(LiveCertificate::default()),
        CancellationToken::new(),
    );
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let serving = tokio::spawn(serve(
        listener,
        routes::router(&Judge::alone(policy()), metrics.clone()),
        Arc::clone(&live),
        metrics,
        token.clone(),
    ));
    Webhook {
        address,
        live,
        token,
        serving,
    }
}

fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    speaking(rustls::DEFAULT_VERSIONS, authority)
}

/// A client that speaks one version of TLS. rustls knows none before 1.2.
fn only(version: &'static SupportedProtocolVersion, authority: &Authority) -> Arc<ClientConfig> {
    speaking(&[version], authority)
}

fn speaking(
    versions: &[&'static SupportedProtocolVersion],
    authority: &Authority,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(mbcas_certs::provider());
    let config = config.with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // A resumed session shows the certificate of the first one.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// One POST on a connection of its own.
fn post(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    body: &Value,
) -> std::io::Result<(Value, Vec<u8>)> {
    let name = ServerName::try_from(server_name("mbcas-system")).unwrap();
    let tls = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(tls, TcpStream::connect(address)?);
    let body = body.to_string();
    write!(
        stream,
        "POST {INJECT}?timeout=2s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let leaf = stream.conn.peer_certificates().unwrap()[0].to_vec();
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Ok((serde_json::from_str(body).unwrap(), leaf))
}

async fn call(
    webhook: &Webhook,
    config: &Arc<ClientConfig>,
    body: &Value,
) -> std::io::Result<(Value, Vec<u8>)> {
    let (address, config, body) = (webhook.address, Arc::clone(config), body.clone());
    tokio::task::spawn_blocking(move || post(address, config, &body))
        .await
        .unwrap()
}

fn review() -> Value {
    let pod = pod(
        &json!({"mbcas.budget": "600"}),
        &json!({"containers": [{"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "250m"}}}]}),
    );
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
                    "namespace": "shop", "dryRun": true, "object": pod},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_injected_over_tls_before_and_after_a_renewal() {
    let now = SystemTime::now();
    let (authority, stranger) = (
        Authority::generate(now).unwrap(),
        Authority::generate(now).unwrap(),
    );
    let webhook = start();
    let client = trusting(&authority);
    assert!(
        call(&webhook, &client, &review()).await.is_err(),
        "no certificate yet"
    );

    let mut leaves = Vec::new();
    for _ in 0..2 {
        webhook.live.set(
            authority
                .issue(&server_name("mbcas-system"), now, LEAF_LIFETIME)
                .unwrap()
                .certified(),
        );
        let (answer, leaf) = call(&webhook, &client, &review()).await.unwrap();
        assert_eq!(answer["response"]["uid"], "u-1");
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        leaves.push(leaf);
    }
    assert_ne!(leaves[0], leaves[1], "the renewed leaf is served");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = only(version, &authority);
        let (answer, _) = call(&webhook, &client, &review()).await.unwrap();
        assert_eq!(answer["response"]["allowed"], true, "{version:?}");
    }
    let mut odd = (*client).clone();
    odd.alpn_protocols = vec![b"gopher".to_vec()];
    let why = call(&webhook, &Arc::new(odd), &review()).await.unwrap_err();
    assert!(
        why.to_string().contains("NoApplicationProtocol"),
        "the caller hears why: {why}"
    );
    assert!(
        call(&webhook, &trusting(&stranger), &review())
            .await
            .is_err(),
        "another authority does not vouch"
    );
}

#[tokio::test(start_paused = true)]
async fn told_to_end_it_lingers_and_then_ends() {
    let webhook = start();
    let start = tokio::time::Instant::now();
    webhook.token.cancel();
    webhook.serving.await.unwrap().unwrap();
    assert!(
        (LINGER..=LINGER + DRAIN).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    assert!(
        TcpListener::bind(webhook.address).is_ok(),
        "the port is free again"
    );
}
