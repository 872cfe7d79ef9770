//! A recorder for tests, which keeps what it is given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

type Values = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

/// Keeps each value under its name and labels: `name{call=log}`.
#[derive(Default)]
pub(crate) struct Kept {
    values: Values,
    described: Mutex<Vec<String>>,
}

struct Series {
    name: String,
    values: Values,
}

impl Series {
    fn push(&self, value: f64) {
        let mut values = self.values.lock().unwrap();
        values.entry(self.name.clone()).or_default().push(value);
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.push(value as f64);
    }

    fn absolute(&self, value: u64) {
        panic!("{} is set to {value}", self.name);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.push(value);
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        panic!("{} grows by {value}", self.name);
    }

    fn decrement(&self, value: f64) {
        panic!("{} shrinks by {value}", self.name);
    }

    fn set(&self, value: f64) {
        self.push(value);
    }
}

impl Kept {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels = key.labels().map(|l| format!("{}={}", l.key(), l.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        let name = format!("{}{{{labels}}}", key.name());
        let values = Arc::clone(&self.values);
        Arc::new(Series {
            name: name.trim_end_matches("{}").to_owned(),
            values,
        })
    }

    pub(crate) fn of(&self, name: &str) -> Vec<f64> {
        let values = self.values.lock().unwrap();
        values.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.values.lock().unwrap().keys().cloned().collect()
    }

    /// What was described: `counter NAME UNIT`.
    pub(crate) fn described(&self) -> Vec<String> {
        self.described.lock().unwrap().clone()
    }

    fn describe(&self, sort: &str, key: &KeyName, unit: Option<Unit>) {
        let unit = unit.unwrap().as_str();
        let name = key.as_str();
        let mut described = self.described.lock().unwrap();
        described.push(format!("{sort} {name} {unit}"));
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("counter", &key, unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("gauge", &key, unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("histogram", &key, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}
