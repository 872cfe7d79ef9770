//! Warnings that come with the answer to a write.
//!
//! A session that waits in its commit for a standby can be told by another session to wait no
//! longer (`pg_cancel_backend`). The commit then succeeds with a warning, and may be lost with the
//! primary. The driver hands what a server notes to `tracing` alone, as events; so a write is
//! carried out under a subscriber that listens to these, and passes on all there is to the one that
//! is there without it.
//!
//! An event tells its level and a text in the server's language. The statements of this crate give
//! no cause for a warning, so any one is taken as doubt.
//!
//! This has a cost, and is only for servers that wait for standbys. Once a subscriber was there,
//! `tracing` no longer falls back to `log` in a program that has none. And each subscriber that
//! comes has `tracing` ask all of them about each place that an event can come from.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::dispatcher::get_default;
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// The target of the driver's events.
const NOTICES: &str = "sqlx::postgres::notice";

/// Carries out a statement. With what comes of it comes the text of the first warning, if there was
/// one.
pub(crate) async fn listen<T>(statement: impl Future<Output = T>) -> (T, Option<String>) {
    stay_registered();
    let listener = Listener::new(get_default(Dispatch::clone));
    let warning = Arc::clone(&listener.warning);
    let done = statement.with_subscriber(Dispatch::new(listener)).await;
    let warning = warning.lock().unwrap_or_else(PoisonError::into_inner);
    (done, warning.clone())
}

/// Keeps a listener that nobody talks to.
///
/// While `tracing` knows of one subscriber only, it asks the thread's own whether anyone wants an
/// event. Were that the listener of a write, any other thread could settle that nobody does. With
/// this one there are always two, and one that wants the driver's warnings.
fn stay_registered() {
    static KEPT: OnceLock<Dispatch> = OnceLock::new();
    KEPT.get_or_init(|| Dispatch::new(Listener::new(Dispatch::none())));
}

/// A subscriber that keeps the first warning, and passes on all there is.
///
/// Two things stay behind: the type of `current_span` has no name in `tracing`, and `downcast_raw`
/// is unsafe to write. Nothing of a host's runs in the driver and asks for either.
struct Listener {
    /// The subscriber that is there without this one.
    host: Dispatch,
    warning: Arc<Mutex<Option<String>>>,
}

impl Listener {
    fn new(host: Dispatch) -> Self {
        Self {
            host,
            warning: Arc::default(),
        }
    }

    fn keep(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        warning.get_or_insert(text.0);
    }
}

fn is_warning(metadata: &Metadata<'_>) -> bool {
    // What is graver has a lower level.
    metadata.target() == NOTICES && *metadata.level() <= Level::WARN
}

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_warning(metadata) {
            // Asked each time, and so never settled by a host that does not want it.
            return Interest::sometimes();
        }
        self.host.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_warning(metadata) || self.host.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The host tells its own, and the highest counts.
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        if is_warning(event.metadata()) {
            self.keep(event);
            // The host has not been asked yet.
            if !self.host.enabled(event.metadata()) {
                return;
            }
        }
        self.host.event(event);
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.host.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.host.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.host.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.host.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.host.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.host.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.host.try_close(id)
    }
}

/// The message of an event.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests;
