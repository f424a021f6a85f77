//! What customers notice when nothing dies by accident: a backend stalls, a new version is rolled out, a balancer is told
//! to stop. Nothing, is what they should.

use std::time::Duration;

use anyhow::Result;
use system_tests::stack::{Stack, docker};

use crate::faults::while_buying;

/// Longer than a health check and a try may take, shorter than a customer's patience.
const FROZEN: Duration = Duration::from_secs(10);
/// A container that is told to stop gets so long to finish what it does: more than its own deadline for that.
const STOP_SECONDS: &str = "40";

#[tokio::test]
async fn freezing_an_inventory_fails_no_page() -> Result<()> {
    let stack = Stack::from_env()?;
    let seen = while_buying(&stack, || async {
        let frozen = stack.one_of("inventory").await?;
        docker(&["pause", &frozen.id]).await?;
        tokio::time::sleep(FROZEN).await;
        docker(&["unpause", &frozen.id]).await.map(drop)
    })
    .await?;
    seen.assert_no_page_failed()
}

#[tokio::test]
async fn restarting_each_service_in_turn_fails_nothing() -> Result<()> {
    let stack = Stack::from_env()?;
    let seen = while_buying(&stack, || async {
        for container in stack.containers().await? {
            if matches!(container.service.as_str(), "inventory" | "user") {
                docker(&["restart", "--time", STOP_SECONDS, &container.id]).await?;
                stack.heal().await?;
            }
        }
        Ok(())
    })
    .await?;
    seen.assert_nothing_failed()
}

#[tokio::test]
async fn stopping_a_balancer_fails_nothing() -> Result<()> {
    let stack = Stack::from_env()?;
    let seen = while_buying(&stack, || async {
        let balancer = stack.one_of("balancer").await?;
        docker(&["stop", "--time", STOP_SECONDS, &balancer.id]).await.map(drop)
    })
    .await?;
    seen.assert_nothing_failed()
}
