//! Where the testbed's databases are. `scripts/testbed up` starts them, `scripts/testbed env` prints these variables.

/// Postgres, with a database that tests don't touch, as a superuser.
pub fn database_url() -> String {
    variable("DATABASE_URL")
}

/// The Redis that holds sessions.
pub fn redis_url() -> String {
    variable("TEST_REDIS_URL")
}

/// The Sentinel (`host:port`) that knows the Redis of the sessions as `sessions`.
pub fn sentinel() -> String {
    variable("TEST_SENTINEL")
}

/// The Redis that caches.
pub fn cache_url() -> String {
    variable("TEST_CACHE_URL")
}

/// RabbitMQ.
pub fn amqp_url() -> String {
    variable("TEST_AMQP_URL")
}

/// An etcd (`host:port`), for keys of one's own.
pub fn etcd_host() -> String {
    variable("TEST_ETCD")
}

/// A name that no other test has, for keys and queues in shared databases.
pub fn unique(stem: &str) -> String {
    format!("{stem}_{}", uuid::Uuid::new_v4().simple())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `scripts/testbed up` and then `eval \"$(scripts/testbed env)\"`")
    })
}
