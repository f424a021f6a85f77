//! Categories: few, and read whole.

use sqlx::PgConnection;

use crate::domain::product::Category;

/// All categories in the order of the menu.
pub async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<Category>> {
    sqlx::query_as!(
        Category,
        "select slug, name, description from categories order by position, slug limit 100",
    )
    .fetch_all(conn)
    .await
}
