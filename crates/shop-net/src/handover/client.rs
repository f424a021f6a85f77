//! The holders' side: fetches the gateway's listening socket, and the next one when the gateway comes back.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::GREETING;
use crate::listen::{Generation, ListenSource};

const RETRY_PAUSE: Duration = Duration::from_millis(100);
const FETCH_DEADLINE: Duration = Duration::from_secs(1);

/// Follows the gateway behind a Unix socket for as long as anybody holds the source. Returns at once; there is no
/// listening socket until the gateway is found. Must be called within a tokio runtime.
pub fn follow(path: PathBuf) -> ListenSource {
    let (sender, generations) = watch::channel(None);
    tokio::spawn(follow_forever(path, sender));
    ListenSource::from_gateway(generations)
}

async fn follow_forever(path: PathBuf, sender: watch::Sender<Option<Arc<Generation>>>) {
    let mut told_missing = false;
    loop {
        match fetch_in_time(&path).await {
            Ok((listener, mut stream)) => {
                told_missing = false;
                info!(path = %path.display(), address = ?listener.local_addr().ok(), "Took over the gateway's socket");
                let gone = CancellationToken::new();
                sender.send_replace(Some(Arc::new(Generation {
                    listener,
                    gone: gone.clone(),
                })));
                let mut byte = [0];
                tokio::select! {
                    // The gateway never writes again: whatever comes is its end.
                    _ = stream.read(&mut byte) => {}
                    () = sender.closed() => return,
                }
                warn!(path = %path.display(), "The gateway is gone, closing what came through its socket");
                sender.send_replace(None);
                gone.cancel();
            }
            Err(error) => {
                if !std::mem::replace(&mut told_missing, true) {
                    warn!(path = %path.display(), %error, "No gateway yet, trying again");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_PAUSE) => {}
            () = sender.closed() => return,
        }
    }
}

async fn fetch_in_time(path: &Path) -> io::Result<(TcpListener, UnixStream)> {
    tokio::time::timeout(FETCH_DEADLINE, fetch(path)).await?
}

async fn fetch(path: &Path) -> io::Result<(TcpListener, UnixStream)> {
    let stream = UnixStream::connect(path).await?;
    let listener = stream
        .async_io(Interest::READABLE, || receive_descriptor(&stream))
        .await?;
    // The flag belongs to the socket, not to the descriptor: it is set again in case the other side forgot.
    listener.set_nonblocking(true)?;
    Ok((listener, stream))
}

fn receive_descriptor(stream: &UnixStream) -> io::Result<TcpListener> {
    let mut greeting = [0; GREETING.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut greeting)], &mut control, flags)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptor = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .next();
    if greeting[..received.bytes] != *GREETING {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the gateway speaks another version",
        ));
    }
    let descriptor = descriptor.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor came"))?;
    Ok(TcpListener::from(descriptor))
}
