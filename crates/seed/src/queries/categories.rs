//! The shop's departments.

use sqlx::PgConnection;

use crate::prints::Category;

/// Adds those that are missing.
pub async fn add(conn: &mut PgConnection) -> sqlx::Result<()> {
    for (position, category) in (1..).zip(Category::ALL) {
        sqlx::query!(
            "
            insert into categories (slug, name, description, position) values ($1, $2, $3, $4)
            on conflict (slug) do nothing
            ",
            category.slug(),
            category.name(),
            category.description(),
            position,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
