//! The certificate that is shown, and the files that it comes from.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::TlsError;

/// Where a certificate and its key are. The same file may hold both.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What the files held.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(&self) -> Result<Contents, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Unreadable {
                path: path.display().to_string(),
                source,
            })
        };
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }
}

impl Contents {
    fn parse(&self) -> Result<CertifiedKey, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(TlsError::Pem)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(TlsError::Pem)?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(TlsError::Unusable)
    }
}

/// The certificate that is shown to clients just now.
pub(super) struct Certificate {
    files: Files,
    current: ArcSwap<CertifiedKey>,
    /// What was read last, good or bad: the same is not judged, and not complained about, again.
    seen: Mutex<Option<Contents>>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    pub(super) fn load(files: Files) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let current = ArcSwap::from_pointee(contents.parse()?);
        Ok(Self {
            files,
            current,
            seen: Mutex::new(Some(contents)),
        })
    }

    /// Reads the files again. Returns whether there was something new; an error once for each bad state of them. Both
    /// files can't be replaced at once, so that a pair which doesn't match may just be half of a change.
    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = match self.files.read() {
            Ok(contents) => contents,
            Err(_) if seen.is_none() => return Ok(false),
            Err(error) => {
                *seen = None;
                return Err(error);
            }
        };
        if seen.as_ref() == Some(&contents) {
            return Ok(false);
        }
        let parsed = contents.parse();
        *seen = Some(contents);
        self.current.store(Arc::new(parsed?));
        Ok(true)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

#[cfg(test)]
mod tests {
    use super::super::development;
    use super::*;

    fn pair(folder: &Path, name: &str) -> Vec<u8> {
        let path = folder.join(name);
        development::make_if_missing(&path).expect("made");
        std::fs::read(path).expect("readable")
    }

    fn shown(certificate: &Certificate) -> Vec<u8> {
        certificate.current.load().cert[0].to_vec()
    }

    #[test]
    fn a_new_pair_is_taken_over_and_a_bad_one_refused_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (pair(folder.path(), "first"), pair(folder.path(), "second"));
        let files = Files {
            certificate: folder.path().join("certificate.pem"),
            key: folder.path().join("key.pem"),
        };
        let write = |path: &Path, contents: &[u8]| std::fs::write(path, contents).expect("written");
        write(&files.certificate, &first);
        write(&files.key, &first);
        let certificate = Certificate::load(files.clone()).expect("a good pair");
        let shown_first = shown(&certificate);
        assert!(!certificate.reload().expect("nothing new"));

        write(&files.certificate, &second);
        let mismatch = certificate.reload().expect_err("the key is the first's");
        assert!(matches!(mismatch, TlsError::Unusable(_)), "{mismatch}");
        assert!(!certificate.reload().expect("said before"));
        assert_eq!(shown(&certificate), shown_first);

        write(&files.key, &second);
        assert!(certificate.reload().expect("a good pair"));
        let shown_second = shown(&certificate);
        assert_ne!(shown_second, shown_first);

        std::fs::remove_file(&files.key).expect("removed");
        assert!(matches!(certificate.reload(), Err(TlsError::Unreadable { .. })));
        assert!(!certificate.reload().expect("said before"));
        write(&files.key, b"no key");
        assert!(matches!(certificate.reload(), Err(TlsError::Pem(_))));
        assert_eq!(shown(&certificate), shown_second);
    }
}
