//! Databases of other releases: what their tables of migrations look like.

/// Statements after which a database lacks the newest migration, as before a release.
pub const WITHOUT_NEWEST_MIGRATION: &str = "
    create table later as select * from _sqlx_migrations order by version desc limit 1;
    delete from _sqlx_migrations where version in (select version from later)";

/// The statement that brings it back.
pub const WITH_NEWEST_MIGRATION: &str = "insert into _sqlx_migrations select * from later";

/// The statement after which a database has had a migration of a release to come.
pub const WITH_A_LATER_MIGRATION: &str = "
    insert into _sqlx_migrations (version, description, success, checksum, execution_time)
    values (9999, 'later', true, '', 0)";
