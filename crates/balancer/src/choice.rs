//! The choice of one backend among those of a service.

use std::sync::Arc;

use crate::backend::{Backend, Health, Standing};
use crate::balance::Algorithm;

/// Two costs within this factor of each other are the same: the difference is noise, and following it would send
/// everything to one of two equals.
const NOISE: f64 = 1.5;
/// Fewer requests than this at a time are no load: a backend that has them still answers as fast as it can.
const LOAD_MIN: u32 = 8;
/// How much more than the average a backend may have to do and still get what its keys say.
const HASH_LOAD_FACTOR: f64 = 1.25;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Backends that must not be chosen again.
    pub(crate) tried: &'a [u64],
    pub(crate) algorithm: &'a Algorithm,
    /// By [`Algorithm::key_of`].
    pub(crate) key: Option<u64>,
    /// Requests that one backend may have at a time.
    pub(crate) in_flight_max: u32,
    /// Whether a backend in a worse state will do if those in the best are full.
    pub(crate) takes_worse: bool,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice<'a> {
    /// The one to ask.
    Backend(&'a Arc<Backend>),
    /// There are some, but all have as much to do as they may.
    Full,
    /// There is nobody.
    Nobody,
}

/// Chooses one that was not tried yet, among those in the best state.
///
/// Those that are down are never chosen, ejected and slow ones only when there is nobody better: when all of them look
/// bad, perhaps it is this process that has no time.
pub(crate) fn choose<'a>(backends: &'a [Arc<Backend>], wanted: &Wanted<'_>) -> Choice<'a> {
    let has_room = |backend: &Backend| backend.in_flight() < wanted.in_flight_max;
    let mut best_rank = u8::MAX;
    let mut candidates = 0;
    let mut is_anybody_there = false;
    for backend in backends {
        let Some(rank) = rank(backend, wanted.tried) else {
            continue;
        };
        is_anybody_there = true;
        let has_room = has_room(backend);
        if rank < best_rank && (has_room || !wanted.takes_worse) {
            best_rank = rank;
            candidates = 0;
        }
        candidates += usize::from(rank == best_rank && has_room);
    }
    if candidates == 0 {
        return if is_anybody_there { Choice::Full } else { Choice::Nobody };
    }
    let candidate = |backend: &&Arc<Backend>| rank(backend, wanted.tried) == Some(best_rank) && has_room(backend);
    let open = || backends.iter().filter(candidate);
    let chosen = match (wanted.algorithm, wanted.key) {
        (Algorithm::ConsistentHash(_), Some(key)) => by_key(open, key),
        (Algorithm::LeastLoaded, _) => least_loaded(open()),
        _ => cheaper_of_two(open, candidates),
    };
    // Ranks and loads may change between the passes.
    chosen.map_or(Choice::Full, Choice::Backend)
}

/// Lower is better; none at all for those that are out of the question.
pub(crate) fn rank(backend: &Backend, tried: &[u64]) -> Option<u8> {
    if tried.contains(&backend.id) {
        return None;
    }
    match (backend.health(), backend.is_ejected()) {
        (Health::Up, false) => Some(0),
        (Health::Up, true) => Some(1),
        (Health::Unknown, _) => Some(2),
        (Health::Slow, _) => Some(3),
        (Health::Down, _) => None,
    }
}

fn cheaper_of_two<'a, I: Iterator<Item = &'a Arc<Backend>>>(
    open: impl Fn() -> I,
    candidates: usize,
) -> Option<&'a Arc<Backend>> {
    if candidates == 1 {
        return open().next();
    }
    let first_index = rand::random_range(0..candidates);
    let offset = rand::random_range(1..candidates);
    let first = open().nth(first_index).or_else(|| open().next())?;
    let second = open().nth((first_index + offset) % candidates).unwrap_or(first);
    let standings = (first.standing(), second.standing());
    let first_is_fine = is_fine_beside(&standings.0, &standings.1);
    Some(if first_is_fine { first } else { second })
}

/// Whether the first of two may have the request.
fn is_fine_beside(first: &Standing, second: &Standing) -> bool {
    // As long as the one that usually answers faster has next to nothing to do, a request that went to the slower one
    // would only take longer; how dear each is counts under load.
    if let (Some(first_us), Some(second_us)) = (first.typical_us, second.typical_us) {
        if first_us * NOISE < second_us && first.in_flight < LOAD_MIN {
            return true;
        }
        if second_us * NOISE < first_us && second.in_flight < LOAD_MIN {
            return false;
        }
    }
    // One that nobody has measured is taken to be as the other, or it would look best until its first answer.
    let (first_us, second_us) = (first.known_us, second.known_us);
    first.cost_at(first_us.or(second_us)) <= second.cost_at(second_us.or(first_us)) * NOISE
}

