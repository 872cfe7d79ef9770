//! The program `server`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;

use anyhow::{Result, anyhow};
use aqevia::{ControllerConfig, Limit, Reads, StateRange, StorageController, WorldId, block_on};

use crate::program::{Program, command};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

const CLIENTS: usize = 8;
const REQUESTS: usize = 20;

/// Sends requests one after the other; the sequences at which they are durable.
fn request(address: &str, client: usize) -> Result<Vec<u64>> {
    let mut stream = TcpStream::connect(address)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut sequences = Vec::new();
    for number in 0..REQUESTS {
        stream.write_all(format!("fleet-{client} sails {number}\n").as_bytes())?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        let sequence = answer.trim().strip_prefix("durable at ");
        sequences.push(sequence.ok_or_else(|| anyhow!("{answer}"))?.parse()?);
    }
    stream.write_all(b"nonsense\n")?;
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    assert_eq!(answer, "refused: a line is `KEY TEXT`\n");
    Ok(sequences)
}

#[test]
fn what_the_server_acknowledged_is_stored_and_requests_share_flushes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("server.sqlite").display());
    let program = Program::start(SERVER, &url, "info")?;
    let clients = (0..CLIENTS).map(|client| {
        let address = program.address.clone();
        thread::spawn(move || request(&address, client))
    });
    let clients: Vec<_> = clients.collect();
    let mut sequences = Vec::new();
    for client in clients {
        let answered = client.join().map_err(|_| anyhow!("a client panicked"))??;
        assert!(answered.is_sorted());
        sequences.extend(answered);
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=160).collect::<Vec<u64>>());
    let logged = program.stop()?;
    assert!(!logged.contains("WARN"), "{logged}");

    let store = aqevia::open(&url)?;
    let controller = StorageController::start_blocking(store, ControllerConfig::default())?;
    let arda = WorldId::new("arda")?;
    let page = block_on(controller.state(&arda, StateRange::all(), Limit::default()))?;
    assert_eq!((page.items.len(), page.head.get()), (CLIENTS, 160));
    for row in page.items {
        assert_eq!(row.payload.as_bytes(), br#""sails 19""#);
    }
    Ok(())
}

#[test]
fn a_second_server_on_the_address_leaves_the_first_unharmed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("server.sqlite").display());
    let first = Program::start(SERVER, &url, "info")?;
    let second = command(SERVER).args([&url, &first.address]).output()?;
    let told = String::from_utf8(second.stderr)?;
    assert!(
        !second.status.success() && told.contains(&first.address),
        "{told}"
    );
    assert_eq!(request(&first.address, 0)?.len(), REQUESTS);
    first.stop()?;
    Ok(())
}

#[test]
fn a_server_whose_world_another_has_taken_ends() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("server.sqlite").display());
    let mut first = Program::start(SERVER, &url, "info")?;
    let _second = Program::start(SERVER, &url, "info")?;
    // It hears of the other when it writes.
    assert!(request(&first.address, 0).is_err());
    let (status, told) = first.wait()?;
    assert!(
        !status.success() && told.contains("world stopped"),
        "{told}"
    );
    Ok(())
}

#[test]
fn an_address_that_is_none_is_named_before_a_store_is_made() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = command(SERVER);
    server.current_dir(folder.path());
    let output = server.args(["sqlite:server.sqlite", "nonsense"]).output()?;
    let told = String::from_utf8(output.stderr)?;
    assert!(!output.status.success(), "{told}");
    assert!(
        told.contains("\"nonsense\" (an address is HOST:PORT)"),
        "{told}"
    );
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

#[test]
fn help_is_what_the_source_begins_with() -> Result<()> {
    for help in ["--help", "-h"] {
        let output = command(SERVER).arg(help).output()?;
        assert!(output.status.success() && output.stderr.is_empty());
        let said = String::from_utf8(output.stdout)?;
        assert!(
            said.contains("cargo run --bin server [URL [ADDRESS]]"),
            "{said}"
        );
    }
    Ok(())
}
