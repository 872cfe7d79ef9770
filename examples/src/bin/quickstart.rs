//! Hands records to a store and reads them back: `cargo run --bin quickstart [URL]`

use std::io::{Write, stdout};

use aqevia::{Collection, ControllerConfig, Key, Limit, Payload, Reads, StateRange};
use aqevia::{StorageController, WorldId, WorldRecord};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1);
    let store = aqevia::open(url.as_deref().unwrap_or("sqlite:quickstart.sqlite"))?;
    let controller = StorageController::start(store, ControllerConfig::default()).await?;
    let world = controller.open_world(WorldId::new("arda")?).await?;
    let (arda, fleets) = (world.id(), Collection::new("fleets")?);

    // Never waits; the record is in the store within a second.
    let ships = Payload::json(&["Vingilot", "Eärrámë"])?;
    world.record(WorldRecord::put(arda, &fleets, Key::new("west")?, ships, 1))?;

    // Waits until the group is in the store as a whole, with everything before it.
    let event = WorldRecord::new(arda.clone(), Payload::json(&"a fleet sailed west")?, 2);
    let gone = WorldRecord::delete(arda, &fleets, Key::new("east")?, 2);
    let receipt = world.commit(vec![event, gone]).await?;
    writeln!(stdout(), "the group begins at sequence {}", receipt.first)?;

    let all = StateRange::all();
    for row in controller.state(arda, all, Limit::default()).await?.items {
        let payload = str::from_utf8(row.payload.as_bytes())?;
        writeln!(stdout(), "{} {}: {payload}", row.collection, row.key)?;
    }
    Ok(controller.shutdown().await?)
}
