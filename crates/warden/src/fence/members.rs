//! Asks the other members again and again where they stand, each at its own pace: a dead one holds up nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::config::FenceConfig;
use crate::postgres::{Postgres, Standing};

const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(25);
/// What a member was heard to say longer ago than this no longer counts.
const ANSWER_AGE_MAX: Duration = Duration::from_millis(600);

pub(super) struct Members {
    port: u16,
    user: String,
    password: String,
    asked: BTreeSet<String>,
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

/// Where a member stands, or why it doesn't say.
pub(super) type Answer = Result<Standing, String>;

#[derive(Default)]
struct Shared {
    answers: Mutex<BTreeMap<String, (Instant, Answer)>>,
    heard: Notify,
}

impl Members {
    pub(super) fn new(config: &FenceConfig) -> Self {
        Self {
            port: config.cluster.postgres_port,
            user: config.monitor_user.clone(),
            password: config.monitor_password_file.expose().to_owned(),
            asked: BTreeSet::new(),
            tasks: JoinSet::new(),
            shared: Arc::default(),
        }
    }

    /// Goes on asking these, besides those that are asked already.
    pub(super) fn ask<'a>(&mut self, members: impl IntoIterator<Item = &'a str>) {
        for member in members {
            if self.asked.insert(member.to_owned()) {
                let postgres = Postgres::remote(member, self.port, &self.user, &self.password, ANSWER_TIMEOUT);
                self.tasks
                    .spawn(interview(member.to_owned(), postgres, Arc::clone(&self.shared)));
            }
        }
    }

    pub(super) fn answers(&self) -> BTreeMap<String, Answer> {
        let answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = answers.iter().filter(|(_, (at, _))| at.elapsed() < ANSWER_AGE_MAX);
        fresh
            .map(|(member, (_, answer))| (member.clone(), answer.clone()))
            .collect()
    }

    /// Completes when somebody has answered.
    pub(super) async fn heard(&self) {
        self.shared.heard.notified().await;
    }
}

async fn interview(member: String, mut postgres: Postgres, shared: Arc<Shared>) {
    loop {
        let answer = postgres.standing().await;
        let answer = answer.map_err(|error| chain(&error));
        {
            let mut answers = shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.insert(member.clone(), (Instant::now(), answer));
        }
        shared.heard.notify_one();
        sleep(PAUSE).await;
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
