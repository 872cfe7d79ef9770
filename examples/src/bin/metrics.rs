//! Serves what a controller and its store measure, as Prometheus reads it:
//! `cargo run --bin metrics [URL [ADDRESS]]`, then `curl localhost:9184/metrics`

use std::io::{Write, stdout};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use aqevia::layer::{Metrics, Trace};
use aqevia::{Payload, StorageController, World, WorldId, WorldRecord, metric};
use examples::config;
use examples::log::to_stderr;
use examples::prometheus::Prometheus;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    to_stderr();
    let mut arguments = config::arguments(include_str!("metrics.rs"))?;
    let config = config::read(
        arguments.next(),
        &[("AQEVIA_SQLITE_PATH", "metrics.sqlite")],
    )?;
    let address = arguments.next().unwrap_or("127.0.0.1:9184".into());
    // Order matters: a second program finds the address taken before it takes the world.
    let listener = TcpListener::bind(&address).await;
    let listener =
        listener.with_context(|| format!("listen on {address:?} (an address is HOST:PORT)"))?;
    // Order matters: the recorder comes before what is recorded.
    let prometheus = Prometheus::default();
    prometheus.install()?;
    metric::describe();

    let store = aqevia::open_with(&config)?;
    let store = Arc::new(Metrics::new(Trace::new(store)));
    let controller = StorageController::start(store, config.controller).await?;
    let world = controller.open_world(WorldId::new("arda")?).await?;
    let engine = tokio::spawn(play(world));
    writeln!(stdout(), "listening on {}", listener.local_addr()?)?;
    // One for the whole loop: it would miss a signal that comes while something else is done.
    let mut stop = pin!(tokio::signal::ctrl_c());
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            stop = &mut stop => break stop?,
        };
        // The age of what waits grows also while nothing happens.
        controller.record_metrics();
        if let Err(error) = answer(client, &prometheus.render()).await {
            tracing::warn!("a client: {error:#}");
        }
    }
    engine.abort();
    Ok(controller.shutdown().await?)
}

/// An engine that tells ten events a second.
async fn play(world: World) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for number in 0.. {
        ticks.tick().await;
        let told = Payload::json(&format!("event {number}"))?;
        if let Err(refused) = world.record(WorldRecord::new(world.id().clone(), told, number)) {
            tracing::warn!("{refused}");
        }
    }
    Ok(())
}

/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers any request with a text.
async fn answer(mut client: TcpStream, text: &str) -> anyhow::Result<()> {
    let mut request = BufReader::new(&mut client).lines();
    let read = async {
        while request
            .next_line()
            .await?
            .is_some_and(|line| !line.is_empty())
        {}
        std::io::Result::Ok(())
    };
    tokio::time::timeout(PATIENCE, read).await??;
    let length = text.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await?;
    Ok(client.write_all(text.as_bytes()).await?)
}
