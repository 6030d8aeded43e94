//! Ways to talk to the server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mbcas_certs::server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The server's address, and what to trust.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    /// Where connections come from.
    source: Ipv4Addr,
    roots: Arc<RootCertStore>,
}

impl Target {
    /// The server at `address`, whose authority has the certificate `pem`.
    pub(crate) fn new(address: SocketAddr, pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        Self {
            address,
            source: Ipv4Addr::LOCALHOST,
            roots: Arc::new(roots),
        }
    }

    /// The same for somebody else, who has another address.
    pub(crate) fn for_strangers(&self) -> Self {
        self.of_stranger(0)
    }

    /// The same for one of many of them.
    pub(crate) fn of_stranger(&self, number: usize) -> Self {
        let number = u8::try_from(number).unwrap();
        Self {
            source: Ipv4Addr::new(127, 0, 0, 2 + number),
            ..self.clone()
        }
    }

    /// A connection of bytes.
    pub(crate) async fn tcp(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.source, 0).into())?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection of bytes over TLS, for `protocol`.
    pub(crate) async fn tls(&self, protocol: &str) -> io::Result<TlsStream<TcpStream>> {
        let config = ClientConfig::builder_with_provider(mbcas_certs::provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from(server_name("mbcas-system")).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, self.tcp().await?).await
    }

    /// A connection of requests. It lives as long as what is returned.
    pub(crate) async fn http2(&self) -> io::Result<SendRequest<Body>> {
        self.http2_that_reads(64 * 1024).await
    }

    /// The same, which takes so many bytes of an answer before the rest has to wait.
    pub(crate) async fn http2_that_reads(&self, bytes: u32) -> io::Result<SendRequest<Body>> {
        let stream = TokioIo::new(self.tls("h2").await?);
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(bytes);
        let (send, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(send)
    }
}
