//! Rows by the thousand, in the text format of COPY.

use std::fmt::Write as _;

use sqlx::PgConnection;

use super::products::limit;
use crate::prints::{Edition, Print};

/// A product of the bulk catalogue: an open edition with the words of a print.
#[derive(Debug)]
pub struct ProductRow {
    /// Its id.
    pub id: i64,
    /// Its title.
    pub title: String,
    /// Whose words it has.
    pub print: Print,
    /// Whose picture it has.
    pub photo_id: Option<i64>,
}

/// A customer of the bulk load.
#[derive(Debug)]
pub struct AccountRow<'a> {
    /// The id, which carries the slot.
    pub user_id: i64,
    /// The address.
    pub email: &'a str,
}

/// Copies products and `copies` of each in stock.
pub async fn products(conn: &mut PgConnection, rows: &[ProductRow], copies: i64) -> sqlx::Result<()> {
    let (mut products, mut stock) = (String::new(), String::new());
    for row in rows {
        let print = &row.print;
        let edition = limit(Edition::Open(0));
        let fields = [
            row.id.to_string(),
            print.category.slug().to_owned(),
            escaped(&row.title),
            escaped(print.artist),
            print.year.to_string(),
            escaped(print.technique),
            escaped(print.description),
            print.price_cents.to_string(),
            edition.map_or_else(null, |copies| copies.to_string()),
            row.photo_id.map_or_else(null, |id| id.to_string()),
        ];
        products.push_str(&fields.join("\t"));
        products.push('\n');
        let _ = writeln!(stock, "{}\t{copies}\t{copies}", row.id);
    }
    let statement = "copy products (id, category_slug, title, artist, year, technique, description, price_cents, \
                     edition_size, photo_id) from stdin";
    copy(conn, statement, products).await?;
    copy(conn, "copy stock (product_id, initial, available) from stdin", stock).await
}

/// Copies accounts and the claims of their addresses.
pub async fn accounts(conn: &mut PgConnection, rows: &[AccountRow<'_>], password_hash: &str) -> sqlx::Result<()> {
    let (mut accounts, mut emails) = (String::new(), String::new());
    for row in rows {
        let name = row.email.split('@').next().unwrap_or_default();
        let hash = escaped(password_hash);
        let _ = writeln!(
            accounts,
            "{}\t{}\t{}\t{hash}",
            row.user_id,
            escaped(row.email),
            escaped(name)
        );
        let _ = writeln!(emails, "{}\t{}\tnow\tnow", escaped(row.email), row.user_id);
    }
    copy(
        conn,
        "copy accounts (user_id, email, name, password_hash) from stdin",
        accounts,
    )
    .await?;
    copy(
        conn,
        "copy emails (email, user_id, claimed_until, confirmed_at) from stdin",
        emails,
    )
    .await
}

async fn copy(conn: &mut PgConnection, statement: &str, text: String) -> sqlx::Result<()> {
    // Indexes of a large table take longer than an ordinary statement may; the transaction ends this again.
    sqlx::query("set local statement_timeout = '60s'")
        .execute(&mut *conn)
        .await?;
    let mut target = conn.copy_in_raw(statement).await?;
    target.send(text.into_bytes()).await?;
    target.finish().await?;
    Ok(())
}

fn null() -> String {
    "\\N".to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\t', "\\t")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}
