//! Calls that go on when nobody waits for them any more.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::{oneshot, watch};
use tracing::Instrument;

/// Calls that are under way, each in a task of its own.
///
/// A task owns its call only in part: the call is dropped at once when the layer is, and with it
/// the last hold on the store, instead of when the runtime comes to it.
#[derive(Default)]
pub(super) struct UnderWay {
    running: Arc<watch::Sender<Running>>,
}

#[derive(Default)]
struct Running {
    started: u64,
    calls: BTreeMap<u64, Arc<Mutex<Call>>>,
}

struct Call {
    /// What is to be done; `None` once it is done or let go.
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    waker: Option<Waker>,
}

impl UnderWay {
    /// Starts a call. Its answer comes to nobody if the receiver is dropped, and does not come if
    /// the call panics or is let go.
    pub(super) fn start<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        // In the span of the caller, also when the caller is gone.
        let work = async move { drop(sender.send(work.await)) }.in_current_span();
        let call = Arc::new(Mutex::new(Call {
            work: Some(Box::pin(work)),
            waker: None,
        }));
        let entry = Entry::new(&self.running, &call);
        tokio::spawn(async move {
            poll_fn(|context| poll(&call, context)).await;
            drop(entry);
        });
        receiver
    }

    /// Waits until no call is under way.
    pub(super) async fn ended(&self) {
        let mut running = self.running.subscribe();
        // It fails only without a sender, and then nothing is under way.
        drop(running.wait_for(|running| running.calls.is_empty()).await);
    }

    /// Drops the calls that are under way.
    pub(super) fn let_go(&self) {
        let running = self.running.send_replace(Running::default());
        for call in running.calls.into_values() {
            let mut call = call.lock().unwrap_or_else(PoisonError::into_inner);
            call.work = None;
            // Lets its task see that there is nothing left to do.
            call.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

fn poll(call: &Mutex<Call>, context: &mut Context<'_>) -> Poll<()> {
    let mut call = call.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(work) = call.work.as_mut() else {
        return Poll::Ready(());
    };
    if work.as_mut().poll(context).is_pending() {
        call.waker = Some(context.waker().clone());
        return Poll::Pending;
    }
    call.work = None;
    Poll::Ready(())
}

/// Takes a call off the list when its task ends, by whatever cause.
struct Entry {
    running: Arc<watch::Sender<Running>>,
    number: u64,
}

impl Entry {
    fn new(running: &Arc<watch::Sender<Running>>, call: &Arc<Mutex<Call>>) -> Self {
        let mut number = 0;
        running.send_modify(|running| {
            running.started += 1;
            number = running.started;
            running.calls.insert(number, Arc::clone(call));
        });
        Self {
            running: Arc::clone(running),
            number,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut call = None;
        self.running
            .send_modify(|running| call = running.calls.remove(&self.number));
        // Outside of the lock: dropping a call may run anything.
        drop(call);
    }
}
