//! How much may be in work at a time, and how many tries may be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use crate::routes::Class;
use crate::service::Service;

/// Requests in work, by this process. What is over the limit is refused at once: waiting would only make the answer
/// late for everybody.
#[derive(Debug)]
pub(crate) struct Admission {
    in_flight: AtomicU32,
    in_flight_max: u32,
}

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The process is full for requests of this class.
    Process,
    /// One service holds more than its share: the others shall go on.
    Service,
}

/// Counts a request for as long as it lives.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    service: Arc<Service>,
}

impl Admission {
    /// Lets at most so many in.
    pub(crate) fn new(in_flight_max: u32) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            in_flight_max,
        }
    }

    /// Requests in work just now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// The most that one service may hold.
    pub(crate) fn service_max(&self) -> u32 {
        self.in_flight_max / 4 * 3
    }

    /// What a service may hold just now.
    pub(crate) fn limit_of(&self, service: &Service) -> u32 {
        service.limit.current(self.service_max())
    }

    /// Whether there is so much to do that it matters who asks.
    pub(crate) fn is_busy(&self, service: &Service) -> bool {
        self.in_flight() >= self.process_max(Class::Background)
            || service.in_flight.load(Relaxed) >= service.limit.for_class(Class::Background, self.service_max())
    }

    fn process_max(&self, class: Class) -> u32 {
        match class {
            Class::Background => self.in_flight_max / 2,
            Class::Normal => self.in_flight_max / 8 * 7,
            Class::Checkout => self.in_flight_max,
        }
    }

    /// Lets a request in, or says why not.
    pub(crate) fn admit(self: &Arc<Self>, service: &Arc<Service>, class: Class) -> Result<Permit, Shed> {
        // Counted first, so that two at once can't both take the last place.
        let permit = Permit {
            admission: self.clone(),
            service: service.clone(),
        };
        let in_process = self.in_flight.fetch_add(1, Relaxed);
        let in_service = service.in_flight.fetch_add(1, Relaxed);
        if in_process >= self.process_max(class) {
            return Err(Shed::Process);
        }
        if in_service >= service.limit.for_class(class, self.service_max()) {
            return Err(Shed::Service);
        }
        service.limit.saw_in_flight(in_service + 1);
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.in_flight.fetch_sub(1, Relaxed);
        self.service.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A fifth of a request's worth of retry comes in with each request. So however much fails, the services never get
/// more than a fifth on top of their load.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    thousandths: AtomicI64,
}

const DEPOSIT_THOUSANDTHS: i64 = 200;
const RETRY_THOUSANDTHS: i64 = 1000;
/// What may pile up in quiet times: enough for everything that is in flight at a backend when it dies.
const BALANCE_MAX_THOUSANDTHS: i64 = 400 * RETRY_THOUSANDTHS;

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            thousandths: AtomicI64::new(BALANCE_MAX_THOUSANDTHS / 4),
        }
    }
}

impl RetryBudget {
    /// A request came.
    pub(crate) fn deposit(&self) {
        if self.thousandths.load(Relaxed) < BALANCE_MAX_THOUSANDTHS {
            self.thousandths.fetch_add(DEPOSIT_THOUSANDTHS, Relaxed);
        }
    }

    /// Pays for one retry, if there is enough.
    pub(crate) fn take(&self) -> bool {
        let take = |balance: i64| (balance >= RETRY_THOUSANDTHS).then_some(balance - RETRY_THOUSANDTHS);
        self.thousandths.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkout_is_shed_last() {
        let admission = Arc::new(Admission::new(16));
        let services = [
            Arc::new(Service::new("a".to_owned())),
            Arc::new(Service::new("b".to_owned())),
        ];
        let mut permits = Vec::new();
        for index in 0..8 {
            permits.push(admission.admit(&services[index % 2], Class::Background).expect("room"));
        }
        assert_eq!(
            admission.admit(&services[0], Class::Background).err(),
            Some(Shed::Process)
        );
        for index in 0..6 {
            permits.push(admission.admit(&services[index % 2], Class::Normal).expect("room"));
        }
        assert_eq!(admission.admit(&services[0], Class::Normal).err(), Some(Shed::Process));
        for service in &services {
            permits.push(admission.admit(service, Class::Checkout).expect("room"));
        }
        assert_eq!(
            admission.admit(&services[0], Class::Checkout).err(),
            Some(Shed::Process)
        );
        assert_eq!(admission.in_flight(), 16);
        drop(permits);
        assert_eq!(admission.in_flight(), 0);
    }

    #[test]
    fn one_stuck_service_leaves_room_for_the_other() {
        let admission = Arc::new(Admission::new(16));
        let stuck = Arc::new(Service::new("stuck".to_owned()));
        let other = Arc::new(Service::new("other".to_owned()));
        let permits: Vec<Permit> = std::iter::from_fn(|| admission.admit(&stuck, Class::Checkout).ok()).collect();
        assert_eq!(permits.len(), 12);
        assert_eq!(admission.admit(&stuck, Class::Checkout).err(), Some(Shed::Service));
        assert!(admission.admit(&other, Class::Normal).is_ok());
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests() {
        let budget = RetryBudget::default();
        while budget.take() {}
        (0..100).for_each(|_| budget.deposit());
        assert_eq!((0..100).filter(|_| budget.take()).count(), 20);
    }
}
