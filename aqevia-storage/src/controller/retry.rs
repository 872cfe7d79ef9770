//! When what failed is tried again, and until when.

use std::time::Duration;

use tokio::time::Instant;

use crate::{ControllerConfig, Error, ErrorKind};

/// How often an error that stays is logged.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The tries of one thing that has to succeed: a part, a claim, the bootstrap of the store.
#[derive(Debug)]
pub(super) struct Retry {
    /// What the jitter follows from, so that engines that lost one store together do not come back
    /// to it in step.
    salt: [u8; 32],
    /// Tries so far; those since the end came near, once it does.
    attempts: u32,
    /// When to try again; `None` while it is being tried.
    at: Option<Instant>,
    failed: Option<Failed>,
}

/// What went wrong since the last success.
#[derive(Debug)]
struct Failed {
    since: Instant,
    error: Error,
    /// All tries that failed.
    times: u32,
    /// When that was last logged.
    said_at: Option<Instant>,
}

/// Whether there is another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Again,
    /// The budget is used up.
    GiveUp,
}

impl Retry {
    pub(super) const fn new(salt: [u8; 32]) -> Self {
        Self {
            salt,
            attempts: 0,
            at: None,
            failed: None,
        }
    }

    /// The retry of something that may be tried from a moment on.
    pub(super) const fn from(at: Instant, salt: [u8; 32]) -> Self {
        let mut retry = Self::new(salt);
        retry.at = Some(at);
        retry
    }

    /// When to try, unless it is being tried.
    pub(super) const fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it failed, and was not tried with success since.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Why it failed the last time.
    pub(super) fn error(&self) -> Option<&Error> {
        self.failed.as_ref().map(|failed| &failed.error)
    }

    /// Since when it has been failing, how often, and why.
    pub(super) fn trouble(&self) -> Option<(Instant, u32, &Error)> {
        let failed = self.failed.as_ref()?;
        Some((failed.since, failed.times, &failed.error))
    }

    /// It is being tried.
    pub(super) const fn begin(&mut self) {
        self.at = None;
        self.attempts += 1;
    }

    /// Brings the next try forward, and begins the delays anew.
    pub(super) const fn hurry(&mut self, now: Instant) {
        if self.at.is_some() {
            self.at = Some(now);
            self.attempts = 0;
        }
    }

    /// A try failed. Logs that, unless it was logged just now.
    pub(super) fn fail(
        &mut self,
        error: Error,
        now: Instant,
        config: &ControllerConfig,
    ) -> Verdict {
        let before = self.failed.take();
        let since = before.as_ref().map_or(now, |before| before.since);
        let times = before.as_ref().map_or(0, |before| before.times) + 1;
        let said_at = before.filter(|before| !before.is_worth_saying(&error, now));
        let mut said_at = said_at.and_then(|before| before.said_at);
        if said_at.is_none() {
            tracing::warn!(
                target: "aqevia_storage::controller",
                %error,
                attempts = times,
                "the store did not take this; it is tried again"
            );
            said_at = Some(now);
        }
        self.at = Some(now + self.delay(error.kind(), config));
        self.failed = Some(Failed {
            since,
            error,
            times,
            said_at,
        });
        match config.retry_budget {
            Some(budget) if now.duration_since(since) >= budget => Verdict::GiveUp,
            _ => Verdict::Again,
        }
    }

    /// Between half of the longest wait of this try and all of it.
    fn delay(&self, kind: ErrorKind, config: &ControllerConfig) -> Duration {
        let doubled = 2_u32.saturating_pow(self.attempts.saturating_sub(1));
        let longest = match kind {
            // Room is made by people, and trying costs a store without room the most.
            ErrorKind::Full => config.retry_longest,
            _ => config.retry_first.saturating_mul(doubled),
        };
        let longest = longest.min(config.retry_longest);
        let byte = self.salt.get(self.attempts as usize % self.salt.len());
        let share = byte.copied().unwrap_or(u8::MAX);
        longest * (255 + u32::from(share)) / 510
    }
}

impl Failed {
    /// Whether an error is to be logged after this one: it is another, or a while has passed.
    fn is_worth_saying(&self, error: &Error, now: Instant) -> bool {
        let again = self.said_at.is_none_or(|said| now >= said + SAY_AGAIN);
        again || self.error.to_string() != error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "on purpose")
    }

    /// The delays of so many failures, one after the other.
    fn delays(salt: u8, kind: ErrorKind, times: u32) -> Vec<u128> {
        let (config, now) = (ControllerConfig::default(), Instant::now());
        let mut retry = Retry::new([salt; 32]);
        let delays = (0..times).map(|_| {
            retry.begin();
            assert_eq!(retry.fail(error(kind), now, &config), Verdict::Again);
            (retry.at().unwrap() - now).as_millis()
        });
        delays.collect()
    }

    #[test]
    fn each_wait_is_longer_than_the_last_and_none_as_long_as_another_engines() {
        assert_eq!(delays(0, ErrorKind::Unavailable, 3), [25, 50, 100]);
        assert_eq!(delays(255, ErrorKind::Ambiguous, 3), [50, 100, 200]);
        assert_eq!(delays(0, ErrorKind::Unavailable, 20).pop(), Some(2500));
        assert_eq!(delays(255, ErrorKind::Unavailable, 20).pop(), Some(5000));
    }

    #[test]
    fn a_store_without_room_is_asked_seldom_from_the_beginning() {
        assert_eq!(delays(255, ErrorKind::Full, 2), [5000, 5000]);
    }

    #[test]
    fn the_budget_counts_from_the_first_failure() {
        let config = ControllerConfig {
            retry_budget: Some(Duration::from_secs(10)),
            ..ControllerConfig::default()
        };
        let now = Instant::now();
        let mut retry = Retry::new([0; 32]);
        let mut fail = |seconds| {
            let now = now + Duration::from_secs(seconds);
            retry.fail(error(ErrorKind::Unavailable), now, &config)
        };
        assert_eq!(fail(5), Verdict::Again);
        assert_eq!(fail(14), Verdict::Again);
        assert_eq!(fail(15), Verdict::GiveUp);
    }
}
