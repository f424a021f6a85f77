//! What is done for one request that is served here: look up, perhaps fetch, deliver.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

use crate::body::{self, EdgeBody};
use crate::cache_status::{CacheStatus, Forward};
use crate::deliver::{self, Source, Visit};
use crate::fetch::headers::OriginNotes;
use crate::fetch::{Ask, Failure, Fetched, Outcome};
use crate::handler::App;
use crate::http_cache::cache_control::CacheControl;
use crate::http_cache::freshness::{Freshness, Lifetime, NotStored, OriginFailure};
use crate::http_cache::unix_now;
use crate::http_cache::vary::Selection;
use crate::request;
use crate::store::{CacheKey, Entry, Found, StoredBody};

/// A look-up is repeated if what it found got lost or was somebody else's variant; in the end the origin answers.
const ROUNDS_MAX: u32 = 3;

/// The slug and the title of the answer where there is too much to do.
const OVERLOADED: (&str, &str) = ("overloaded", "Too much at once: please try again in a moment");

/// A response on its way to the client, and what the cache did about it.
pub struct Answer {
    /// The response, not yet signed.
    pub response: Response<EdgeBody>,
    /// What the cache did.
    pub cache: CacheStatus,
    /// How the origin made it, if it did.
    pub notes: OriginNotes,
}

impl Answer {
    /// An answer that the origin had no part in.
    pub fn new(response: Response<EdgeBody>, cache: CacheStatus) -> Self {
        Self {
            response,
            cache,
            notes: OriginNotes::default(),
        }
    }
}

/// What a look-up leads to.
enum Step {
    Done(Box<Answer>),
    /// What was found is not usable: look again.
    Again,
    Fetch(Forward, Option<Arc<Entry>>),
}

/// One request, while it is being answered.
pub struct Errand<'a> {
    app: &'a Arc<App>,
    visit: Visit<'a>,
    key: CacheKey,
    id: &'a HeaderValue,
}

impl<'a> Errand<'a> {
    /// A request for a path that was checked already.
    pub fn new(app: &'a Arc<App>, visit: Visit<'a>, path: &str, id: &'a HeaderValue) -> Self {
        Self {
            app,
            visit,
            key: CacheKey::new(path),
            id,
        }
    }

    /// Answers it. Never fails: what goes wrong becomes a response.
    pub async fn run(self) -> Answer {
        let mut variant = None;
        for _ in 0..ROUNDS_MAX {
            let (why, stale) = match self.look_up(&mut variant).await {
                Step::Done(answer) => return *answer,
                Step::Again => continue,
                Step::Fetch(why, stale) => (why, stale),
            };
            if CacheControl::of(self.visit.headers).only_if_cached {
                let status = StatusCode::GATEWAY_TIMEOUT;
                let response = self.problem(status, "not-cached", "This is not in the cache");
                return Answer::new(response, CacheStatus::OnlyIfCached);
            }
            let ask = self.ask(stale, variant.clone());
            let fetched = self.app.fetcher.fetch(ask.clone()).await;
            if let Some(answer) = self.landed(fetched, &ask, why, &mut variant).await {
                return answer;
            }
        }
        self.alone(&self.ask(None, variant), Forward::UriMiss).await
    }

    /// Looks into the cache. Sets the variant that a fetch is to bring.
    async fn look_up(&self, variant: &mut Option<Selection>) -> Step {
        let now = unix_now();
        let entry = match self.app.store.find(&self.key, self.visit.headers) {
            Found::Entry(entry) => entry,
            Found::OtherVariant(selection) => {
                *variant = Some(selection);
                return Step::Fetch(Forward::VaryMiss, None);
            }
            Found::Nothing => return Step::Fetch(Forward::UriMiss, None),
        };
        *variant = (!entry.head.selection.is_empty()).then(|| entry.head.selection.clone());
        let lifetime = entry.head.lifetime;
        let ttl_seconds = ttl_seconds(&lifetime, now);
        let cache = if lifetime.usable_while_revalidating(now) {
            CacheStatus::Hit { ttl_seconds }
        } else if self.app.fetcher.origin_is_failing() && self.usable_on_error(&entry, OriginFailure::Unreachable) {
            // Waiting for an origin that has just failed everybody would only make its failure everybody's.
            CacheStatus::StaleOnError {
                ttl_seconds,
                status: None,
            }
        } else {
            return Step::Fetch(Forward::Stale, Some(entry));
        };
        if matches!(lifetime.freshness(now), Freshness::Stale { .. }) {
            self.app
                .fetcher
                .refresh(self.ask(Some(Arc::clone(&entry)), variant.clone()));
        }
        self.stored(&entry, cache)
            .await
            .map_or(Step::Again, |answer| Step::Done(Box::new(answer)))
    }

