//! What the controller logs of what it lost.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Counts the records that worlds left unpersisted when they were stopped, as the log tells them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost(Arc<AtomicUsize>);

impl Lost {
    pub(crate) fn total(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Subscriber for Lost {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.fields().field(FIELD).is_some()
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Reader(self));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The field that says how many.
const FIELD: &str = "unpersisted";

struct Reader<'a>(&'a Lost);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != FIELD {
            return;
        }
        let mut text = String::new();
        write!(text, "{value:?}").unwrap();
        // As in `2 records pending, 0 in doubt`.
        let numbers = text
            .split(' ')
            .filter_map(|word| word.parse::<usize>().ok());
        self.0.0.fetch_add(numbers.sum(), Ordering::Relaxed);
    }
}
