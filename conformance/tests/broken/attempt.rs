//! One run of one check on one backend: on a thread of its own, within a time, and in silence.

use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::store::{NewStore, choose};

/// How long a check may take before it counts as failed. The slowest takes a few seconds.
const TIME_MAX: Duration = Duration::from_secs(30);

/// The name of the threads that run checks.
const THREAD: &str = "check";

/// Runs a check on a kind of store; the message of its panic, if it panics, or that it did not end.
pub(crate) fn violation(store: NewStore, check: fn()) -> Option<String> {
    keep_quiet();
    let (ended, end) = mpsc::channel();
    let thread = std::thread::Builder::new().name(THREAD.to_owned());
    let running = thread.spawn(move || {
        choose(store);
        check();
        // Nobody listens any more where it took too long.
        let _ = ended.send(());
    });
    let running = running.expect("a thread");
    if end.recv_timeout(TIME_MAX) == Err(RecvTimeoutError::Timeout) {
        return Some(format!("does not end within {TIME_MAX:?}"));
    }
    let panic = running.join().err()?;
    let message = panic.downcast_ref::<String>().cloned();
    let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
    Some(message.unwrap_or_else(|| "panics without a message".to_owned()))
}

/// Lets panics be silent in the threads of checks, of their runtimes and of controllers: their
/// messages are what is looked at, thousands of times.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or(THREAD);
            let ours = [THREAD, "aqevia-storage"].contains(&name) || name.starts_with("tokio-");
            if !ours {
                loud(info);
            }
        }));
    });
}