    /// Makes an answer of what the origin brought; none if it was for somebody else, or got lost.
    async fn landed(
        &self,
        fetched: Fetched,
        ask: &Ask,
        why: Forward,
        variant: &mut Option<Selection>,
    ) -> Option<Answer> {
        let Fetched { outcome, collapsed } = fetched;
        match outcome {
            Outcome::Revalidated { entry, notes } if self.is_mine(&entry.head.selection) => {
                let ttl_seconds = ttl_seconds(&entry.head.lifetime, unix_now());
                let cache = CacheStatus::Revalidated { ttl_seconds, collapsed };
                let answer = self.stored(&entry, cache).await?;
                Some(Answer { notes, ..answer })
            }
            Outcome::Arriving(fill) if self.is_mine(&fill.head.selection) => {
                let cache = CacheStatus::Miss {
                    why,
                    status: fill.head.status,
                    collapsed,
                };
                let source = Source::Arriving(Arc::clone(&fill));
                let response = deliver::object(self.visit, &fill.head, source).await;
                Some(Answer {
                    response,
                    cache,
                    notes: fill.notes.clone(),
                })
            }
            // Somebody else's request was joined, and it was for another variant.
            Outcome::Revalidated { entry, .. } => {
                *variant = Some(entry.head.selection.again_for(self.visit.headers));
                None
            }
            Outcome::Arriving(fill) => {
                *variant = Some(fill.head.selection.again_for(self.visit.headers));
                None
            }
            Outcome::Pass(pass) => Some(match pass.take_for(self.visit.headers, collapsed) {
                Some(response) => passed(response, why, Some(pass.reason)),
                None => self.alone(ask, why).await,
            }),
            Outcome::Failed(failure) => Some(self.failed(ask, &failure, why).await),
        }
    }

    /// Delivers what is stored; none if its body got lost.
    async fn stored(&self, entry: &Arc<Entry>, cache: CacheStatus) -> Option<Answer> {
        let source = if deliver::needs_body(self.visit, &entry.head) {
            match self.app.store.body(entry).await? {
                StoredBody::Memory(bytes) => Source::Memory(bytes),
                StoredBody::File(file) => Source::File(file),
                StoredBody::Busy => return Some(self.busy()),
            }
        } else {
            Source::None
        };
        let response = deliver::object(self.visit, &entry.head, source).await;
        Some(Answer::new(response, cache))
    }

    /// Fetches for this client alone.
    async fn alone(&self, ask: &Ask, why: Forward) -> Answer {
        match self.app.fetcher.fetch_alone(ask).await {
            Ok(response) => passed(response, why, None),
            Err(failure) => self.error(&failure, why),
        }
    }

    /// The origin failed: something stale stands in, if it may.
    async fn failed(&self, ask: &Ask, failure: &Failure, why: Forward) -> Answer {
        let stand_in = ask
            .stale
            .as_ref()
            .filter(|entry| self.usable_on_error(entry, failure.kind()));
        if let Some(entry) = stand_in {
            let status = if let Failure::Status(answer) = failure {
                Some(answer.status())
            } else {
                None
            };
            let ttl_seconds = ttl_seconds(&entry.head.lifetime, unix_now());
            let cache = CacheStatus::StaleOnError { ttl_seconds, status };
            if let Some(answer) = self.stored(entry, cache).await {
                return answer;
            }
        }
        self.error(failure, why)
    }

    fn error(&self, failure: &Failure, why: Forward) -> Answer {
        if let Failure::Status(answer) = failure {
            let cache = CacheStatus::Error {
                why,
                status: Some(answer.status()),
            };
            return Answer::new(answer.clone().map(body::full), cache);
        }
        let (slug, title) = match failure.status() {
            StatusCode::SERVICE_UNAVAILABLE => OVERLOADED,
            StatusCode::GATEWAY_TIMEOUT => ("origin-timeout", "The shop did not answer in time"),
            _ => ("origin-unreachable", "The shop can't be reached just now"),
        };
        let response = self.try_again(failure.status(), slug, title);
        Answer::new(response, CacheStatus::Error { why, status: None })
    }

    /// What is stored can't be sent just now: the shop has it too.
    fn busy(&self) -> Answer {
        let (slug, title) = OVERLOADED;
        let response = self.try_again(StatusCode::SERVICE_UNAVAILABLE, slug, title);
        Answer::new(response, CacheStatus::Refused)
    }

    /// A problem that is probably over in a second.
    fn try_again(&self, status: StatusCode, slug: &str, title: &str) -> Response<EdgeBody> {
        let mut response = self.problem(status, slug, title);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }

    fn problem(&self, status: StatusCode, slug: &str, title: &str) -> Response<EdgeBody> {
        deliver::problem(status, slug, title, self.key.as_str(), self.id)
    }

    fn ask(&self, stale: Option<Arc<Entry>>, variant: Option<Selection>) -> Ask {
        Ask {
            key: self.key.clone(),
            request: self.visit.headers.clone(),
            forwarded: request::forwarded(self.visit.headers, self.id, &self.app.instance),
            variant,
            stale,
        }
    }

    fn usable_on_error(&self, entry: &Entry, failure: OriginFailure) -> bool {
        let default_seconds = self.app.stale_if_unreachable_seconds;
        entry
            .head
            .lifetime
            .usable_on_error(failure, default_seconds, unix_now())
    }

    fn is_mine(&self, selection: &Selection) -> bool {
        selection.matches(self.visit.headers)
    }
}

fn passed(response: Response<EdgeBody>, why: Forward, reason: Option<NotStored>) -> Answer {
    let notes = OriginNotes::of(response.headers());
    let cache = CacheStatus::Pass {
        why,
        status: response.status(),
        reason,
    };
    Answer { response, cache, notes }
}

/// What is left of a lifetime; below zero if it is over.
fn ttl_seconds(lifetime: &Lifetime, now: u64) -> i64 {
    match lifetime.freshness(now) {
        Freshness::Fresh { ttl_seconds } => i64::try_from(ttl_seconds).unwrap_or(i64::MAX),
        Freshness::Stale { by_seconds } => -i64::try_from(by_seconds).unwrap_or(i64::MAX),
    }
}
