//! Payloads that are kept in pieces, and keys and values that make sled's pages large.

use std::fs;

use aqevia_storage::{Collection, Key, StorageBackend, WorldId, WorldRecord};

use crate::store::{Folder, Writer, arda, delete, event, key, log, open, put, state};

/// The length of a piece.
const PIECE: usize = 16 << 10;

fn pieces(folder: &Folder) -> usize {
    folder.sled().open_tree("chunks").unwrap().len()
}

#[tokio::test]
async fn payloads_about_the_length_of_a_piece_come_back_as_given() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let lengths = [
        0,
        1,
        PIECE - 1,
        PIECE,
        PIECE + 1,
        2 * PIECE,
        2 * PIECE + 1,
        300_000,
    ];
    let payloads = lengths.map(|length| (0..length).map(|at| at as u8).collect::<Vec<u8>>());
    let names = lengths.map(|length| format!("{length:06}"));
    let puts = names.iter().zip(&payloads);
    let puts = puts.map(|(name, payload)| put(&arda(), name, payload.clone()));
    writer.persist(puts.collect()).await.unwrap();
    drop(writer);
    store.close().await.unwrap();

    let store = open(folder.config()).await;
    let held = state(&*store, &arda()).await.into_iter();
    assert!(
        held.map(|row| row.payload.as_bytes().to_vec())
            .eq(payloads.clone())
    );
    let logged = log(&*store, &arda()).await.into_iter();
    let logged = logged.map(|row| row.record.payload().unwrap().as_bytes().to_vec());
    assert!(logged.eq(payloads));
    let bytes: usize = lengths.iter().sum();
    let usage = store.usage(&arda()).await.unwrap();
    assert_eq!(usage.state_bytes, bytes as u64);
    assert_eq!(usage.log_bytes, bytes as u64);
}

#[tokio::test]
async fn pieces_go_with_the_payload_that_they_belong_to() {
    let folder = Folder::new();
    let long = || vec![7; 3 * PIECE];
    for (records, left) in [
        (vec![put(&arda(), "a", long())], 4),
        (vec![put(&arda(), "a", vec![1])], 2),
        (
            vec![put(&arda(), "a", long()), put(&arda(), "a", long())],
            8,
        ),
        (vec![delete(&arda(), "a"), put(&arda(), "b", long())], 10),
        (vec![delete(&arda(), "b")], 8),
    ] {
        let store = open(folder.config()).await;
        let mut writer = Writer::claim(&store, &arda()).await;
        writer.persist(records).await.unwrap();
        drop(writer);
        store.close().await.unwrap();
        assert_eq!(pieces(&folder), left);
    }
}

/// sled syncs no file but `db`, so that what it puts into one of its own would not be durable.
#[tokio::test]
async fn no_page_is_so_large_that_sled_keeps_it_in_a_file_of_its_own() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let world = WorldId::new("w".repeat(WorldId::BYTES_MAX)).unwrap();
    let collection = Collection::new("c".repeat(Collection::BYTES_MAX)).unwrap();
    let mut writer = Writer::claim(&store, &world).await;
    // Neighbours differ only in their last byte, so that what sled keeps of each is long.
    let name = |n: usize| {
        let stem = format!("{:08}", n / 40).repeat(200);
        let stem = &stem[..Key::BYTES_MAX - 1];
        key(&format!("{stem}{}", char::from(b'0' + (n % 40) as u8)))
    };
    let long =
        |n: usize, payload: Vec<u8>| WorldRecord::put(&world, &collection, name(n), payload, 0);
    for part in 0..10 {
        let puts = (0..1000).map(|n| long((part * 1000 + n) * 7 % 10_000, vec![part as u8; 10]));
        writer.persist(puts.collect()).await.unwrap();
    }
    for part in 0..8 {
        let puts = (0..50).map(|n| long(part + n, vec![part as u8; PIECE]));
        writer.persist(puts.collect()).await.unwrap();
    }
    let event = event(&world, vec![7; 16 << 20]);
    writer.persist(vec![event]).await.unwrap();
    let blobs = fs::read_dir(folder.of("sled/blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
    drop(writer);
    store.close().await.unwrap();
    let store = open(folder.config()).await;
    let usage = store.usage(&world).await.unwrap();
    assert_eq!((usage.state_keys, usage.parts), (10_000, 19));
}
