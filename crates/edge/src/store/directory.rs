//! The files of the cache.
//!
//! An object is two files with one stem: the body, and a record that describes it. The record is written last and by
//! rename, so it is what makes the object exist; a body without one is rubbish of a crash. Nothing is synced to the
//! disk: what a power cut tears is found by its checksum and dropped.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::entry::{Head, Record};

/// So many processes can share one volume.
const SLOTS: u32 = 64;

/// A record is a few headers.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// What the disk gives out at once.
const BLOCK_BYTES: u64 = 4096;

/// What is read at once of a body that is only checked.
const CHECKED_BYTES: usize = 16 * 1024;

/// A folder that belongs to this process alone for as long as it runs.
pub(super) struct Directory {
    path: PathBuf,
    /// Holds the lock on the folder.
    _lock: File,
}

/// An object that was found on disk.
pub(super) struct Recovered {
    pub(super) stem: String,
    pub(super) head: Head,
    pub(super) body_sha256: [u8; 32],
    pub(super) disk_bytes: u64,
}

impl Directory {
    /// Takes the first folder under `root` that no other process uses. Replicas of a service may be given the same
    /// volume, and each keeps what it cached, whatever it is called after a restart.
    pub(super) fn claim(root: &Path) -> io::Result<Self> {
        for slot in 0..SLOTS {
            let path = root.join(format!("slot-{slot}"));
            fs::create_dir_all(&path)?;
            let lock = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path.join("lock"))?;
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: lock }),
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "{SLOTS} processes use {} already",
            root.display()
        )))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all records, and deletes every file that belongs to no whole object.
    pub(super) fn recover(&self) -> io::Result<(Vec<Recovered>, u64)> {
        let (mut objects, mut dropped) = (Vec::new(), 0);
        for shard in fs::read_dir(&self.path)? {
            let shard = shard?.path();
            if !shard.is_dir() {
                continue;
            }
            let mut stems = std::collections::BTreeSet::new();
            for file in fs::read_dir(&shard)? {
                let file = file?.path();
                match (
                    file.extension().and_then(|e| e.to_str()),
                    file.file_stem().and_then(|s| s.to_str()),
                ) {
                    (Some("body" | "record"), Some(stem)) => {
                        stems.insert(stem.to_owned());
                    }
                    _ => fs::remove_file(&file)?,
                }
            }
            for stem in stems {
                if let Some(object) = self.recover_one(&stem) {
                    objects.push(object);
                } else {
                    self.remove(&stem);
                    dropped += 1;
                }
            }
        }
        Ok((objects, dropped))
    }

    fn recover_one(&self, stem: &str) -> Option<Recovered> {
        let mut line = String::new();
        let record = File::open(self.file(stem, "record")).ok()?;
        record.take(RECORD_BYTES_MAX).read_to_string(&mut line).ok()?;
        let (checksum, json) = line.split_once('\n')?;
        if checksum != hex::encode(Sha256::digest(json.as_bytes())) {
            return None;
        }
        let record: Record = serde_json::from_str(json).ok()?;
        let (head, body_sha256) = record.into_parts()?;
        let body_bytes = fs::metadata(self.file(stem, "body")).ok()?.len();
        if body_bytes != head.body_bytes {
            return None;
        }
        let disk_bytes = on_disk(line.len() as u64) + on_disk(body_bytes);
        Some(Recovered {
            stem: stem.to_owned(),
            head,
            body_sha256,
            disk_bytes,
        })
    }

    /// Writes an object; gives back what it takes of the disk and the body's hash.
    pub(super) fn write(&self, stem: &str, head: &Head, body: &[Bytes]) -> io::Result<(u64, [u8; 32])> {
        let path = self.file(stem, "body");
        if let Some(shard) = path.parent() {
            fs::create_dir_all(shard)?;
        }
        let mut file = File::create_new(&path)?;
        let mut hash = Sha256::new();
        for chunk in body {
            hash.update(chunk);
            file.write_all(chunk)?;
        }
        let body_sha256 = hash.finalize().into();
        let record_bytes = self.write_record(stem, head, &body_sha256)?;
        Ok((on_disk(record_bytes) + on_disk(head.body_bytes), body_sha256))
    }

    /// Writes an object's record, also in place of an older one; gives back its length.
    pub(super) fn write_record(&self, stem: &str, head: &Head, body_sha256: &[u8; 32]) -> io::Result<u64> {
        let json = serde_json::to_string(&Record::new(head, body_sha256))?;
        let text = format!("{}\n{json}", hex::encode(Sha256::digest(json.as_bytes())));
        if text.len() as u64 > RECORD_BYTES_MAX {
            return Err(io::Error::other("the headers are too long to be kept"));
        }
        let unfinished = self.file(stem, "new");
        fs::write(&unfinished, &text)?;
        fs::rename(&unfinished, self.file(stem, "record"))?;
        Ok(text.len() as u64)
    }

    /// Reads a whole body and checks it.
    pub(super) fn read(&self, stem: &str, head: &Head, body_sha256: &[u8; 32]) -> io::Result<Vec<u8>> {
        let mut body = Vec::with_capacity(usize::try_from(head.body_bytes).unwrap_or_default());
        self.open(stem, head)?.read_to_end(&mut body)?;
        check(Sha256::digest(&body).as_slice(), body_sha256)?;
        Ok(body)
    }

    /// Opens a body and checks it as [`Directory::read`] does, piece by piece.
    pub(super) fn open_checked(&self, stem: &str, head: &Head, body_sha256: &[u8; 32]) -> io::Result<File> {
        let mut file = self.open(stem, head)?;
        let mut hash = Sha256::new();
        let mut piece = [0; CHECKED_BYTES];
        loop {
            let length = file.read(&mut piece)?;
            if length == 0 {
                break;
            }
            hash.update(&piece[..length]);
        }
        check(hash.finalize().as_slice(), body_sha256)?;
        file.rewind()?;
        Ok(file)
    }

    /// Opens a body, if it has the length that it should have.
    pub(super) fn open(&self, stem: &str, head: &Head) -> io::Result<File> {
        let file = File::open(self.file(stem, "body"))?;
        if file.metadata()?.len() == head.body_bytes {
            Ok(file)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the body does not have its length",
            ))
        }
    }

    /// Deletes an object, the record first, so that half of it is never found.
    pub(super) fn remove(&self, stem: &str) {
        for extension in ["record", "body", "new"] {
            match fs::remove_file(self.file(stem, extension)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, stem, extension, "A cached file can't be deleted");
                }
                _ => {}
            }
        }
    }

    /// Files are spread over folders by the start of their names: folders of a hundred thousand files are slow to list.
    fn file(&self, stem: &str, extension: &str) -> PathBuf {
        let shard = stem.get(..2).unwrap_or("xx");
        self.path.join(shard).join(format!("{stem}.{extension}"))
    }
}

