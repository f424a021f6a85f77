//! One load at a time for each key, in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::local::Entry;

#[derive(Default)]
pub(crate) struct Flights {
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Option<Outcome>>>>>,
}

/// What came of a flight.
#[derive(Clone)]
pub(crate) enum Outcome {
    Landed(Entry),
    /// Loading failed.
    Crashed,
    /// The request that loaded was dropped.
    Lost,
}

pub(crate) enum Seat {
    /// This request loads.
    Pilot(Flight),
    /// Another one does.
    Passenger(Passenger),
}

/// Ends the flight when it is dropped.
pub(crate) struct Flight {
    key: String,
    outcome: watch::Sender<Option<Outcome>>,
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Option<Outcome>>>>>,
}

pub(crate) struct Passenger(watch::Receiver<Option<Outcome>>);

impl Flights {
    pub(crate) fn board(&self, key: &str) -> Seat {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(key) {
            return Seat::Passenger(Passenger(flight.clone()));
        }
        let (outcome, receiver) = watch::channel(None);
        under_way.insert(key.to_owned(), receiver);
        Seat::Pilot(Flight {
            key: key.to_owned(),
            outcome,
            under_way: self.under_way.clone(),
        })
    }
}

impl Flight {
    pub(crate) fn land(self, entry: Entry) {
        self.outcome.send_replace(Some(Outcome::Landed(entry)));
    }

    pub(crate) fn crash(self) {
        self.outcome.send_replace(Some(Outcome::Crashed));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

impl Passenger {
    pub(crate) async fn landed(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Outcome::Lost),
            Err(_) => Outcome::Lost,
        }
    }
}
