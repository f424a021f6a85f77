//! Accounts, in the cluster that the user's slot points to.

use std::time::Duration;

use shop_session::Role;
use sqlx::PgConnection;

use crate::domain::{AccountName, Address, Email, UserId};

/// A person as their own pages show them.
#[derive(Debug, Clone)]
pub struct Account {
    pub user_id: UserId,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub photo_id: Option<i64>,
    pub recipient: String,
    pub street: String,
    pub postcode: String,
    pub city: String,
    pub country: String,
}

/// What a login needs to know.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub user_id: UserId,
    pub name: String,
    pub role: Role,
    pub password_hash: String,
}

fn role_from(text: &str) -> Role {
    if text == "shopkeeper" {
        Role::Shopkeeper
    } else {
        Role::Customer
    }
}

/// The next number of this cluster, of which a user id is made.
pub async fn next_number(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select nextval('user_ids') as "number!""#)
        .fetch_one(conn)
        .await
}

/// Writes a new account. Once more does no harm, and writes all the same: what another connection committed may be seen
/// here before a second host has it. False: the number is somebody else's. One that was given just before its host died may
/// be given again.
pub async fn insert(
    conn: &mut PgConnection,
    user_id: UserId,
    email: &Email,
    name: &AccountName,
    password_hash: &str,
) -> sqlx::Result<bool> {
    let written = sqlx::query!(
        "insert into accounts (user_id, email, name, password_hash) values ($1, $2, $3, $4)
         on conflict (user_id) do update set user_id = excluded.user_id
             where accounts.email = excluded.email and accounts.password_hash = excluded.password_hash",
        user_id.0,
        email.as_str(),
        name.as_str(),
        password_hash
    );
    Ok(written.execute(conn).await?.rows_affected() == 1)
}

/// Whether there is this account. It is written once more, unchanged: after the commit a second host has it, and not only
/// the one that was asked.
pub async fn touch(conn: &mut PgConnection, user_id: UserId, email: &Email) -> sqlx::Result<bool> {
    let written = sqlx::query!(
        "update accounts set user_id = user_id where user_id = $1 and email = $2",
        user_id.0,
        email.as_str()
    );
    Ok(written.execute(conn).await?.rows_affected() == 1)
}

/// Takes back an account whose e-mail went to somebody else before the registration was through.
pub async fn delete(conn: &mut PgConnection, user_id: UserId) -> sqlx::Result<()> {
    sqlx::query!("delete from accounts where user_id = $1", user_id.0)
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn find(conn: &mut PgConnection, user_id: UserId) -> sqlx::Result<Option<Account>> {
    let row = sqlx::query!(
        "select user_id, email, name, role, photo_id, recipient, street, postcode, city, country
         from accounts where user_id = $1",
        user_id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Account {
        user_id: UserId(row.user_id),
        email: row.email,
        name: row.name,
        role: role_from(&row.role),
        photo_id: row.photo_id,
        recipient: row.recipient,
        street: row.street,
        postcode: row.postcode,
        city: row.city,
        country: row.country,
    }))
}

pub async fn credentials(conn: &mut PgConnection, user_id: UserId) -> sqlx::Result<Option<Credentials>> {
    let row = sqlx::query!(
        "select name, role, password_hash from accounts where user_id = $1",
        user_id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Credentials {
        user_id,
        name: row.name,
        role: role_from(&row.role),
        password_hash: row.password_hash,
    }))
}

/// Whether an account was made less than `age` ago.
pub async fn is_younger_than(conn: &mut PgConnection, user_id: UserId, age: Duration) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (
               select from accounts where user_id = $1 and created_at > now() - make_interval(secs => $2)
           ) as "found!""#,
        user_id.0,
        age.as_secs_f64()
    );
    found.fetch_one(conn).await
}

/// Changes what the account's page lets a person change. `address` is kept as it is where none is given.
pub async fn update(
    conn: &mut PgConnection,
    user_id: UserId,
    name: &AccountName,
    address: Option<&Address>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update accounts set name = $2,
             recipient = coalesce($3, recipient), street = coalesce($4, street), postcode = coalesce($5, postcode),
             city = coalesce($6, city), country = coalesce($7, country)
         where user_id = $1",
        user_id.0,
        name.as_str(),
        address.map(Address::recipient),
        address.map(Address::street),
        address.map(Address::postcode),
        address.map(Address::city),
        address.map(Address::country)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Remembers the address of an order for the next one.
pub async fn set_address(conn: &mut PgConnection, user_id: UserId, address: &Address) -> sqlx::Result<()> {
    sqlx::query!(
        "update accounts set recipient = $2, street = $3, postcode = $4, city = $5, country = $6
         where user_id = $1 and (recipient, street, postcode, city, country) is distinct from ($2, $3, $4, $5, $6)",
        user_id.0,
        address.recipient(),
        address.street(),
        address.postcode(),
        address.city(),
        address.country()
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn set_photo(conn: &mut PgConnection, user_id: UserId, photo_id: Option<i64>) -> sqlx::Result<()> {
    sqlx::query!(
        "update accounts set photo_id = $2 where user_id = $1",
        user_id.0,
        photo_id
    )
    .execute(conn)
    .await?;
    Ok(())
}
