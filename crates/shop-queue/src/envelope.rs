//! What a message looks like on the wire.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A kind of message.
pub trait Message: Serialize + DeserializeOwned + Send + Sync {
    /// The routing key, which also names the queue.
    const KEY: &'static str;
    /// Counts incompatible changes of the body.
    const VERSION: u32;
    /// Whether a message that no queue takes is an error. For work it is; for news it isn't.
    const MUST_BE_ROUTED: bool = true;
}

#[derive(Serialize)]
struct Outgoing<'a, M> {
    v: u32,
    id: Uuid,
    body: &'a M,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    v: u32,
    id: Uuid,
    #[serde(borrow)]
    body: &'a serde_json::value::RawValue,
}

/// Why a delivery can't be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("version {0} is newer than this process")]
    TooNew(u32),
    #[error("not a message of this kind")]
    Malformed(#[from] serde_json::Error),
}

/// The bytes of a message.
pub(crate) fn encode<M: Message>(id: Uuid, body: &M) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Outgoing {
        v: M::VERSION,
        id,
        body,
    })
}

/// The message in `bytes`.
pub(crate) fn decode<M: Message>(bytes: &[u8]) -> Result<(Uuid, M), Unreadable> {
    let incoming: Incoming<'_> = serde_json::from_slice(bytes)?;
    if incoming.v > M::VERSION {
        return Err(Unreadable::TooNew(incoming.v));
    }
    Ok((incoming.id, serde_json::from_str(incoming.body.get())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{PhotoEdits, PhotoProcess};

    fn message() -> PhotoProcess {
        PhotoProcess {
            photo_id: 7,
            version: 2,
            original_key: "originals/7".to_owned(),
            edits: PhotoEdits {
                sharpen: 0.5,
                ..PhotoEdits::default()
            },
        }
    }

    #[test]
    fn a_message_survives_the_wire_with_its_id() {
        let id = Uuid::from_u128(5);
        let bytes = encode(id, &message()).unwrap();
        let (decoded_id, decoded) = decode::<PhotoProcess>(&bytes).unwrap();
        assert_eq!((decoded_id, decoded), (id, message()));
    }

    #[test]
    fn fields_that_came_later_may_be_missing() {
        let bytes = br#"{"v":1,"id":"00000000-0000-0000-0000-000000000005","body":{"photo_id":1,"version":1,"original_key":"o"}}"#;
        let (_, decoded) = decode::<PhotoProcess>(bytes).unwrap();
        assert_eq!(decoded.edits, PhotoEdits::default());
    }

    #[test]
    fn a_newer_version_is_told_from_nonsense() {
        let newer = br#"{"v":2,"id":"00000000-0000-0000-0000-000000000005","body":{"anything":[]}}"#;
        assert!(matches!(decode::<PhotoProcess>(newer), Err(Unreadable::TooNew(2))));
        for nonsense in [&b""[..], b"{}", b"\xff", br#"{"v":1,"id":"x","body":{}}"#] {
            assert!(matches!(
                decode::<PhotoProcess>(nonsense),
                Err(Unreadable::Malformed(_))
            ));
        }
    }
}
