use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::future::Cache;

use crate::domain::Email;

/// Failed logins per account in the last minute, of this process. Successful ones are not limited.
#[derive(Clone)]
pub struct FailedLogins {
    counts: Cache<Email, Arc<AtomicU32>>,
}

impl FailedLogins {
    pub const WINDOW: Duration = Duration::from_secs(60);
    const PER_WINDOW_MAX: u32 = 10;
    const ACCOUNTS_MAX: u64 = 100_000;

    pub fn new() -> Self {
        Self {
            counts: Cache::builder()
                .max_capacity(Self::ACCOUNTS_MAX)
                .time_to_live(Self::WINDOW)
                .build(),
        }
    }

    /// Whether this account had too many.
    pub async fn exceeded(&self, email: &Email) -> bool {
        let count = self.counts.get(email).await;
        count.is_some_and(|count| count.load(Ordering::Relaxed) >= Self::PER_WINDOW_MAX)
    }

    pub async fn count(&self, email: &Email) {
        let count = self.counts.get_with(email.clone(), async { Arc::default() }).await;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Default for FailedLogins {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_is_closed_for_a_while_after_ten_failures_and_others_are_not() {
        let failed = FailedLogins::new();
        let (ada, ben) = (
            Email::parse("ada@example.org").unwrap(),
            Email::parse("ben@example.org").unwrap(),
        );
        for _ in 0..10 {
            assert!(!failed.exceeded(&ada).await);
            failed.count(&ada).await;
        }
        assert!(failed.exceeded(&ada).await);
        assert!(!failed.exceeded(&ben).await);
    }
}
