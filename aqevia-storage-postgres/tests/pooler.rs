//! Behind a pooler that gives a session to others between transactions.

use aqevia_storage::{ErrorKind, StorageBackend};
use aqevia_storage_postgres::PostgresConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::sessions::listener;
use crate::store::{Schema, Writer, arda, claim, event, json, log, open, persist};

/// Relays the first two connections, each to the other's session once it is told to. Those that
/// follow keep theirs.
async fn cross(listener: TcpListener, server: (String, u16), crossed: watch::Receiver<bool>) {
    let connect = async || TcpStream::connect(server.clone()).await.unwrap();
    let (mut one, _) = listener.accept().await.unwrap();
    let (mut to_one, mut to_other) = (connect().await, connect().await);
    let (mut first, mut second) = (crossed.clone(), crossed);
    let other = tokio::select! {
        _ = copy_bidirectional(&mut one, &mut to_one) => None,
        other = listener.accept() => Some(other.unwrap().0),
    };
    let mut other = other.unwrap();
    tokio::join!(
        async {
            tokio::select! {
                _ = copy_bidirectional(&mut one, &mut to_one) => {}
                _ = first.wait_for(|crossed| *crossed) => {}
            }
        },
        async {
            tokio::select! {
                _ = copy_bidirectional(&mut other, &mut to_other) => {}
                _ = second.wait_for(|crossed| *crossed) => {}
            }
        }
    );
    let mut relays = JoinSet::new();
    relays.spawn(async move { copy_bidirectional(&mut one, &mut to_other).await });
    relays.spawn(async move { copy_bidirectional(&mut other, &mut to_one).await });
    while let Ok((mut client, _)) = listener.accept().await {
        let mut server = connect().await;
        relays.spawn(async move { copy_bidirectional(&mut client, &mut server).await });
    }
}

fn through(config: &PostgresConfig, relay: &PostgresConfig) -> PostgresConfig {
    let mut through = config.clone();
    (through.host, through.port) = (relay.host.clone(), relay.port);
    through.tls = relay.tls.clone();
    through.pool.size = 1;
    through
}

#[tokio::test]
async fn a_session_of_another_store_is_written_to_by_nobody() {
    let schemas = (Schema::new().await, Schema::new().await);
    let configs = (schemas.0.config(), schemas.1.config());
    let (listener, relay) = listener(&configs.0).await;
    let (cross_over, crossed) = watch::channel(false);
    let server = (configs.0.host.clone(), configs.0.port);
    let mut connections = JoinSet::new();
    connections.spawn(cross(listener, server, crossed));
    let one = open(through(&configs.0, &relay)).await;
    let mut writer = Writer::claim(&one, &arda()).await;
    let other = open(through(&configs.1, &relay)).await;
    Writer::claim(&other, &arda()).await;

    cross_over.send_replace(true);
    let part = writer.part(vec![event(&arda(), json("1"))]);
    let error = persist(&one, part).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
    let says = "let the pooler keep sessions";
    assert!(error.to_string().contains(says), "{error}");
    let error = claim(&other, &arda()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
    assert!(error.to_string().contains(says), "{error}");

    // The sessions that follow are their own again.
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    assert_eq!(log(&*one, &arda()).await.len(), 1);
    assert!(log(&*other, &arda()).await.is_empty());
    assert_eq!(claim(&other, &arda()).await.unwrap().epoch.get(), 2);
    one.close().await.unwrap();
    other.close().await.unwrap();
}
