use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::Password;

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords are being checked")]
    Busy,
    #[error("a password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
    #[error("the thread that hashed a password ended")]
    Ended,
}

/// A core to hash one password on.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// Hashes passwords by argon2id, a few at once: each takes 19 MiB and keeps a core busy for tens of milliseconds.
#[derive(Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
    /// Checked where there is no account, so that an unknown e-mail costs as much time as a wrong password.
    nobody: Arc<str>,
}

impl Passwords {
    const MEMORY_KIB: u32 = 19_456;
    const ROUNDS: u32 = 2;
    const LANES: u32 = 1;
    /// How long to queue for a core before answering that we are busy.
    const WAIT: Duration = Duration::from_secs(3);

    pub fn new(at_once: usize) -> Result<Self, PasswordError> {
        let nobody = hash_now("the password of nobody")?;
        Ok(Self {
            permits: Arc::new(Semaphore::new(at_once)),
            nobody: nobody.into(),
        })
    }

    pub async fn hash(&self, password: &Password) -> Result<String, PasswordError> {
        let password = password.clone();
        let turn = self.turn().await?;
        run(turn, move || hash_now(password.expose())).await
    }

    /// Waits for a core.
    pub async fn turn(&self) -> Result<Turn, PasswordError> {
        let waiting = tokio::time::timeout(Self::WAIT, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = waiting
            .map_err(|_| PasswordError::Busy)?
            .map_err(|_| PasswordError::Ended)?;
        Ok(Turn { _permit: permit })
    }

    /// Whether the password is the one that was hashed. Without a hash it takes as long, and is not.
    pub async fn verify(&self, turn: Turn, password: &Password, hash: Option<String>) -> Result<bool, PasswordError> {
        let password = password.clone();
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.to_string());
        let matches = run(turn, move || verify_now(password.expose(), &hash)).await?;
        Ok(matches && known)
    }
}

async fn run<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
) -> Result<T, PasswordError> {
    let work = move || {
        let result = work();
        drop(turn);
        result
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| PasswordError::Ended)?
}

fn argon2id() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(Passwords::MEMORY_KIB, Passwords::ROUNDS, Passwords::LANES, None)
        .map_err(|error| PasswordError::Hash(error.into()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &str) -> Result<String, PasswordError> {
    let salt: [u8; 16] = rand::random();
    let salt = SaltString::encode_b64(&salt).map_err(PasswordError::Hash)?;
    let hash = argon2id()?
        .hash_password(password.as_bytes(), &salt)
        .map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

/// The hash itself says with which parameters it was made.
fn verify_now(password: &str, hash: &str) -> Result<bool, PasswordError> {
    let hash = PasswordHash::new(hash).map_err(PasswordError::Hash)?;
    match argon2id()?.verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => Err(PasswordError::Hash(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::parse_attempt(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn only_the_password_that_was_hashed_is_accepted() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash(&password("gallery-demo")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = async |text| {
            let turn = passwords.turn().await.unwrap();
            passwords
                .verify(turn, &password(text), Some(hash.clone()))
                .await
                .unwrap()
        };
        assert!(verify("gallery-demo").await);
        assert!(!verify("gallery-dem0").await);
    }

    #[tokio::test]
    async fn nobodys_password_is_never_accepted() {
        let passwords = Passwords::new(1).unwrap();
        let turn = passwords.turn().await.unwrap();
        let nobody = password("the password of nobody");
        assert!(!passwords.verify(turn, &nobody, None).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_a_core_is_told_so() {
        let passwords = Passwords::new(1).unwrap();
        let _busy = Arc::clone(&passwords.permits).acquire_owned().await.unwrap();
        assert!(matches!(
            passwords.hash(&password("gallery-demo")).await,
            Err(PasswordError::Busy)
        ));
    }
}
