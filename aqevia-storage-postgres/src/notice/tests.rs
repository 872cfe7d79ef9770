use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tracing::dispatcher::{set_default, with_default};
use tracing::{Instrument, info, info_span, warn};

use super::*;

/// A host's subscriber that writes down what reaches it.
#[derive(Clone, Default)]
struct Host {
    wants_notices: bool,
    seen: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

impl Host {
    fn note(&self, what: String) {
        self.seen.lock().unwrap().push(what);
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Subscriber for Host {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let wanted = metadata.target() != NOTICES || self.wants_notices;
        wanted && *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.note(text.0);
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.spans.fetch_add(1, Ordering::SeqCst) + 1;
        self.note(format!("new {}", span.metadata().name()));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, _: &Record<'_>) {
        self.note(format!("record {}", span.into_u64()));
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        let (span, follows) = (span.into_u64(), follows.into_u64());
        self.note(format!("{span} follows {follows}"));
    }

    fn enter(&self, span: &Id) {
        self.note(format!("enter {}", span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        self.note(format!("exit {}", span.into_u64()));
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.note(format!("clone {}", id.into_u64()));
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        self.note(format!("close {}", id.into_u64()));
        true
    }
}

/// What a statement does, under a host.
async fn listen_under<T>(host: &Host, statement: impl Future<Output = T>) -> (T, Option<String>) {
    let _here = set_default(&Dispatch::new(host.clone()));
    listen(statement).await
}

#[tokio::test]
async fn a_warning_is_heard_that_the_host_does_not_want() {
    let host = Host::default();
    let notice = || warn!(target: NOTICES, "canceling wait");
    let hint = Listener::new(Dispatch::none()).max_level_hint();
    assert!(hint >= Some(LevelFilter::WARN), "{hint:?}");
    // The host has its say on this place before anyone listens.
    with_default(&Dispatch::new(host.clone()), notice);
    let (done, warning) = listen_under(&host, async {
        notice();
        warn!(target: NOTICES, "a second one");
        7
    })
    .await;
    assert_eq!((done, warning.as_deref()), (7, Some("canceling wait")));
    assert!(host.seen().is_empty(), "the host wants no notices");
}

#[tokio::test]
async fn a_warning_reaches_a_host_that_wants_it_once() {
    let host = Host {
        wants_notices: true,
        ..Host::default()
    };
    let statement = async { warn!(target: NOTICES, "canceling wait") };
    let ((), warning) = listen_under(&host, statement).await;
    assert_eq!(warning.as_deref(), Some("canceling wait"));
    assert_eq!(host.seen(), ["canceling wait"]);
}

#[tokio::test]
async fn what_is_graver_is_heard_and_what_is_not_a_warning_is_not() {
    let host = Host::default();
    let statement = async { tracing::error!(target: NOTICES, "grave") };
    let ((), grave) = listen_under(&host, statement).await;
    assert_eq!(grave.as_deref(), Some("grave"));
    let statement = async {
        info!(target: NOTICES, "a notice");
        warn!("a warning of the host's own");
    };
    let ((), none) = listen_under(&host, statement).await;
    assert_eq!(none, None);
    assert_eq!(host.seen(), ["a warning of the host's own"]);
}

#[tokio::test]
async fn spans_and_events_reach_the_host_and_outlive_the_listener() {
    let host = Host::default();
    let (span, _) = listen_under(&host, async {
        let span = info_span!("outer", field = 1);
        span.record("field", 2);
        ready(()).instrument(info_span!("inner")).await;
        span.follows_from(Id::from_u64(9));
        tracing::debug!("below the level of the host");
        info!("told");
        span
    })
    .await;
    let kept = span.clone();
    drop((span, kept));
    let seen = host.seen();
    for what in [
        "new outer",
        "record 1",
        "new inner",
        "enter 2",
        "exit 2",
        "close 2",
        "1 follows 9",
        "told",
        "clone 1",
        "close 1",
    ] {
        assert!(seen.iter().any(|seen| seen == what), "{what}: {seen:?}");
    }
    assert!(
        !seen.iter().any(|seen| seen.starts_with("below")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn another_thread_does_not_settle_that_nobody_wants_warnings() {
    fn notice() {
        warn!(target: NOTICES, "canceling wait");
    }
    let ((), warning) = listen(async {
        // The first to come by this place, and without a subscriber.
        thread::spawn(notice).join().unwrap();
        notice();
    })
    .await;
    assert_eq!(warning.as_deref(), Some("canceling wait"));
}
