//! A certificate for development: nobody vouches for it, but browsers can be told to bear with it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use tracing::info;

use super::TlsError;

const NAMES: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "::1"];
/// Those of the owner's group may read it: a balancer and an edge have users of their own, and show the same one.
const MODE: u32 = 0o640;
const PEM_LINE_BYTES: usize = 64;

/// Makes a certificate and its key in one file, if the file isn't there. When several processes do so at once the first
/// to finish wins, and nobody ever sees half of a file.
pub fn make_if_missing(path: &Path) -> Result<(), TlsError> {
    if path.exists() {
        return Ok(());
    }
    let contents = make().map_err(TlsError::Generate)?;
    let unwritable = |source| TlsError::Unwritable {
        path: path.display().to_string(),
        source,
    };
    let draft = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    let outcome = write(&draft, &contents).and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Ok(()) => {
            info!(path = %path.display(), "Made a certificate for development");
            Ok(())
        }
        failed => failed,
    });
    // A draft that can't be removed is in nobody's way.
    let _ = std::fs::remove_file(&draft);
    outcome.map_err(unwritable)
}

fn write(path: &Path, contents: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()
}

fn make() -> Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Zillion, for development only");
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2044, 1, 1);
    let certificate = params.self_signed(&key)?;
    let mut contents = pem("CERTIFICATE", certificate.der());
    contents += &pem("PRIVATE KEY", &key.serialize_der());
    Ok(contents)
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let encoded = STANDARD.encode(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE_BYTES));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn who_comes_second_uses_what_the_first_has_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("development.pem");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| make_if_missing(&path).expect("made"));
            }
        });
        let made = std::fs::read(&path).expect("readable");
        make_if_missing(&path).expect("there");
        assert_eq!(std::fs::read(&path).expect("readable"), made);
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(left.len(), 1, "{left:?}");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o007, 0, "the key is nobody else's business");
    }
}
