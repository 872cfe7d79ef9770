//! A server whose disk is full, and has room again.

use std::sync::Arc;

use aqevia_storage::{
    BatchRecord, ErrorKind, History, Payload, SchemaPolicy, StorageBackend, WorldRecord,
};
use serde::Serialize;

use super::own::OwnServer;
use crate::contents::contents;
use crate::sample::{event, world};
use crate::writer::{Writer, persist};

/// The room for data: what an empty server takes up, and some more.
const ROOM_BYTES: i64 = 192 << 20;
/// What is taken of it, and given back.
const BALLAST_MIB: u32 = 64;
/// The bytes of a part. Of these one at most is half written when the room ends.
const PART_BYTES: usize = 4 << 20;
/// More parts than there is room for.
const PARTS_MAX: usize = 64;
/// How often the part for which there is no room is persisted again.
const TRIES: usize = 3;

/// What was answered while there was no room.
///
/// That nothing was written then, and that all is there in the end, has been checked before there
/// is a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NoRoomReport {
    /// The engine of the server, which is one in a container, and its version.
    pub engine: String,
    /// The parts that went in before the room ended.
    pub parts: usize,
    /// How often the next part was refused as `Full`.
    pub refused: usize,
}

/// Fills the room of a server of its own until a part is refused, makes room, and persists the part
/// again.
///
/// # Panics
/// If the part is refused as anything but `Full`, if a part of it is there, or if it does not go in
/// when there is room.
pub async fn server_without_room() -> NoRoomReport {
    let server = OwnServer::start(Some(ROOM_BYTES)).await;
    let store = server.open();
    let info = store.init(SchemaPolicy::Upgrade).await.expect("`init`");
    let mut writer = Writer::claim(&store, &world("arda")).await;
    writer.persist(vec![event(&world("arda"), "1")]).await;
    server.fill(BALLAST_MIB).await;

    let parts = fill(&mut writer).await;
    let before = contents(&*store, &writer.world).await;
    let part = writer.part(vec![large(&writer, parts)]);
    for _ in 0..TRIES {
        let error = persist(&*store, &part)
            .await
            .expect_err("a part without room");
        assert_eq!(error.kind(), ErrorKind::Full, "no room: {error:?}");
        let after = contents(&*store, &writer.world).await;
        assert!(
            after == before,
            "E1: a part for which there was no room left something"
        );
    }

    server.make_room().await;
    let receipt = persist(&*store, &part).await;
    let receipt = receipt.expect("a part when there is room again");
    assert!(
        !receipt.repeated,
        "E1: a part was refused as `Full` and stored all the same"
    );
    writer.advance(&part);
    writer.persist(vec![event(&world("arda"), "2")]).await;
    check(&server, &before.log, parts + 3).await;
    store.close().await.expect("`close`");
    server.end().await;
    NoRoomReport {
        engine: info.engine,
        parts,
        refused: TRIES + 1,
    }
}

/// Persists parts until one is refused as `Full`. How many went in.
async fn fill(writer: &mut Writer) -> usize {
    for parts in 0..PARTS_MAX {
        let part = writer.part(vec![large(writer, parts)]);
        match persist(&*writer.backend, &part).await {
            Ok(_) => writer.advance(&part),
            Err(error) if error.kind() == ErrorKind::Full => return parts,
            Err(error) => panic!("no room: {error:?}"),
        }
    }
    panic!("{PARTS_MAX} parts of {PART_BYTES} bytes went into {ROOM_BYTES} bytes");
}

/// An event that cannot be compressed.
fn large(writer: &Writer, number: usize) -> BatchRecord {
    let mut bytes = vec![0; PART_BYTES];
    let mut random = blake3::Hasher::new();
    random.update(&number.to_le_bytes());
    random.finalize_xof().fill(&mut bytes);
    let event = WorldRecord::new(writer.world.clone(), Payload::Bytes(bytes), 0);
    BatchRecord::new(event, History::Latest)
}

/// Checks through another backend that what was there is there, and how much there is in all.
async fn check(server: &OwnServer, before: &[aqevia_storage::LogRow], count: usize) {
    let store: Arc<dyn StorageBackend> = server.open();
    store.init(SchemaPolicy::Upgrade).await.expect("`init`");
    let log = contents(&*store, &world("arda")).await.log;
    assert_eq!(log.len(), count, "the rows when there is room again");
    assert!(
        log.starts_with(before),
        "what was there before the room ended"
    );
    store.close().await.expect("`close`");
}
