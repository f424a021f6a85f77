use clap::Args;
use shop_telemetry::startup::{SecretFile, parse_address};

/// Where the cache is, and its bounds.
#[derive(Debug, Clone, Args)]
pub struct CacheArgs {
    /// The Redis that caches, as host:port.
    #[arg(long, env = "CACHE_ADDR", default_value = "cache:6379", value_parser = parse_address)]
    pub cache_addr: String,

    /// File with its password.
    #[arg(long, env = "CACHE_PASSWORD_FILE")]
    pub cache_password_file: Option<SecretFile>,

    /// Connections to Redis, at most.
    #[arg(long, env = "CACHE_POOL_MAX", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub cache_pool_max: u16,

    /// Values kept in this process, at most.
    #[arg(long, env = "CACHE_LOCAL_ENTRIES_MAX", default_value_t = 20_000)]
    pub cache_local_entries_max: u64,

    /// Loads from the database that may be under way at the same time.
    #[arg(long, env = "CACHE_LOADS_MAX", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub cache_loads_max: u16,

    /// An answer of Redis that takes longer is not waited for, in milliseconds: slower than that, the cache is no help.
    #[arg(long, env = "CACHE_TIMEOUT_MS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub cache_timeout_ms: u64,

    /// Put before every key, so that several programs can share one Redis.
    #[arg(long, env = "CACHE_KEY_PREFIX", default_value = "")]
    pub cache_key_prefix: String,
}

impl CacheArgs {
    /// A cache without a password, as the tests use it: patient, since no time is to decide a test.
    #[must_use]
    pub fn at(addr: impl Into<String>, key_prefix: impl Into<String>) -> Self {
        Self {
            cache_addr: addr.into(),
            cache_password_file: None,
            cache_pool_max: 4,
            cache_local_entries_max: 1_000,
            cache_loads_max: 32,
            cache_timeout_ms: 5_000,
            cache_key_prefix: key_prefix.into(),
        }
    }
}
