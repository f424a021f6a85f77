//! The gateway's side: hands one listening socket to whoever connects.

use std::fs::Permissions;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::GREETING;

const SEND_DEADLINE: Duration = Duration::from_secs(2);
/// More holders than this are turned away: a machine has a handful.
const HOLDERS_MAX: usize = 256;
const TURN_AWAY_INTERVAL: Duration = Duration::from_millis(20);
const TURNED_AWAY_AT_ONCE: usize = 1024;

/// Why a handover socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The path can't be bound, or its leftover can't be removed.
    #[error("cannot open the Unix socket {path}")]
    Bind {
        /// The path that was asked for.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens the Unix socket, and returns a future that serves it for as long as it is polled. Everybody may connect:
/// who may reach the path is a matter of who has its volume. When the future is dropped all holders see the gateway go.
///
/// While nobody holds the listening socket, clients wait in its queue. Where they have somebody else to ask they had better
/// know: with `turn_away_after` they are reset once that has been so for this long.
pub fn serve(
    listener: TcpListener,
    path: &Path,
    turn_away_after: Option<Duration>,
) -> Result<impl Future<Output = ()> + Send + use<>, HandoverError> {
    let unix = open(path).map_err(|source| HandoverError::Bind {
        path: path.display().to_string(),
        source,
    })?;
    let name = path.display().to_string();
    Ok(serve_forever(listener, unix, name, turn_away_after))
}

fn open(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let unix = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(unix)
}

async fn serve_forever(listener: TcpListener, unix: UnixListener, path: String, turn_away_after: Option<Duration>) {
    let listener = Arc::new(listener);
    let places = Arc::new(Semaphore::new(HOLDERS_MAX));
    let mut holders = JoinSet::new();
    loop {
        tokio::select! {
            accepted = unix.accept() => match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        warn!(%path, "Too many holders, turned one away");
                        continue;
                    };
                    let listener = listener.clone();
                    let path = path.clone();
                    holders.spawn(async move {
                        let _place = place;
                        if let Err(error) = hand_over(&listener, stream, &path).await {
                            warn!(%path, %error, "Could not hand a socket over");
                        }
                    });
                }
                Err(error) => {
                    warn!(%path, %error, "Could not accept on the handover socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = holders.join_next(), if !holders.is_empty() => {}
            () = turn_away(&listener, turn_away_after, &path), if holders.is_empty() => {}
        }
    }
}

/// Resets whoever connects, from so long on, until it is dropped.
async fn turn_away(listener: &TcpListener, after: Option<Duration>, path: &str) {
    let Some(after) = after else {
        return std::future::pending().await;
    };
    tokio::time::sleep(after).await;
    warn!(%path, "Nobody serves: clients are turned away");
    loop {
        let waiting = std::iter::from_fn(|| listener.accept().ok()).take(TURNED_AWAY_AT_ONCE);
        for (stream, _) in waiting {
            // It ends in a reset and not in an empty answer.
            let _ = set_socket_linger(&stream, Some(Duration::ZERO));
        }
        tokio::time::sleep(TURN_AWAY_INTERVAL).await;
    }
}

/// Sends the descriptor, then stays until the holder goes.
async fn hand_over(listener: &TcpListener, mut stream: UnixStream, path: &str) -> io::Result<()> {
    let send = stream.async_io(Interest::WRITABLE, || send_descriptor(listener, &stream));
    tokio::time::timeout(SEND_DEADLINE, send).await??;
    info!(%path, "Handed the listening socket over");
    let mut byte = [0];
    // Holders never write; whatever comes, or the end, means that this one is done.
    let _ = stream.read(&mut byte).await;
    info!(%path, "A holder of the listening socket went away");
    Ok(())
}

fn send_descriptor(listener: &TcpListener, stream: &UnixStream) -> io::Result<()> {
    let descriptors = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let sent = sendmsg(
        stream,
        &[IoSlice::new(GREETING)],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )?;
    if sent == GREETING.len() {
        Ok(())
    } else {
        Err(io::Error::other("the greeting was cut"))
    }
}