fn check(sha256: &[u8], expected: &[u8; 32]) -> io::Result<()> {
    if sha256 == expected {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the body does not match its checksum",
        ))
    }
}

fn on_disk(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES).max(1) * BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_cache::vary::Selection;
    use crate::store::test_entry;

    fn written(directory: &Directory, stem: &str) -> Head {
        let mut head = test_entry("/photos/1/1/w320.webp", Selection::default(), &["photo-1"], 1)
            .head
            .clone();
        head.body_bytes = 5;
        directory
            .write(stem, &head, &[Bytes::from_static(b"he"), Bytes::from_static(b"llo")])
            .unwrap();
        head
    }

    #[test]
    fn what_was_written_is_recovered() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::claim(root.path()).unwrap();
        let head = written(&directory, "abcd");
        let (objects, dropped) = directory.recover().unwrap();
        assert_eq!((objects.len(), dropped), (1, 0));
        assert_eq!(objects[0].head.headers, head.headers);
        assert_eq!(objects[0].head.tags, head.tags);
        assert_eq!(objects[0].head.lifetime, head.lifetime);
        let body = directory
            .read("abcd", &objects[0].head, &objects[0].body_sha256)
            .unwrap();
        assert_eq!(body, b"hello");
    }

    #[test]
    fn torn_and_stray_files_are_dropped() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::claim(root.path()).unwrap();
        for stem in ["ab-short", "ab-garbled", "ab-bodiless", "ab-recordless", "ab-whole"] {
            written(&directory, stem);
        }
        fs::write(directory.file("ab-short", "body"), "hel").unwrap();
        let record = fs::read_to_string(directory.file("ab-garbled", "record")).unwrap();
        fs::write(
            directory.file("ab-garbled", "record"),
            record.replace("photo-1", "photo-2"),
        )
        .unwrap();
        fs::remove_file(directory.file("ab-bodiless", "body")).unwrap();
        fs::remove_file(directory.file("ab-recordless", "record")).unwrap();
        fs::write(directory.file("ab-half", "new"), "x").unwrap();
        let (objects, dropped) = directory.recover().unwrap();
        assert_eq!(dropped, 4);
        assert_eq!(
            objects.iter().map(|object| object.stem.as_str()).collect::<Vec<_>>(),
            ["ab-whole"]
        );
        let files = fs::read_dir(directory.path().join("ab")).unwrap().count();
        assert_eq!(files, 2, "only the whole object's files are left");
    }

    #[test]
    fn a_body_that_rotted_is_not_served() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::claim(root.path()).unwrap();
        written(&directory, "abcd");
        fs::write(directory.file("abcd", "body"), "jello").unwrap();
        let (objects, _) = directory.recover().unwrap();
        let error = directory
            .read("abcd", &objects[0].head, &objects[0].body_sha256)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn two_processes_never_share_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let first = Directory::claim(root.path()).unwrap();
        let second = Directory::claim(root.path()).unwrap();
        assert_ne!(first.path(), second.path());
        let freed = first.path().to_owned();
        drop(first);
        assert_eq!(Directory::claim(root.path()).unwrap().path(), freed);
    }
}
