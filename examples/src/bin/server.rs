//! An async server that answers a request when what it changed is durable:
//! `cargo run --bin server [URL [ADDRESS]]`, then `printf 'west sails\n' | nc localhost 7007`

use std::io::{Write, stdout};

use anyhow::Context;
use aqevia::{Collection, Key, Payload, StorageConfig, StorageController};
use aqevia::{World, WorldId, WorldRecord};
use examples::log::to_stderr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    to_stderr();
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next();
    let address = arguments.next();
    let config = StorageConfig::from_url(url.as_deref().unwrap_or("sqlite:server.sqlite"))?;
    let store = aqevia::open_with(&config)?;
    let controller = StorageController::start(store, config.controller).await?;
    let world = controller.open_world(WorldId::new("arda")?).await?;
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:7007")).await?;
    writeln!(stdout(), "listening on {}", listener.local_addr()?)?;

    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                clients.spawn(serve(accepted?.0, world.clone()));
            }
            Some(served) = clients.join_next() => {
                if let Err(error) = served? {
                    tracing::warn!("a client: {error:#}");
                }
            }
            stop = tokio::signal::ctrl_c() => break stop?,
        }
    }
    clients.shutdown().await;
    // What a client was told is durable; this also persists what nobody waited for.
    Ok(controller.shutdown().await?)
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