/// Of several with equally little to do, each has the same chance.
fn least_loaded<'a>(open: impl Iterator<Item = &'a Arc<Backend>>) -> Option<&'a Arc<Backend>> {
    let mut least: Option<(f64, &Arc<Backend>)> = None;
    let mut equals = 1;
    for backend in open {
        let load = backend.load();
        match least {
            Some((least_load, _)) if load > least_load => continue,
            Some((least_load, _)) if load == least_load => {
                equals += 1;
                if rand::random_range(0..equals) > 0 {
                    continue;
                }
            }
            _ => equals = 1,
        }
        least = Some((load, backend));
    }
    least.map(|(_, backend)| backend)
}

/// Rendezvous hashing with bounded loads: of all backends that don't have too much to do already, the one whose address
/// goes best with the key. If a backend goes, only its own keys move, and if one comes, only those that it gets.
fn by_key<'a, I: Iterator<Item = &'a Arc<Backend>>>(open: impl Fn() -> I, key: u64) -> Option<&'a Arc<Backend>> {
    let (count, in_flight) = open().fold((0u32, 0u32), |(count, in_flight), backend| {
        (count + 1, in_flight.saturating_add(backend.in_flight()))
    });
    let fair_load = f64::from(in_flight.saturating_add(1)) / f64::from(count.max(1));
    let load_max = ((HASH_LOAD_FACTOR * fair_load).ceil() as u32).max(LOAD_MIN);
    open()
        .filter(|backend| backend.in_flight() < load_max)
        .max_by_key(|backend| mixed(key, backend.address_hash))
}

