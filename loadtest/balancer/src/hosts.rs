//! A name whose addresses change while a process looks it up.
//!
//! The process gets a mount namespace of its own, in which a file of this program is `/etc/hosts`; its resolver reads
//! that at each look-up, as it would ask DNS. The file is replaced by one write of always the same length, so that nobody
//! reads half of it.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::backends;
use crate::proxies::Place;

const NAME: &str = "upstream.bench";
const FILE_BYTES: usize = 2048;

#[derive(Debug)]
pub(crate) struct Hosts {
    path: PathBuf,
    file: File,
}

impl Hosts {
    /// The name with the addresses of these upstreams.
    pub(crate) fn create(numbers: &[usize], place: &Place) -> Result<Self> {
        let path = place.folder.join("hosts");
        let file = File::create(&path)?;
        let hosts = Self { path, file };
        hosts.set(numbers)?;
        Ok(hosts)
    }

    pub(crate) fn name(&self) -> &'static str {
        NAME
    }

    /// From the next look-up on.
    pub(crate) fn set(&self, numbers: &[usize]) -> Result<()> {
        self.file.write_all_at(&text(numbers)?, 0).context("the hosts file")
    }

    /// The command line that runs a program with this file as its `/etc/hosts`.
    pub(crate) fn command(&self, program: &str) -> Result<Vec<String>> {
        let path = self.path.to_str().context("the path of the hosts file")?;
        let mut command = vec!["unshare".to_owned(), "--mount".to_owned()];
        if !rustix::process::geteuid().is_root() {
            command.push("--map-root-user".to_owned());
        }
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$1\"";
        command.extend(["sh", "-c", script, path, program].map(str::to_owned));
        Ok(command)
    }
}

fn text(numbers: &[usize]) -> Result<Vec<u8>> {
    let mut text = String::from("127.0.0.1 localhost\n");
    for &number in numbers {
        writeln!(text, "{} {NAME}", backends::address(number).ip())?;
    }
    ensure!(text.len() < FILE_BYTES, "too many upstreams for the hosts file");
    let padding = FILE_BYTES - text.len();
    text.extend(std::iter::repeat_n('\n', padding));
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_the_file_has_one_length() {
        let (few, many) = (text(&[1]).expect("fits"), text(&[1, 2, 3, 4, 5]).expect("fits"));
        assert_eq!(few.len(), many.len());
        assert!(
            String::from_utf8(many)
                .expect("text")
                .contains("127.83.0.5 upstream.bench\n")
        );
    }
}
