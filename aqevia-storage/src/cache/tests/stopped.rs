//! Worlds that were stopped, and what is still in memory of them.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_fenced_world_is_opened_anew_once_nobody_holds_it() {
    let play = Play::new(CacheConfig::default()).await;
    let galaxy = play.get("arda").await;
    play.fence("arda").await;
    let error = play.cache.get(&world("arda")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("still in use"), "{error}");
    assert!(play.cache.peek(&world("arda")).is_some());
    assert_eq!(play.loads(), 1);
    drop(galaxy);
    assert_eq!(play.loader.alive(&world("arda")), 1);

    let galaxy = play.get("arda").await;
    assert_eq!(play.loader.alive(&world("arda")), 1);
    assert_eq!(galaxy.world().claim().unwrap().epoch.get(), 3);
    // What was accepted and did not get in is handed over with it.
    let lost = galaxy.world().take_unpersisted().pending;
    assert_eq!(lost, [put(&world("arda"), "lost", 1)]);
    galaxy.put("a", 1);
    play.controller.flush().await.unwrap();
    let stats = play.cache.stats();
    assert_eq!((stats.worlds, stats.bytes, stats.loads), (1, 10, 2));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_world_stays_in_memory_when_it_cannot_be_opened_anew() {
    let play = Play::new(CacheConfig::default()).await;
    play.get("arda").await.put("a", 1);
    play.fence("arda").await;
    for fails in [&play.store.claims_fail, &play.store.snapshots_fail] {
        fails.store(true, Ordering::Relaxed);
        let error = play.cache.get(&world("arda")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let former = play.cache.peek(&world("arda")).unwrap();
        assert_eq!(former.numbers.lock().unwrap().get(&key("a")), Some(&1));
        assert_eq!(former.world().stopped().unwrap().kind(), ErrorKind::Fenced);
        fails.store(false, Ordering::Relaxed);
    }
    // What was not persisted has been through a world that was closed again.
    let left = play.get("arda").await.world().take_unpersisted();
    let records = [put(&world("arda"), "a", 1), put(&world("arda"), "lost", 1)];
    assert_eq!(left.pending, records);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_world_with_unsaved_changes_is_not_evicted_but_discarded() {
    let play = Play::new(bytes_max(0)).await;
    let galaxy = play.get("arda").await;
    galaxy.mark("a", 1);
    play.fence("arda").await;
    assert!(!play.cache.discard(&world("arda")), "it is in use");
    drop(galaxy);
    let evicted = play.cache.evict().await;
    assert_eq!((evicted.worlds, evicted.kept), (0, 1));
    assert!(play.cache.discard(&world("arda")));
    assert_eq!(play.loader.alive(&world("arda")), 0);
    assert!(!play.cache.discard(&world("arda")), "it is gone");
    assert_eq!(play.cache.stats().bytes, 0);
    // Nobody was told of these so far.
    let left = play.controller.shutdown().await.unwrap_err();
    assert_eq!((left.dirty.len(), left.pending.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_world_with_nothing_unsaved_is_evicted() {
    let play = Play::new(bytes_max(0)).await;
    drop(play.get("arda").await);
    play.controller.close_world(&world("arda")).await.unwrap();
    let evicted = play.cache.evict().await;
    assert_eq!((evicted.worlds, evicted.bytes, evicted.kept), (1, 10, 0));
    assert_eq!(play.loader.alive(&world("arda")), 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_stopped_is_discarded() {
    let play = Play::new(CacheConfig::default()).await;
    drop(play.get("arda").await);
    assert!(!play.cache.discard(&world("arda")));
    assert!(!play.cache.discard(&world("nowhere")));
    assert_eq!(play.cache.stats().worlds, 1);
}

#[tokio::test(start_paused = true)]
async fn when_nothing_is_written_any_more_memory_goes_on() {
    let play = Play::new(CacheConfig::default()).await;
    play.get("arda").await.put("a", 1);
    play.controller.shutdown().await.unwrap();
    let error = play.cache.get(&world("arda")).await;
    // It was not stopped: all of it is in the store.
    assert!(error.is_ok(), "{error:?}");
    let refused = error.unwrap().world().record(put(&world("arda"), "b", 1));
    assert_eq!(refused.unwrap_err().error.kind(), ErrorKind::Closed);
}
