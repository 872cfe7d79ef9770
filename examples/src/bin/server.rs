//! An async server that answers a request when what it changed is durable:
//! `cargo run --bin server [URL [ADDRESS]]`, then `printf 'west sails\n' | nc localhost 7007`

use std::io::{Write, stdout};
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use aqevia::layer::Trace;
use aqevia::{Collection, Key, Payload, StorageController, World, WorldId, WorldRecord};
use examples::config;
use examples::log::to_stderr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    to_stderr();
    let mut arguments = config::arguments(include_str!("server.rs"))?;
    let config = config::read(arguments.next(), &[("AQEVIA_SQLITE_PATH", "server.sqlite")])?;
    let address = arguments.next().unwrap_or("127.0.0.1:7007".into());
    // Order matters: a second server finds the address taken before it takes the world.
    let listener = TcpListener::bind(&address).await;
    let listener =
        listener.with_context(|| format!("listen on {address:?} (an address is HOST:PORT)"))?;
    let store = Arc::new(Trace::new(aqevia::open_with(&config)?));
    let controller = StorageController::start(store, config.controller).await?;
    let world = controller.open_world(WorldId::new("arda")?).await?;
    writeln!(stdout(), "listening on {}", listener.local_addr()?)?;

    // One for the whole loop: it would miss a signal that comes while something else is done.
    let mut stop = pin!(tokio::signal::ctrl_c());
    let mut clients = JoinSet::new();
    let ended = loop {
        tokio::select! {
            accepted = listener.accept() => {
                clients.spawn(serve(accepted?.0, world.clone()));
            }
            Some(served) = clients.join_next() => {
                if let Err(error) = served? {
                    tracing::warn!("a client: {error:#}");
                }
            }
            // Another process has claimed it, or the store takes nothing any more.
            error = world.wait_stopped() => break Err(anyhow!(error).context("world stopped")),
            stop = &mut stop => break Ok(stop?),
        }
    };
    clients.shutdown().await;
    // What a client was told is durable; this also persists what nobody waited for.
    ended.and(controller.shutdown().await.map_err(Into::into))
}

/// Puts a text under a key for each line `KEY TEXT`.
async fn serve(mut client: TcpStream, world: World) -> anyhow::Result<()> {
    let (requests, mut answers) = client.split();
    let mut requests = BufReader::new(requests).lines();
    while let Some(line) = requests.next_line().await? {
        let answer = match change(&line, &world).await {
            Ok(sequence) => format!("durable at {sequence}\n"),
            Err(error) => format!("refused: {error:#}\n"),
        };
        answers.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Commits one change. Those of clients that come at the same time share a flush.
async fn change(line: &str, world: &World) -> anyhow::Result<aqevia::Sequence> {
    let (key, text) = line.split_once(' ').context("a line is `KEY TEXT`")?;
    let (fleets, key) = (Collection::new("fleets")?, Key::new(key)?);
    let fleet = WorldRecord::put(world.id(), &fleets, key, Payload::json(&text)?, 0);
    Ok(world.commit(vec![fleet]).await?.first)
}
