//! The child's steps: heard from the backend, told to the parent, and halted at where it wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aqevia_storage::STEP_TARGET;
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::line::{Line, wait_for_byte};

/// A step at which a child waits for a byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Halt {
    pub(crate) step: String,
    /// How often the step is passed before that.
    pub(crate) passed: u64,
}

/// Tells each step, and waits at one of them.
#[derive(Debug)]
pub(crate) struct Announcer {
    halt: Option<Halt>,
    armed: AtomicBool,
    met: AtomicU64,
}

impl Announcer {
    pub(crate) fn new(halt: Option<Halt>) -> Arc<Self> {
        Arc::new(Self {
            halt,
            armed: AtomicBool::new(false),
            met: AtomicU64::new(0),
        })
    }

    /// Hears the steps that a backend announces, from any thread of this process.
    pub(crate) fn listen(self: &Arc<Self>) {
        let listener = Listener(Arc::clone(self));
        let set = tracing::subscriber::set_global_default(listener);
        set.expect("a child process has no other subscriber");
    }

    /// Waits at the step from here on, if there is one to wait at.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// Tells a step, and waits if it is the one.
    pub(crate) fn step(&self, name: &str) {
        let name = name.to_owned();
        Line::Step { name: name.clone() }.say();
        let Some(halt) = &self.halt else { return };
        if !self.armed.load(Ordering::Acquire) || halt.step != name {
            return;
        }
        if self.met.fetch_add(1, Ordering::AcqRel) == halt.passed {
            halt_at(&name);
            Line::GoesOn.say();
        }
    }
}

/// Waits for a byte at a step.
pub(crate) fn halt_at(name: &str) {
    let name = name.to_owned();
    Line::Halted { name }.say();
    wait_for_byte();
}

/// Hears the events of [`aqevia_storage::step`] and nothing else.
struct Listener(Arc<Announcer>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == STEP_TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Named(&self.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Takes the name of a step out of its event.
struct Named<'a>(&'a Announcer);

impl Visit for Named<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "step" {
            self.0.step(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
