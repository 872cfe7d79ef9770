//! A server of a test's own whose container others pause, kill and start again.

use super::own::OwnServer;

/// A server that nobody else uses. Its container publishes the port of its URL on this machine, and
/// is still there when it was killed, to be started again.
///
/// It is removed when this is dropped, or by the next process that wants a server.
#[derive(Debug)]
pub struct RestartableServer(OwnServer);

impl RestartableServer {
    /// Starts a server in a container, with so many bytes of room for its data, which end with the
    /// container, or with all there is.
    ///
    /// # Panics
    /// If there is no container engine.
    pub async fn start(bytes: Option<i64>) -> Self {
        Self(OwnServer::start_to_stay(bytes).await)
    }

    /// The URL of its one database.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// Kills all processes of the server by SIGKILL. It is started again at once, and this waits
    /// until it answers.
    ///
    /// # Panics
    /// If the container engine does not do so, or the server does not come back.
    pub async fn kill(&self) {
        self.0.kill().await;
    }

    /// Ends the server, whose container goes with it.
    ///
    /// # Panics
    /// If the container cannot be removed.
    pub async fn end(self) {
        self.0.end().await;
    }
}
