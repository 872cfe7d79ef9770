//! The figures of the crate `metrics`, as Prometheus reads them.
//!
//! Enough to see all there is: of a histogram the count and the sum. A program that wants quantiles
//! takes the crate `metrics-exporter-prometheus`, which does the same and brings twenty others.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SetRecorderError, SharedString, Unit,
};

/// A recorder, of which clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Prometheus(Arc<Mutex<BTreeMap<String, Family>>>);

/// All series of one name.
#[derive(Debug, Default)]
struct Family {
    sort: &'static str,
    help: String,
    /// By their labels, as `{call="log"}`.
    series: BTreeMap<String, Series>,
}

#[derive(Clone, Debug)]
enum Series {
    Counter(Arc<AtomicU64>),
    Gauge(Arc<AtomicU64>),
    Summary(Arc<Summary>),
}

#[derive(Debug, Default)]
struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
}

impl HistogramFn for Summary {
    fn record(&self, value: f64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        GaugeFn::increment(&self.sum, value);
    }
}

impl Prometheus {
    /// Has all figures of this program come here.
    ///
    /// # Errors
    /// If they go elsewhere already.
    pub fn install(&self) -> Result<(), SetRecorderError<Self>> {
        metrics::set_global_recorder(self.clone())
    }

    /// All figures, as text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (name, family) in &*self.lock() {
            // Writing to a text cannot fail.
            let _ = writeln!(out, "# HELP {name} {}", family.help);
            let _ = writeln!(out, "# TYPE {name} {}", family.sort);
            for (labels, series) in &family.series {
                let _ = match series {
                    Series::Counter(count) => {
                        writeln!(out, "{name}{labels} {}", count.load(Ordering::Relaxed))
                    }
                    Series::Gauge(value) => writeln!(out, "{name}{labels} {}", float(value)),
                    Series::Summary(summary) => {
                        let (count, sum) = (&summary.count, float(&summary.sum));
                        let count = count.load(Ordering::Relaxed);
                        writeln!(
                            out,
                            "{name}_sum{labels} {sum}\n{name}_count{labels} {count}"
                        )
                    }
                };
            }
        }
        out
    }

    fn describe(&self, name: &KeyName, sort: &'static str, help: &SharedString) {
        let mut families = self.lock();
        let family = families.entry(name.as_str().to_owned()).or_default();
        (family.sort, family.help) = (sort, help.to_string());
    }

    /// The series of a key, which may be new.
    fn series(&self, key: &Key, sort: &'static str, new: Series) -> Series {
        let labels = key
            .labels()
            .map(|label| format!("{}={:?}", label.key(), label.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() {
            labels
        } else {
            format!("{{{labels}}}")
        };
        let mut families = self.lock();
        let family = families.entry(key.name().to_owned()).or_default();
        family.sort = sort;
        family.series.entry(labels).or_insert(new).clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn float(bits: &AtomicU64) -> f64 {
    f64::from_bits(bits.load(Ordering::Relaxed))
}

impl Recorder for Prometheus {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&key, "counter", &help);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&key, "gauge", &help);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&key, "summary", &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.series(key, "counter", Series::Counter(Arc::default())) {
            Series::Counter(count) => Counter::from_arc(count),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.series(key, "gauge", Series::Gauge(Arc::default())) {
            Series::Gauge(value) => Gauge::from_arc(value),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.series(key, "summary", Series::Summary(Arc::default())) {
            Series::Summary(summary) => Histogram::from_arc(summary),
            _ => Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_by_name_and_labels() {
        let prometheus = Prometheus::default();
        metrics::with_local_recorder(&prometheus, || {
            metrics::describe_gauge!("age_seconds", Unit::Seconds, "How old.");
            metrics::gauge!("age_seconds").set(1.5);
            metrics::counter!("calls_total", "kind" => "full").increment(2);
            metrics::counter!("calls_total", "kind" => "full").increment(1);
            metrics::histogram!("wait_seconds").record(0.25);
            metrics::histogram!("wait_seconds").record(0.5);
        });
        let lines = [
            "# HELP age_seconds How old.",
            "# TYPE age_seconds gauge",
            "age_seconds 1.5",
            "# HELP calls_total ",
            "# TYPE calls_total counter",
            "calls_total{kind=\"full\"} 3",
            "# HELP wait_seconds ",
            "# TYPE wait_seconds summary",
            "wait_seconds_sum 0.75",
            "wait_seconds_count 2",
        ];
        assert_eq!(prometheus.render().lines().collect::<Vec<_>>(), lines);
    }
}
