//! Rate, errors and durations of requests by route, and the balancer's own figures, in Prometheus's text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Shared;
use crate::live::Live;

/// Upper bounds of the histogram's buckets.
const BUCKETS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// The requests of one route, or of none.
#[derive(Debug, Default)]
pub(crate) struct RouteStats {
    /// By the first digit of the status.
    by_class: [AtomicU64; 6],
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl RouteStats {
    pub(crate) fn record(&self, status: u16, duration: Duration) {
        let class = usize::from(status / 100).min(5);
        self.by_class[class].fetch_add(1, Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|&bound| bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }
}

/// Counters of the whole process.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Requests without a route; those of the routes stand beside these.
    pub(crate) unrouted: RouteStats,
    pub(crate) retries: AtomicU64,
    pub(crate) retries_denied: AtomicU64,
    pub(crate) hedges: AtomicU64,
    pub(crate) hedges_won: AtomicU64,
    pub(crate) shed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) rate_limited: AtomicU64,
    pub(crate) compressed: AtomicU64,
}

/// Everything of this process, for /metrics.
pub(crate) fn render(shared: &Shared) -> String {
    let mut out = String::with_capacity(32 * 1024);
    let live = shared.live.load_full();
    render_routes(&mut out, shared, &live);
    render_backends(&mut out, &live);
    render_services(&mut out, &live);
    let stats = &shared.stats;
    let file = &shared.routes_file;
    let single = [
        ("balancer_retries_total", "counter", stats.retries.load(Relaxed)),
        (
            "balancer_retries_denied_total",
            "counter",
            stats.retries_denied.load(Relaxed),
        ),
        ("balancer_hedges_total", "counter", stats.hedges.load(Relaxed)),
        ("balancer_hedges_won_total", "counter", stats.hedges_won.load(Relaxed)),
        ("balancer_isolated", "gauge", u64::from(shared.is_isolated())),
        ("balancer_shed_total", "counter", stats.shed.load(Relaxed)),
        ("balancer_refused_total", "counter", stats.refused.load(Relaxed)),
        (
            "balancer_connections_accepted_total",
            "counter",
            shared.front.accepted(),
        ),
        ("balancer_connections_refused_total", "counter", shared.front.refused()),
        (
            "balancer_rate_limited_total",
            "counter",
            stats.rate_limited.load(Relaxed),
        ),
        ("balancer_compressed_total", "counter", stats.compressed.load(Relaxed)),
        ("balancer_routes_reloads_total", "counter", file.reloads.load(Relaxed)),
        ("balancer_routes_refusals_total", "counter", file.refusals.load(Relaxed)),
        (
            "balancer_routes_refused",
            "gauge",
            u64::from(file.refusal.load().is_some()),
        ),
        (
            "balancer_maintenance",
            "gauge",
            u64::from(live.table.settings.maintenance.is_some()),
        ),
        ("balancer_log_batches_lost_total", "counter", shared.log.lost_batches()),
        (
            "balancer_tls_handshakes_failed_total",
            "counter",
            shared.front.handshakes_failed(),
        ),
        ("balancer_tunnels", "gauge", u64::from(shared.front.tunnels())),
        ("balancer_connections", "gauge", u64::from(shared.front.open())),
        ("balancer_connections_parked", "gauge", u64::from(shared.front.parked())),
        ("balancer_in_flight", "gauge", u64::from(shared.admission.in_flight())),
    ];
    for (name, kind, value) in single {
        let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
    }
    out.push_str("# TYPE balancer_concurrency_limit gauge\n");
    for service in &live.services {
        let limit = shared.admission.limit_of(service);
        let _ = writeln!(
            out,
            "balancer_concurrency_limit{{service=\"{}\"}} {limit}",
            service.name
        );
    }
    out
}

