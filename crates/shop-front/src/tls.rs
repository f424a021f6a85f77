//! TLS in front: by rustls, with certificates that are read anew when their files change.

mod certificate;
pub mod development;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shop_net::listen::ListenSource;
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use self::certificate::{Certificate, Files};

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What a process can be told about TLS by its environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TlsSettings {
    /// Unix socket at which the gateway hands over the listening socket for TLS.
    #[arg(long, env = "GATEWAY_TLS_SOCKET")]
    pub gateway_tls_socket: Option<PathBuf>,

    /// Public address for TLS, used only where there is no gateway for it. Without either there is no TLS.
    #[arg(long, env = "LISTEN_PUBLIC_TLS")]
    pub listen_public_tls: Option<SocketAddr>,

    /// The certificate and those that lead to it, in PEM. Read anew when it changes.
    #[arg(long, env = "TLS_CERTIFICATE_FILE", requires = "tls_key_file")]
    pub tls_certificate_file: Option<PathBuf>,

    /// The certificate's key, in PEM.
    #[arg(long, env = "TLS_KEY_FILE", requires = "tls_certificate_file")]
    pub tls_key_file: Option<PathBuf>,

    /// Where there is no certificate: a file in which one for development, with its key, is made at the first start.
    /// Processes that are to show the same one share the file.
    #[arg(long, env = "TLS_DEVELOPMENT_FILE")]
    pub tls_development_file: Option<PathBuf>,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// TLS is wanted, but nothing says which certificate to show.
    #[error("TLS needs TLS_CERTIFICATE_FILE and TLS_KEY_FILE, or TLS_DEVELOPMENT_FILE")]
    NoFiles,
    /// A file can't be read.
    #[error("{path} can't be read")]
    Unreadable {
        /// Which one.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file is no PEM, or holds something else.
    #[error("not a certificate and its key in PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// There is no certificate in the file.
    #[error("there is no certificate in the file")]
    NoCertificate,
    /// They can't be used, or don't belong together.
    #[error("the certificate and the key can't be used")]
    Unusable(#[source] rustls::Error),
    /// The certificate for development can't be made.
    #[error("a certificate for development can't be made")]
    Generate(#[source] rcgen::Error),
    /// The certificate for development can't be kept.
    #[error("{path} can't be written")]
    Unwritable {
        /// Where it was to be.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl TlsSettings {
    /// Reads or makes the certificate. Nothing if TLS isn't wanted.
    pub fn load(&self) -> Result<Option<Tls>, TlsError> {
        if self.gateway_tls_socket.is_none() && self.listen_public_tls.is_none() {
            return Ok(None);
        }
        let files = match (
            &self.tls_certificate_file,
            &self.tls_key_file,
            &self.tls_development_file,
        ) {
            (Some(certificate), Some(key), _) => Files {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            (_, _, Some(path)) => {
                development::make_if_missing(path)?;
                Files {
                    certificate: path.clone(),
                    key: path.clone(),
                }
            }
            _ => return Err(TlsError::NoFiles),
        };
        Tls::from_files(files).map(Some)
    }

    /// Where those who speak TLS come from. Must be called within a tokio runtime.
    pub fn listen(&self) -> io::Result<Option<ListenSource>> {
        match (&self.gateway_tls_socket, self.listen_public_tls) {
            (Some(path), _) => Ok(Some(shop_net::handover::follow(path.clone()))),
            (None, Some(address)) => ListenSource::bind(address).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Speaks TLS with clients. Cheap to clone; all clones show the same certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: tokio_rustls::TlsAcceptor,
    certificate: Arc<Certificate>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    fn from_files(files: Files) -> Result<Self, TlsError> {
        let certificate = Arc::new(Certificate::load(files)?);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        // Sessions are resumed by tickets, which take neither memory nor a lock here. What comes before the handshake
        // is over is never taken: it can be replayed.
        config.ticketer = ring::Ticketer::new().map_err(TlsError::Unusable)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            acceptor: Arc::new(config).into(),
            certificate,
        })
    }

    /// Looks at the files every so often, and shows the new certificate once there is one. A pair that can't be used is
    /// refused, and the old one goes on.
    pub async fn reload_forever(self) {
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        loop {
            ticks.tick().await;
            let certificate = self.certificate.clone();
            match tokio::task::spawn_blocking(move || certificate.reload()).await {
                Ok(Ok(true)) => info!("Took over a new certificate"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%error, cause, "Refused a new certificate, the old one stays");
                }
                Err(error) => warn!(%error, "Could not look at the certificate"),
            }
        }
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        tokio::time::timeout(HANDSHAKE_DEADLINE, self.acceptor.accept(stream)).await?
    }
}
