//! A proxy between backend and server, which knows where a message ends and does harm there.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::message::{READY_FOR_QUERY, asks_for_encryption, read_message, read_startup};

/// What is done at a boundary, to the connection that the message is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// The connection is cut before the message is passed on.
    CutBefore,
    /// The connection is cut after the message has been passed on.
    CutAfter,
    /// The server gets all it is sent, but its replies from there on are lost; soon the connection
    /// is cut.
    LoseReplies,
    /// Nothing is passed on for a while; then the connection is cut.
    Hang,
    /// The message comes late.
    Delay,
}

impl Harm {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::CutBefore,
        Self::CutAfter,
        Self::LoseReplies,
        Self::Hang,
        Self::Delay,
    ];
}

/// How long a message hangs or is late.
const WHILE: Duration = Duration::from_millis(50);

/// A proxy on an address of its own, which ends with this.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    fuse: Fuse,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to a server.
    pub(super) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port of the loopback address");
        let fuse = Fuse::default();
        Self {
            address: listener.local_addr().expect("the proxy's address"),
            fuse: fuse.clone(),
            listening: tokio::spawn(listen(listener, server.to_owned(), fuse)),
        }
    }

    /// The address to connect to in place of the server's: `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Does harm at the message of that number, counted from 1 and from now on, both ways.
    pub(super) fn arm(&self, at: u32, harm: Harm) {
        *self.fuse.lock() = Armed {
            passed: 0,
            harm: Some((at, harm)),
        };
    }

    /// Does no harm any more. The number of messages since the proxy was armed.
    pub(super) fn disarm(&self) -> u32 {
        let mut armed = self.fuse.lock();
        armed.harm = None;
        armed.passed
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What is to be done when; all connections count together.
#[derive(Clone, Debug, Default)]
struct Fuse(Arc<Mutex<Armed>>);

#[derive(Debug, Default)]
struct Armed {
    passed: u32,
    harm: Option<(u32, Harm)>,
}

impl Fuse {
    fn lock(&self) -> MutexGuard<'_, Armed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message that is about to be passed on; what is to be done to it.
    fn count(&self) -> Option<Harm> {
        let mut armed = self.lock();
        armed.passed += 1;
        let passed = armed.passed;
        let (_, harm) = armed.harm.take_if(|(at, _)| *at == passed)?;
        Some(harm)
    }
}

async fn listen(listener: TcpListener, server: String, fuse: Fuse) {
    // Connections end with the runtime at the latest.
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&server).await else {
            continue;
        };
        tokio::spawn(relay(client, server, fuse.clone()));
    }
}

/// Passes messages both ways until one side closes, or the connection is cut: when this returns.
async fn relay(client: TcpStream, server: TcpStream, fuse: Fuse) -> io::Result<()> {
    // A message is passed on at once, as it would be without the proxy.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let connection = Connection {
        fuse,
        state: watch::Sender::new(State::Open),
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let startup = startup(&mut from_client, &mut to_client).await?;
    let requests = async {
        connection
            .pass(&startup, Way::ToServer, &mut to_server)
            .await?;
        connection.pass_requests(from_client, to_server).await
    };
    tokio::select! {
        ended = requests => ended,
        ended = connection.pass_replies(from_server, to_client) => ended,
        () = connection.expired() => Ok(()),
    }
}

/// The first message of a client, after a no to encryption if it asks for that.
async fn startup(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> io::Result<Vec<u8>> {
    loop {
        let startup = read_startup(from).await?;
        if !asks_for_encryption(&startup) {
            return Ok(startup);
        }
        to.write_all(b"N").await?;
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    ToServer,
    ToClient,
}

struct Connection {
    fuse: Fuse,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Messages are passed on.
    Open,
    /// Replies are lost.
    Deaf,
    /// Nothing is passed on.
    Hung,
}

impl Connection {
    async fn pass_requests(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
    ) -> io::Result<()> {
        loop {
            let message = read_message(&mut from).await?;
            self.pass(&message, Way::ToServer, &mut to).await?;
        }
    }

    async fn pass_replies(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
    ) -> io::Result<()> {
        loop {
            let reply = read_message(&mut from).await?;
            if !self.is(State::Deaf) {
                self.pass(&reply, Way::ToClient, &mut to).await?;
            }
            if self.is(State::Deaf) && reply.first() == Some(&READY_FOR_QUERY) {
                return Err(cut());
            }
        }
    }

    /// Passes a message on, or does harm to it; an error cuts the connection.
    async fn pass(&self, message: &[u8], way: Way, to: &mut OwnedWriteHalf) -> io::Result<()> {
        if self.is(State::Hung) {
            pending::<()>().await;
        }
        match self.fuse.count() {
            None => to.write_all(message).await,
            Some(Harm::Delay) => {
                sleep(WHILE).await;
                to.write_all(message).await
            }
            Some(Harm::CutBefore) => Err(cut()),
            Some(Harm::CutAfter) => {
                to.write_all(message).await?;
                Err(cut())
            }
            Some(Harm::LoseReplies) => {
                self.state.send_replace(State::Deaf);
                match way {
                    Way::ToServer => to.write_all(message).await,
                    Way::ToClient => Ok(()),
                }
            }
            Some(Harm::Hang) => {
                self.state.send_replace(State::Hung);
                pending().await
            }
        }
    }

    fn is(&self, state: State) -> bool {
        *self.state.borrow() == state
    }

    /// Waits until it is time to cut a connection that was done harm to.
    async fn expired(&self) {
        let mut state = self.state.subscribe();
        // It does not end before the connection, whose sender it is of.
        let _ = state.wait_for(|state| *state != State::Open).await;
        sleep(WHILE).await;
    }
}

fn cut() -> io::Error {
    io::Error::other("the connection is cut")
}
