//! TLS in front: which protocol is spoken over it, which certificate is shown, and what its clients can't do.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shop_front::tls::TlsSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::protocols::read_until;
use crate::support::{Backend, DEADLINE, Front, eventually, limits, metric, routes, status};

/// Believes everybody, and remembers whom.
#[derive(Debug)]
struct Credulous {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.shown.lock().expect("not poisoned") = certificate.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Connects offering these protocols. Returns the stream and the certificate that was shown.
pub(crate) async fn connect(front: &Front, protocols: &[&str]) -> std::io::Result<(TlsStream<TcpStream>, Vec<u8>)> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Credulous {
        provider: provider.clone(),
        shown: Mutex::default(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(front.public_tls.expect("TLS is on")).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = timeout(DEADLINE, connecting).await??;
    let shown = verifier.shown.lock().expect("not poisoned").clone();
    Ok((stream, shown))
}

pub(crate) fn settings(folder: &Path) -> TlsSettings {
    TlsSettings {
        listen_public_tls: Some(([127, 0, 0, 1], 0).into()),
        tls_development_file: Some(folder.join("development.pem")),
        ..TlsSettings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_is_spoken_over_tls_and_the_backend_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start("inventory-1").await;
    let front = Front::start_with_tls(&routes(&[&backend], &[]), limits(), &settings(folder.path())).await;
    for protocols in [&["http/1.1"][..], &[]] {
        let (mut stream, _) = connect(&front, protocols).await.expect("a handshake");
        let request = "GET /echo HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: http\r\nCookie: a=1\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer))
            .await
            .expect("in time")
            .expect("a proper end");
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(
            answer.contains("x-forwarded-proto: https\n") && answer.contains("cookie: a=1"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_something_else_is_told_so_or_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start("inventory-1").await;
    let front = Front::start_with_tls(&routes(&[&backend], &[]), limits(), &settings(folder.path())).await;
    let refused = connect(&front, &["spdy/3"]).await;
    assert!(refused.is_err(), "no protocol in common");
    let mut plain = TcpStream::connect(front.public_tls.expect("TLS is on"))
        .await
        .expect("connected");
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = Vec::new();
    // An alert and an end, or a reset.
    let _ = timeout(DEADLINE, plain.read_to_end(&mut answer))
        .await
        .expect("in time");
    assert!(!answer.starts_with(b"HTTP"), "TLS was expected");
    eventually("both are counted", || async {
        metric(front.admin, "balancer_tls_handshakes_failed_total").await == 2
    })
    .await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart_and_open_connections_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start("inventory-1").await;
    let settings = settings(folder.path());
    let front = Front::start_with_tls(&routes(&[&backend], &[]), limits(), &settings).await;
    let (mut open, first) = connect(&front, &["http/1.1"]).await.expect("a handshake");
    let path = settings.tls_development_file.as_ref().expect("a path");
    std::fs::write(path, "no certificate").expect("written");
    std::fs::remove_file(path).expect("removed");
    settings.load().expect("a new one");
    eventually("the new one is shown", || async {
        let (_, shown) = connect(&front, &["http/1.1"]).await.expect("a handshake");
        shown != first
    })
    .await;
    open.write_all(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let answer = read_until(&mut open, "GET /echo").await;
    assert_eq!(status(&answer), 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_over_tls_gives_the_places_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start("inventory-1").await;
    let impatient = balancer::Limits {
        client_stall_max: Duration::from_millis(300),
        ..limits()
    };
    let front = Front::start_with_tls(&routes(&[&backend], &[]), impatient, &settings(folder.path())).await;
    let (mut stream, _) = connect(&front, &["http/1.1"]).await.expect("a handshake");
    stream
        .write_all(b"GET /large/30000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.expect("an answer");
    eventually("the places are back", || async {
        metric(front.admin, "balancer_in_flight").await == 0 && metric(front.admin, "balancer_connections ").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start("inventory-1").await;
    let front = Front::start_with_tls(&routes(&[&backend], &[]), limits(), &settings(folder.path())).await;
    let mut silent = TcpStream::connect(front.public_tls.expect("TLS is on"))
        .await
        .expect("connected");
    let ended = timeout(DEADLINE, silent.read(&mut [0]))
        .await
        .expect("given up in time");
    assert!(!matches!(ended, Ok(1..)), "nothing was said: {ended:?}");
    eventually("it is counted", || async {
        metric(front.admin, "balancer_tls_handshakes_failed_total").await == 1
    })
    .await;
}
