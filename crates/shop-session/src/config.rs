use clap::Args;
use shop_telemetry::startup::{SecretFile, parse_address};

/// Where the session store is.
#[derive(Debug, Clone, Args)]
pub struct SessionArgs {
    /// Sentinels that know who is primary, as host:port, separated by commas.
    #[arg(long, env = "SESSIONS_SENTINELS", value_delimiter = ',', required = true, value_parser = parse_address)]
    pub sessions_sentinels: Vec<String>,

    /// Name under which the sentinels know the session store.
    #[arg(long, env = "SESSIONS_MASTER", default_value = "sessions")]
    pub sessions_master: String,

    /// File with the password of the session store.
    #[arg(long, env = "SESSIONS_PASSWORD_FILE")]
    pub sessions_password_file: Option<SecretFile>,

    /// Replicas that must have a login or a cart write before it is acknowledged.
    #[arg(long, env = "SESSIONS_REPLICAS_MIN", default_value_t = 1)]
    pub sessions_replicas_min: u32,

    /// Connections to the primary, at most.
    #[arg(long, env = "SESSIONS_POOL_MAX", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub sessions_pool_max: u16,

    /// Put before every key, so that several programs can share one store.
    #[arg(long, env = "SESSIONS_KEY_PREFIX", default_value = "")]
    pub sessions_key_prefix: String,
}

impl SessionArgs {
    /// A store of one node without replicas or password, as the tests use it.
    #[must_use]
    pub fn single_node(sentinel: impl Into<String>, key_prefix: impl Into<String>) -> Self {
        Self {
            sessions_sentinels: vec![sentinel.into()],
            sessions_master: "sessions".to_owned(),
            sessions_password_file: None,
            sessions_replicas_min: 0,
            sessions_pool_max: 4,
            sessions_key_prefix: key_prefix.into(),
        }
    }
}