/// A number that looks random, and is the same for the same two.
fn mixed(key: u64, address_hash: u64) -> u64 {
    // Multiplying by an odd number and folding the high half into the low one, twice, lets each bit reach all others.
    let mut bits = key ^ address_hash;
    for _ in 0..2 {
        bits = (bits ^ (bits >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    bits ^ (bits >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::backend::FailureKind;
    use crate::balance::{HashKey, hash};

    const BY_PATH: Algorithm = Algorithm::ConsistentHash(HashKey::Path);
    const KEYS: u32 = 3000;

    fn backend(number: u16) -> Arc<Backend> {
        let backend = Backend::new(number.into(), ([10, 0, 0, number as u8], 8000).into());
        backend.set_health(Health::Up);
        backend.succeeded(Duration::from_millis(2));
        Arc::new(backend)
    }

    /// One that has been up for long, on a machine that was late once.
    fn answering_in(number: u16, latency_ms: u64) -> Arc<Backend> {
        let backend = Backend::new(number.into(), ([10, 0, 0, number as u8], 8000).into());
        backend.set_health(Health::Up);
        let backend = backend.older_by(Duration::from_secs(60));
        (0..50).for_each(|_| backend.succeeded(Duration::from_millis(latency_ms)));
        backend.succeeded(Duration::from_millis(50));
        Arc::new(backend)
    }

    fn backends(numbers: impl Iterator<Item = u16>) -> Vec<Arc<Backend>> {
        numbers.map(backend).collect()
    }

    fn wanted<'a>(algorithm: &'a Algorithm, key: Option<u64>) -> Wanted<'a> {
        Wanted {
            tried: &[],
            algorithm,
            key,
            in_flight_max: 100,
            takes_worse: false,
        }
    }

    fn chosen(backends: &[Arc<Backend>], wanted: &Wanted<'_>) -> SocketAddr {
        match choose(backends, wanted) {
            Choice::Backend(backend) => backend.address,
            other => panic!("nobody chosen: {other:?}"),
        }
    }

    fn by_key_number(backends: &[Arc<Backend>], number: u32) -> SocketAddr {
        let key = hash(format!("/products/{number}").as_bytes());
        chosen(backends, &wanted(&BY_PATH, Some(key)))
    }

    fn busy(backend: &Backend, requests: u32) {
        (0..requests).for_each(|_| assert!(backend.try_begin(u32::MAX)));
    }

    #[test]
    fn keys_are_spread_evenly() {
        let backends = backends(1..=5);
        let mut counts: HashMap<SocketAddr, u32> = HashMap::new();
        for number in 0..KEYS {
            *counts.entry(by_key_number(&backends, number)).or_default() += 1;
        }
        let fair = KEYS / 5;
        assert!(
            counts.len() == 5 && counts.values().all(|count| count.abs_diff(fair) < fair / 5),
            "{counts:?}"
        );
    }

    #[test]
    fn only_the_keys_of_one_that_goes_move_and_only_to_one_that_comes() {
        let five = backends(1..=5);
        let four = backends(2..=5);
        let gone = five[0].address;
        let mut moved = 0;
        for number in 0..KEYS {
            let (with, without) = (by_key_number(&five, number), by_key_number(&four, number));
            if with != without {
                assert_eq!(with, gone);
                moved += 1;
            }
        }
        assert!(moved > 0 && moved < KEYS / 4, "{moved}");
    }

    #[test]
    fn what_is_too_much_for_a_backend_goes_to_another_always_the_same() {
        let backends = backends(1..=3);
        let home = by_key_number(&backends, 7);
        let preferred = backends.iter().find(|backend| backend.address == home).expect("known");
        busy(preferred, LOAD_MIN - 1);
        assert_eq!(by_key_number(&backends, 7), home, "a few are no load");
        busy(preferred, 10);
        let second = by_key_number(&backends, 7);
        assert_ne!(second, home);
        for _ in 0..20 {
            assert_eq!(by_key_number(&backends, 7), second);
        }
        for backend in backends.iter().filter(|backend| backend.address != home) {
            busy(backend, 16);
        }
        assert_eq!(by_key_number(&backends, 7), home, "all have as much to do");
    }

    #[test]
    fn no_backend_gets_much_more_than_its_share_of_one_key() {
        let backends = backends(1..=4);
        for _ in 0..200 {
            let address = by_key_number(&backends, 7);
            let chosen = backends.iter().find(|backend| backend.address == address);
            busy(chosen.expect("known"), 1);
        }
        let most = backends.iter().map(|backend| backend.in_flight()).max();
        assert!(most <= Some(63), "{most:?} of 200");
    }

    #[test]
    fn a_slower_one_gets_something_only_when_the_faster_ones_have_enough_to_do() {
        let backends = [answering_in(1, 5), answering_in(2, 5), answering_in(3, 10)];
        let slow = Arc::clone(&backends[2]);
        let by_cost = wanted(&Algorithm::P2c, None);
        let slow_gets = || (0..200).filter(|_| chosen(&backends, &by_cost) == slow.address).count();
        backends[..2].iter().for_each(|fast| busy(fast, LOAD_MIN - 1));
        assert_eq!(slow_gets(), 0);
        backends[..2].iter().for_each(|fast| busy(fast, 1));
        assert!(slow_gets() > 0);
    }

    #[test]
    fn one_that_has_just_come_up_gets_little_although_nobody_has_measured_it() {
        let settled = |number| answering_in(number, 50);
        let fresh = Arc::new(Backend::new(9, ([10, 0, 0, 9], 8000).into()));
        fresh.set_health(Health::Up);
        let backends = [settled(1), settled(2), Arc::clone(&fresh)];
        let by_cost = wanted(&Algorithm::P2c, None);
        let fresh_gets = || {
            (0..200)
                .filter(|_| chosen(&backends, &by_cost) == fresh.address)
                .count()
        };
        backends[..2].iter().for_each(|settled| busy(settled, 3));
        assert_eq!(fresh_gets(), 0);
        backends[..2].iter().for_each(|settled| busy(settled, 20));
        assert!(fresh_gets() > 0);
    }

    #[test]
    fn one_that_nobody_has_measured_is_tried() {
        let unknown = Backend::new(9, ([10, 0, 0, 9], 8000).into());
        unknown.set_health(Health::Up);
        let backends = [backend(1), Arc::new(unknown)];
        busy(&backends[0], 1);
        let by_cost = wanted(&Algorithm::P2c, None);
        let address = backends[1].address;
        assert!((0..200).any(|_| chosen(&backends, &by_cost) == address));
    }

    #[test]
    fn the_least_loaded_is_taken_and_equals_in_turn() {
        let backends = backends(1..=3);
        busy(&backends[0], 3);
        let mut seen: HashMap<SocketAddr, u32> = HashMap::new();
        let least = wanted(&Algorithm::LeastLoaded, None);
        for _ in 0..50 {
            *seen.entry(chosen(&backends, &least)).or_default() += 1;
        }
        assert!(!seen.contains_key(&backends[0].address), "{seen:?}");
        backends[1].failed(FailureKind::Connect);
        backends[2].failed(FailureKind::Connect);
        assert_eq!(chosen(&backends, &least), backends[0].address);
    }

    #[test]
    fn full_ones_are_left_out_and_when_all_are_full_that_is_said() {
        let backends = backends(1..=2);
        let limited = Wanted {
            in_flight_max: 3,
            ..wanted(&Algorithm::P2c, None)
        };
        busy(&backends[0], 3);
        for _ in 0..20 {
            assert_eq!(chosen(&backends, &limited), backends[1].address);
        }
        busy(&backends[1], 3);
        assert!(matches!(choose(&backends, &limited), Choice::Full));
        assert!(matches!(choose(&[], &limited), Choice::Nobody));
    }

    #[test]
    fn a_worse_one_is_taken_only_by_who_has_waited_for_the_better_ones() {
        let backends = backends(1..=2);
        backends[0].set_health(Health::Slow);
        busy(&backends[1], 3);
        let patient = Wanted {
            in_flight_max: 3,
            ..wanted(&Algorithm::P2c, None)
        };
        assert!(matches!(choose(&backends, &patient), Choice::Full));
        let impatient = Wanted {
            takes_worse: true,
            ..patient
        };
        assert_eq!(chosen(&backends, &impatient), backends[0].address);
    }
}
