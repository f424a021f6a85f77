//! Waiting until a descriptor of one's own becomes readable.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has tokio watch a descriptor, of which its owner must never give another in the meantime. To be called within a runtime.
#[expect(
    deprecated,
    reason = "sound for a type whose descriptor never changes; the replacement needs unsafe code"
)]
pub fn watch<T: AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, Interest::READABLE)
}
