//! The three codings behind one face, and how many may be at work.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;

use super::Coding;

/// Each takes up to half a megabyte while its answer lasts.
const ENCODERS_MAX: u32 = 64;
/// Fast ones: the time of this process is dearer than the last tenth of the bytes.
const ZSTD_LEVEL: i32 = 1;
const BROTLI_QUALITY: u32 = 3;
const GZIP_LEVEL: u32 = 2;
/// 128 KiB, more than nearly every page.
const WINDOW_LOG: u32 = 17;
const BROTLI_BUFFER_BYTES: usize = 8 * 1024;

/// Counts the encoders of the process.
#[derive(Debug, Default)]
pub(crate) struct Encoders {
    at_work: AtomicU32,
}

/// Compresses one answer.
pub(crate) struct Encoder {
    kind: Kind,
    /// Whether it holds something back.
    is_holding: bool,
    encoders: Arc<Encoders>,
}

enum Kind {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Finished,
}

impl Encoder {
    /// None where enough are at work, or there is no memory for one.
    pub(super) fn begin(coding: Coding, encoders: &Arc<Encoders>) -> Option<Self> {
        if encoders.at_work.fetch_add(1, Relaxed) >= ENCODERS_MAX {
            encoders.at_work.fetch_sub(1, Relaxed);
            return None;
        }
        // From here on its end is counted.
        let mut encoder = Self {
            kind: Kind::Finished,
            is_holding: false,
            encoders: encoders.clone(),
        };
        encoder.kind = Kind::begin(coding).ok()?;
        Some(encoder)
    }

    /// Takes a part of the answer.
    pub(super) fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        self.is_holding = true;
        match &mut self.kind {
            Kind::Zstd(encoder) => encoder.write_all(plain),
            Kind::Brotli(encoder) => encoder.write_all(plain),
            Kind::Gzip(encoder) => encoder.write_all(plain),
            Kind::Finished => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Whether there is something that a flush would bring.
    pub(super) fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// How much is compressed and not yet taken.
    pub(super) fn ready_bytes(&self) -> usize {
        match &self.kind {
            Kind::Zstd(encoder) => encoder.get_ref().len(),
            Kind::Brotli(encoder) => encoder.get_ref().len(),
            Kind::Gzip(encoder) => encoder.get_ref().len(),
            Kind::Finished => 0,
        }
    }

    /// What is compressed so far.
    pub(super) fn take(&mut self) -> Bytes {
        let compressed = match &mut self.kind {
            Kind::Zstd(encoder) => std::mem::take(encoder.get_mut()),
            Kind::Brotli(encoder) => std::mem::take(encoder.get_mut()),
            Kind::Gzip(encoder) => std::mem::take(encoder.get_mut()),
            Kind::Finished => Vec::new(),
        };
        Bytes::from(compressed)
    }

    /// Everything up to here, so that the client can read it.
    pub(super) fn flush(&mut self) -> io::Result<Bytes> {
        match &mut self.kind {
            Kind::Zstd(encoder) => encoder.flush()?,
            Kind::Brotli(encoder) => encoder.flush()?,
            Kind::Gzip(encoder) => encoder.flush()?,
            Kind::Finished => {}
        }
        self.is_holding = false;
        Ok(self.take())
    }

    /// The end of the answer.
    pub(super) fn finish(&mut self) -> io::Result<Bytes> {
        self.is_holding = false;
        let rest = match std::mem::replace(&mut self.kind, Kind::Finished) {
            Kind::Zstd(encoder) => encoder.finish()?,
            Kind::Brotli(encoder) => encoder.into_inner(),
            Kind::Gzip(encoder) => encoder.finish()?,
            Kind::Finished => Vec::new(),
        };
        Ok(Bytes::from(rest))
    }
}

impl Kind {
    fn begin(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(WINDOW_LOG)?;
                Self::Zstd(encoder)
            }
            Coding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER_BYTES,
                BROTLI_QUALITY,
                WINDOW_LOG,
            ))),
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
        })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.encoders.at_work.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("is_holding", &self.is_holding)
            .finish_non_exhaustive()
    }
}
