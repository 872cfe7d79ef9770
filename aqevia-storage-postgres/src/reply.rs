//! How long the server is waited for.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

/// Waits for what the server answers, at most so long; `silent` is what silence is taken for.
///
/// After silence the connection is in the middle of an answer and has to be dropped. That asks the
/// server for nothing: it finishes what it was given, or does not.
pub(crate) async fn reply<T, E>(
    max: Duration,
    reply: impl Future<Output = Result<T, E>>,
    silent: impl FnOnce(sqlx::Error) -> E,
) -> Result<T, E> {
    match timeout(max, reply).await {
        Ok(reply) => reply,
        Err(_) => Err(silent(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))),
    }
}
