use serde::{Deserialize, Serialize};

use crate::cart::Carts;
use crate::link::{Durability, Link};
use crate::{Result, SessionArgs, SessionError, SessionId};

/// A session that nobody uses for this long is forgotten; each day of use starts the time anew.
pub const TTL_SECONDS: i64 = 30 * 24 * 60 * 60;
/// Prolonging at every request would make every read a write.
const PROLONG_AFTER_SECONDS: i64 = 24 * 60 * 60;

/// Who uses a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionUser {
    /// Id of the account; carries its slot.
    pub id: i64,
    /// As the person wants to be called.
    pub name: String,
    /// Address the person logs in with.
    pub email: String,
    /// What the person may do.
    pub role: Role,
}

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys.
    Customer,
    /// Runs the shop.
    Shopkeeper,
}

/// What a session holds. A guest's has no user, and exists only once it has a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Nobody, as long as the person is a guest.
    pub user: Option<SessionUser>,
    /// When it began.
    pub created_unix: i64,
}

impl Session {
    /// A guest's session that begins now.
    #[must_use]
    pub fn guest() -> Self {
        Self {
            user: None,
            created_unix: now_unix(),
        }
    }

    /// A person's session that begins now.
    #[must_use]
    pub fn of(user: SessionUser) -> Self {
        Self {
            user: Some(user),
            created_unix: now_unix(),
        }
    }
}

/// A session as found in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it holds.
    pub session: Session,
    /// Its life was prolonged just now: the cookie's has to be, too.
    pub prolonged: bool,
}

/// The session store.
///
/// Logins and cart writes return when a replica has them. Redis gives no guarantee with that: a primary that is cut off
/// together with a client may acknowledge nothing, but a replica chosen while it lags may miss what another one had.
#[derive(Clone)]
pub struct Sessions {
    link: Link,
}

impl Sessions {
    /// Starts to follow the sentinels; succeeds also while the store is away, and finds it when it comes.
    ///
    /// # Errors
    /// No sentinel was named.
    pub async fn connect(args: SessionArgs) -> Result<Self> {
        if args.sessions_sentinels.is_empty() {
            return Err(SessionError::Unavailable(None));
        }
        Ok(Self {
            link: Link::connect(args).await,
        })
    }

    /// The carts in the same store.
    #[must_use]
    pub fn carts(&self) -> Carts {
        Carts::new(self.link.clone())
    }

    /// The session with this id, if it is not over. Using it prolongs its life.
    ///
    /// # Errors
    /// The store is away, or holds something unreadable.
    pub async fn load_and_prolong(&self, id: &SessionId) -> Result<Option<Loaded>> {
        let key = self.key(id);
        let mut commands = redis::pipe();
        commands.cmd("GET").arg(&key).cmd("TTL").arg(&key);
        let (json, ttl_seconds): (Option<String>, i64) = self.link.run(&commands, Durability::Primary).await?;
        let Some(json) = json else { return Ok(None) };
        let session = serde_json::from_str(&json).map_err(SessionError::Corrupt)?;
        let prolonged = ttl_seconds < TTL_SECONDS - PROLONG_AFTER_SECONDS;
        if prolonged {
            let mut commands = redis::pipe();
            commands.cmd("EXPIRE").arg(&key).arg(TTL_SECONDS).ignore();
            self.link.run::<()>(&commands, Durability::Primary).await?;
        }
        Ok(Some(Loaded { session, prolonged }))
    }

    /// Keeps a new session and returns the secret that opens it.
    ///
    /// # Errors
    /// The store is away, or no replica has it before the deadline.
    pub async fn create(&self, session: Session) -> Result<SessionId> {
        let id = SessionId::random().map_err(|_| SessionError::Unavailable(None))?;
        let json = serde_json::to_string(&session).map_err(SessionError::Corrupt)?;
        let mut commands = redis::pipe();
        commands
            .cmd("SET")
            .arg(self.key(&id))
            .arg(json)
            .arg("EX")
            .arg(TTL_SECONDS)
            .ignore();
        self.link.run::<()>(&commands, Durability::Replicated).await?;
        Ok(id)
    }

    /// Changes what a session holds, under the same id and for as long as it would have lasted. Whether it was still
    /// there.
    ///
    /// # Errors
    /// The store is away, or no replica has it before the deadline.
    pub async fn replace(&self, id: &SessionId, session: &Session) -> Result<bool> {
        let json = serde_json::to_string(session).map_err(SessionError::Corrupt)?;
        let mut commands = redis::pipe();
        let set = commands.cmd("SET").arg(self.key(id)).arg(json);
        set.arg("XX").arg("KEEPTTL");
        let (set,): (Option<String>,) = self.link.run(&commands, Durability::Replicated).await?;
        Ok(set.is_some())
    }

    /// Ends a session; one that is over already is no error.
    ///
    /// # Errors
    /// The store is away, or no replica has it before the deadline.
    pub async fn destroy(&self, id: &SessionId) -> Result<()> {
        let mut commands = redis::pipe();
        commands.cmd("DEL").arg(self.key(id)).ignore();
        self.link.run::<()>(&commands, Durability::Replicated).await
    }

    fn key(&self, id: &SessionId) -> String {
        format!("{}session:{}", self.link.key_prefix(), id.hash())
    }
}

fn now_unix() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}
