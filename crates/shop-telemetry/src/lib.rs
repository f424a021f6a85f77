//! Logs, traces and metrics of a process, and the few things every `main` does the same way.
//!
//! A `main` calls [`startup::parse_or_exit`], then [`init`], and keeps the [`Guard`] until it returns:
//! dropping it sends what is still buffered.

pub mod admin;
mod log;
pub mod propagation;
pub mod startup;
pub mod timing;

use std::sync::{OnceLock, RwLock};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Upper bounds of the buckets that every `*_seconds` histogram is counted in.
const LATENCY_BUCKETS_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// How often histograms are drained into their buckets, so that they don't grow between two scrapes.
const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What is logged unless `RUST_LOG` says otherwise. The libraries named here write an `info` line per connection.
const DEFAULT_FILTER: &str = "info,lapin=warn,hyper=warn,h2=warn,opentelemetry=warn,sqlx=warn";

static INSTANCE: OnceLock<RwLock<String>> = OnceLock::new();

/// Keeps telemetry alive. Dropping it flushes the spans that were not exported yet.
#[must_use = "telemetry stops when the guard is dropped"]
pub struct Guard {
    tracers: SdkTracerProvider,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nothing can be done about a collector that is away at exit, and saying so on every stop would be noise.
        let _ = self.tracers.shutdown_with_timeout(Duration::from_secs(2));
    }
}

/// Sets up logs (JSON lines on stdout), traces (OTLP if `OTEL_EXPORTER_OTLP_ENDPOINT` is set) and metrics.
///
/// Trace ids exist, and are passed on, also where nothing exports them: logs are searched by them.
/// A second call in one process (tests) changes nothing.
pub fn init(service: &'static str) -> Guard {
    let tracers = tracer_provider(service);
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let traces = tracing_opentelemetry::layer()
        .with_tracer(tracers.tracer(service))
        // Entering a span must not start it: its parent arrives with the headers, which are read inside of it.
        .with_context_activation(false)
        .with_location(false)
        .with_threads(false);
    let first = tracing_subscriber::registry()
        .with(filter)
        .with(traces)
        .with(log::JsonLines::new(service))
        .try_init()
        .is_ok();

    if first {
        log_panics();
        install_metrics();
    }
    Guard { tracers }
}

/// The name of this process among its kind, as logs show it: `INSTANCE`, else the host name, unless
/// [`set_instance`] has said better.
pub(crate) fn instance() -> String {
    instance_cell().read().map(|name| name.clone()).unwrap_or_default()
}

/// Names this process in the logs, once it knows what it is called.
pub fn set_instance(name: &str) {
    if let Ok(mut current) = instance_cell().write() {
        name.clone_into(&mut current);
    }
}

fn instance_cell() -> &'static RwLock<String> {
    INSTANCE.get_or_init(|| {
        let explicit = std::env::var("INSTANCE").ok().filter(|name| !name.is_empty());
        let name = explicit
            .or_else(|| std::env::var("HOSTNAME").ok())
            .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
            .unwrap_or_default();
        RwLock::new(name.trim().to_owned())
    })
}

fn tracer_provider(service: &'static str) -> SdkTracerProvider {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.instance.id", instance()))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return builder.build();
    }
    match opentelemetry_otlp::SpanExporter::builder().with_http().build() {
        Ok(exporter) => builder.with_batch_exporter(exporter).build(),
        Err(error) => {
            eprintln!("traces are not exported: {error}");
            builder.build()
        }
    }
}

fn install_metrics() {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS_SECONDS)
        .and_then(PrometheusBuilder::install_recorder);
    match recorder {
        Ok(handle) => {
            let upkeep = handle.clone();
            let spawned = std::thread::Builder::new()
                .name("metrics-upkeep".to_owned())
                .spawn(move || {
                    loop {
                        std::thread::sleep(METRICS_UPKEEP_INTERVAL);
                        upkeep.run_upkeep();
                    }
                });
            if let Err(error) = spawned {
                tracing::warn!(%error, "Histograms are drained only when somebody scrapes them");
            }
            admin::install(handle);
        }
        Err(error) => tracing::error!(%error, "Metrics are not recorded"),
    }
}

/// Sends panics to the log, where the other lines of their trace are.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("panic without a message");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "Panicked: {message}");
    }));
}