fn render_routes(out: &mut String, shared: &Shared, live: &Live) {
    let labels: Vec<String> = live
        .table
        .routes
        .iter()
        .map(|route| {
            let service = &live.table.services[route.service].name;
            format!("route=\"{}\",service=\"{service}\"", route.name)
        })
        .chain(["route=\"none\",service=\"none\"".to_owned()])
        .collect();
    let stats = || live.stats.iter().map(|stats| &**stats).chain([&shared.stats.unrouted]);
    out.push_str("# TYPE balancer_requests_total counter\n");
    for (labels, route) in labels.iter().zip(stats()) {
        for (class, count) in route.by_class.iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                let _ = writeln!(out, "balancer_requests_total{{{labels},status=\"{class}xx\"}} {count}");
            }
        }
    }
    out.push_str("# TYPE balancer_request_duration_seconds histogram\n");
    for (labels, route) in labels.iter().zip(stats()) {
        let counts: Vec<u64> = route.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            continue;
        }
        let mut cumulative = 0;
        for (bound_us, count) in BUCKETS_US.iter().zip(&counts) {
            cumulative += count;
            let bound = *bound_us as f64 / 1e6;
            let _ = writeln!(
                out,
                "balancer_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {cumulative}"
            );
        }
        let sum = route.sum_us.load(Relaxed) as f64 / 1e6;
        let _ = writeln!(
            out,
            "balancer_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {total}"
        );
        let _ = writeln!(out, "balancer_request_duration_seconds_sum{{{labels}}} {sum}");
        let _ = writeln!(out, "balancer_request_duration_seconds_count{{{labels}}} {total}");
    }
}

fn render_backends(out: &mut String, live: &Live) {
    let mut requests = String::new();
    let mut failures = String::new();
    let mut gauges = String::new();
    let mut in_flight = String::new();
    let mut weights = String::new();
    for service in &live.services {
        for backend in service.backends().iter() {
            let labels = format!("service=\"{}\",backend=\"{}\"", service.name, backend.address);
            let counters = &backend.counters;
            let _ = writeln!(
                requests,
                "balancer_upstream_requests_total{{{labels}}} {}",
                counters.requests.load(Relaxed)
            );
            for (kind, counter) in [
                ("connect", &counters.connect_failures),
                ("reset", &counters.resets),
                ("timeout", &counters.timeouts),
                ("status", &counters.server_errors),
                ("ejected", &counters.ejections),
            ] {
                let count = counter.load(Relaxed);
                let _ = writeln!(
                    failures,
                    "balancer_upstream_failures_total{{{labels},kind=\"{kind}\"}} {count}"
                );
            }
            let is_up = u8::from(backend.health() == crate::backend::Health::Up && !backend.is_ejected());
            let _ = writeln!(gauges, "balancer_backend_up{{{labels}}} {is_up}");
            let _ = writeln!(
                in_flight,
                "balancer_backend_in_flight{{{labels}}} {}",
                backend.in_flight()
            );
            let _ = writeln!(weights, "balancer_backend_weight{{{labels}}} {:.3}", backend.weight());
        }
    }
    let _ = write!(out, "# TYPE balancer_upstream_requests_total counter\n{requests}");
    let _ = write!(out, "# TYPE balancer_upstream_failures_total counter\n{failures}");
    let _ = write!(out, "# TYPE balancer_backend_up gauge\n{gauges}");
    let _ = write!(out, "# TYPE balancer_backend_in_flight gauge\n{in_flight}");
    let _ = write!(out, "# TYPE balancer_backend_weight gauge\n{weights}");
}

fn render_services(out: &mut String, live: &Live) {
    let mut queued = String::new();
    let mut denied = String::new();
    let mut gauges = String::new();
    for service in &live.services {
        let (name, queue) = (&service.name, &service.queue);
        for (outcome, counter) in [
            ("entered", &queue.entered),
            ("refused", &queue.refused),
            ("expired", &queue.expired),
        ] {
            let count = counter.load(Relaxed);
            let _ = writeln!(
                queued,
                "balancer_queue_total{{service=\"{name}\",outcome=\"{outcome}\"}} {count}"
            );
        }
        let count = service.ejections_denied.load(Relaxed);
        let _ = writeln!(denied, "balancer_ejections_denied_total{{service=\"{name}\"}} {count}");
        let _ = writeln!(
            gauges,
            "balancer_queue_waiting{{service=\"{name}\"}} {}",
            queue.waiting()
        );
    }
    let _ = write!(out, "# TYPE balancer_queue_total counter\n{queued}");
    let _ = write!(out, "# TYPE balancer_ejections_denied_total counter\n{denied}");
    let _ = write!(out, "# TYPE balancer_queue_waiting gauge\n{gauges}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let stats = RouteStats::default();
        stats.record(200, Duration::from_micros(500));
        stats.record(503, Duration::from_micros(501));
        stats.record(200, Duration::from_secs(60));
        assert_eq!(stats.buckets[0].load(Relaxed), 1);
        assert_eq!(stats.buckets[1].load(Relaxed), 1);
        assert_eq!(stats.buckets[BUCKETS_US.len()].load(Relaxed), 1);
        assert_eq!(stats.by_class[2].load(Relaxed), 2);
        assert_eq!(stats.by_class[5].load(Relaxed), 1);
    }
}
