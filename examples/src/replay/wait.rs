//! Waiting that a signal ends.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::Instant;

use super::halt::{Halt, Signal};

/// Waits for the store on the thread of the engine, until a signal comes.
///
/// From [`Waiter::listen`] on, `SIGINT` and `SIGTERM` no longer end the process by themselves.
#[derive(Debug)]
pub struct Waiter {
    runtime: Runtime,
    signal: watch::Receiver<Option<Signal>>,
}

impl Waiter {
    /// Listens for signals.
    ///
    /// # Errors
    /// If the system refuses a thread or the signals.
    pub fn listen() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (sender, signal) = watch::channel(None);
        let first = {
            let _within = runtime.enter();
            first_signal()?
        };
        runtime.spawn(async move { sender.send_replace(Some(first.await)) });
        Ok(Self { runtime, signal })
    }

    /// Waits for `work`, unless a signal has come or comes meanwhile. `work` is dropped then.
    ///
    /// # Errors
    /// `Halt::Signal`.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        let mut signal = self.signal.clone();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                Ok(signal) = came(&mut signal) => Err(Halt::Signal(signal)),
                done = work => Ok(done),
            }
        })
    }

    /// Waits for a moment, unless a signal has come or comes meanwhile.
    ///
    /// # Errors
    /// `Halt::Signal`.
    pub fn wait_until(&self, at: Instant) -> Result<(), Halt> {
        // A timer is made within the runtime, so by a future that runs in it.
        self.wait(async { tokio::time::sleep_until(at).await })
    }

    /// Whether a signal has come.
    ///
    /// # Errors
    /// `Halt::Signal` if so.
    pub fn check(&self) -> Result<(), Halt> {
        match *self.signal.borrow() {
            Some(signal) => Err(Halt::Signal(signal)),
            None => Ok(()),
        }
    }
}

async fn came(
    signal: &mut watch::Receiver<Option<Signal>>,
) -> Result<Signal, watch::error::RecvError> {
    loop {
        if let Some(signal) = *signal.borrow_and_update() {
            return Ok(signal);
        }
        signal.changed().await?;
    }
}

/// The first signal that comes. It is caught from this call on, not from the first poll.
#[cfg(unix)]
fn first_signal() -> io::Result<impl Future<Output = Signal>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
        }
    })
}

#[cfg(not(unix))]
fn first_signal() -> io::Result<impl Future<Output = Signal>> {
    Ok(async {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            // Without the handler the system ends the process by itself.
            Err(_) => std::future::pending().await,
        }
    })
}
