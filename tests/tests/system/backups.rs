//! Base backup, archived log and restore: what was there at a moment is there again, to the row, and nothing of later.

use std::time::Duration;

use anyhow::{Result, ensure};
use system_tests::{
    customer::Customer,
    stack::{Stack, docker},
    wait_until,
};

const ROWS: &str = "select string_agg(format('%s=%s', id, what), ' ' order by id) from restore_check";
const PRODUCTS: &str = "select count(*) || ' ' || md5(string_agg(p::text, '' order by id)) from products p";
/// Of the database's own clock, which is the one that commits are stamped with.
const MOMENT: &str = r#"select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;
const TIMELINE: &str = "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int";

async fn write(stack: &Stack, what: &str) -> Result<()> {
    let insert = format!("insert into restore_check (what) select '{what}' from generate_series(1, 3)");
    stack.sql("inventory", &insert).await.map(drop)
}

async fn restore(stack: &Stack, to: &str) -> Result<String> {
    stack
        .script("restore", &[("TO", to), ("YES", "1")], Duration::from_secs(600))
        .await
}

async fn is_refused(stack: &Stack, to: &str, because: &str) -> Result<()> {
    match restore(stack, to).await {
        Ok(said) => anyhow::bail!("TO={to} was not refused: {said}"),
        Err(error) => ensure!(error.to_string().contains(because), "TO={to}: {error}"),
    }
    Ok(())
}

#[tokio::test]
#[ignore = "closes the shop for minutes: SYSTEM_TEST_FILTER='backups --ignored' make test"]
async fn a_restore_brings_back_the_rows_of_its_moment_and_none_of_later() -> Result<()> {
    let stack = Stack::from_env()?;
    stack.heal().await?;
    let table = "create table if not exists restore_check (id bigint generated always as identity, what text not null)";
    stack.sql("inventory", table).await?;

    write(&stack, "before the backup").await?;
    let said = stack.script("backup", &[], Duration::from_secs(600)).await?;
    ensure!(
        said.contains("base backup"),
        "it should say what was taken and how big: {said}"
    );
    write(&stack, "after the backup").await?;
    // The log from here on lies on another timeline.
    let primary = stack.one_of(&stack.postgres_primary().await?).await?;
    let patroni = "patronictl -c /run/zillion/patroni.yml switchover shop --force";
    docker(&["exec", "--user", "postgres", &primary.id, "sh", "-c", patroni]).await?;
    stack.heal().await?;
    write(&stack, "after the switchover").await?;

    let rows = stack.sql("inventory", ROWS).await?;
    let products = stack.sql("inventory", PRODUCTS).await?;
    let timeline: u32 = stack.sql("inventory", TIMELINE).await?.parse()?;
    let moment = stack.sql("inventory", MOMENT).await?;
    write(&stack, "after the moment").await?;
    stack.sql("inventory", "delete from restore_check where id = 1").await?;

    is_refused(&stack, "yesterday", "is neither `latest` nor a time such as").await?;
    is_refused(&stack, "2026-01-31T12:00:00", "lacks the time zone").await?;
    is_refused(&stack, "2020-01-31T12:00:00Z", "no base backup ended before").await?;
    is_refused(&stack, "2999-01-31T12:00:00Z", "is in the future").await?;

    let said = restore(&stack, &moment).await?;
    ensure!(
        said.contains("restored to"),
        "it should say which moment was restored: {said}"
    );
    stack.heal().await?;
    ensure!(
        stack.sql("inventory", ROWS).await? == rows,
        "other rows than at {moment}"
    );
    ensure!(
        stack.sql("inventory", PRODUCTS).await? == products,
        "other products than at {moment}"
    );
    let new_timeline: u32 = stack.sql("inventory", TIMELINE).await?.parse()?;
    ensure!(
        new_timeline > timeline,
        "positions in cookies are of timeline {timeline}, the new one is {new_timeline}"
    );

    write(&stack, "after the restore").await?;
    let customer = Customer::guest(&stack.shop);
    wait_until("the shop is open", Duration::from_secs(60), || async {
        customer.get("/api/products").await.map(drop).map_err(|e| e.to_string())
    })
    .await?;
    stack.audit().await?;
    stack.sql("inventory", "drop table restore_check").await.map(drop)
}
