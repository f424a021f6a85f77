//! `make chaos PLAN=short` as a test: a kill in each tier, while customers of every kind are about.

use anyhow::{Result, ensure};
use chaos::{
    plan, report, run,
    screen::Screen,
    settings::{Plan, RATE_DEFAULT, Settings},
};
use system_tests::stack::Stack;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_in_each_tier_nothing_acknowledged_is_lost_nor_oversold_and_all_is_whole_again() -> Result<()> {
    let stack = Stack::from_env()?;
    stack.heal().await?;
    let settings = Settings {
        stack,
        rate: RATE_DEFAULT,
        plan: Plan::Listed(plan::short()),
    };
    let outcome = run::run(&settings, Screen::silent(), &CancellationToken::new()).await?;
    let table = report::table(&outcome.rows, &outcome.summary);
    println!("{table}");
    let lines: Vec<String> = outcome.rows.iter().map(report::line).collect();
    let is_done = outcome.rows.len() == plan::short().len() && outcome.rows.iter().all(|row| row.skipped.is_none());
    ensure!(is_done, "not every fault was tried:\n{table}");
    let is_good = outcome.summary.is_good(&outcome.rows);
    ensure!(is_good, "{table}\n{}", lines.join("\n"));
    Ok(())
}
