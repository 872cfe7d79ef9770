//! Letting go of worlds that nobody uses.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_world_used_least_recently_goes_first() {
    let play = Play::new(bytes_max(30)).await;
    for name in ["a", "b", "c", "a", "d"] {
        play.touch(name).await;
    }
    play.cache.evict().await;
    assert_eq!(play.here(&["a", "b", "c", "d"]), ["a", "c", "d"]);
    play.touch("e").await;
    play.cache.evict().await;
    assert_eq!(play.here(&["a", "c", "d", "e"]), ["a", "d", "e"]);
    let stats = play.cache.stats();
    assert_eq!((stats.worlds, stats.bytes, stats.evictions), (3, 30, 2));
    assert_eq!((stats.hits, stats.misses, stats.loads), (1, 5, 5));
    // An evicted world is closed, and its value gone.
    assert_eq!(play.loader.alive(&world("b")), 0);
    let refused = play.controller.record(put(&world("b"), "x", 1));
    assert_eq!(refused.unwrap_err().error.kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn holding_a_world_is_using_it_until_the_handle_is_dropped() {
    let play = Play::new(bytes_max(20)).await;
    let held = play.get("a").await;
    let clone = held.clone();
    drop(held);
    play.touch("b").await;
    play.touch("c").await;
    play.cache.evict().await;
    assert_eq!(play.here(&["a", "b", "c"]), ["a", "c"]);
    tokio::time::advance(Duration::from_secs(1)).await;
    drop(clone);
    // It was used after `c`, though it was asked for before.
    play.touch("d").await;
    play.cache.evict().await;
    assert_eq!(play.here(&["a", "c", "d"]), ["a", "d"]);
}

#[tokio::test(start_paused = true)]
async fn worlds_in_use_may_exceed_the_bounds() {
    let play = Play::new(bytes_max(0)).await;
    let held = [play.get("a").await, play.get("b").await];
    assert_eq!(play.cache.evict().await, Evicted::default());
    assert_eq!(play.cache.stats().bytes, 20);
    drop(held);
    let evicted = play.cache.evict().await;
    assert_eq!((evicted.worlds, evicted.bytes, evicted.kept), (2, 20, 0));
    assert_eq!(play.cache.stats().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_load_over_a_bound_evicts_by_itself() {
    let worlds = CacheConfig {
        worlds_max: Some(1),
        ..CacheConfig::default()
    };
    for config in [bytes_max(10), worlds] {
        let play = Play::new(config).await;
        play.touch("a").await;
        let held = play.get("b").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(play.here(&["a", "b"]), ["b"]);
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_world_that_has_been_idle_for_too_long_goes_though_there_is_room() {
    let config = CacheConfig {
        idle_max: Some(Duration::from_secs(60)),
        ..CacheConfig::default()
    };
    let play = Play::new(config).await;
    let held = play.get("held").await;
    play.touch("a").await;
    tokio::time::advance(Duration::from_secs(30)).await;
    play.touch("b").await;
    tokio::time::advance(Duration::from_millis(28_999)).await;
    assert_eq!(play.cache.evict().await, Evicted::default());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(play.cache.evict().await.worlds, 1);
    assert_eq!(play.here(&["a", "b", "held"]), ["b", "held"]);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn what_has_grown_is_measured_when_worlds_are_evicted() {
    let play = Play::new(bytes_max(100)).await;
    let galaxy = play.get("a").await;
    galaxy.bytes.store(95, Ordering::Relaxed);
    play.touch("b").await;
    assert_eq!(play.cache.stats().bytes, 20);
    play.cache.evict().await;
    assert_eq!(play.here(&["a", "b"]), ["a"]);
    assert_eq!(play.cache.stats().bytes, 95);
    galaxy.bytes.store(usize::MAX, Ordering::Relaxed);
    play.get("b")
        .await
        .bytes
        .store(usize::MAX, Ordering::Relaxed);
    drop(galaxy);
    play.cache.evict().await;
    assert_eq!(
        play.cache.stats(),
        CacheStats {
            loads: 3,
            misses: 3,
            evictions: 3,
            ..CacheStats::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn dirty_and_pending_worlds_are_saved_before_they_go() {
    let play = Play::new(bytes_max(0)).await;
    let mut held = Vec::new();
    for index in 0..200 {
        let galaxy = play.get(&format!("w{index}")).await;
        galaxy.mark("marked", index);
        galaxy.put("put", index);
        held.push(galaxy);
    }
    drop(held);
    let evicted = play.cache.evict().await;
    assert_eq!(
        (evicted.worlds, evicted.bytes, evicted.kept),
        (200, 2000, 0)
    );
    assert_eq!(play.cache.stats().worlds, 0);
    for index in 0..200 {
        let numbers = play.store.numbers(&world(&format!("w{index}"))).await;
        let numbers: Vec<u32> = numbers.into_values().collect();
        assert_eq!(numbers, [index, index]);
    }
}

#[tokio::test(start_paused = true)]
async fn worlds_that_are_saved_together_share_batches() {
    let play = Play::new(bytes_max(0)).await;
    let mut held = Vec::new();
    for index in 0..9 {
        held.push(play.get(&format!("w{index}")).await);
        held[index].put("a", 1);
    }
    drop(held);
    assert_eq!(play.controller.stats().flush_count, 0);
    let begin = tokio::time::Instant::now();
    assert_eq!(play.cache.evict().await.worlds, 9);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(play.controller.stats().flush_count, 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_saved_stays_and_goes_when_the_store_is_back() {
    let play = Play::new(bytes_max(0)).await;
    let (dirty, pending) = (play.get("dirty").await, play.get("pending").await);
    dirty.mark("a", 1);
    pending.put("a", 2);
    play.store.away(true);
    drop((dirty, pending));
    for _ in 0..3 {
        play.touch("clean").await;
        let begin = tokio::time::Instant::now();
        play.cache.evict().await;
        assert!(
            begin.elapsed() <= Duration::from_secs(11),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(
            play.here(&["dirty", "pending", "clean"]),
            ["dirty", "pending"]
        );
    }
    play.get("dirty").await.mark("b", 3);
    play.store.away(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    play.cache.evict().await;
    assert_eq!(play.cache.stats().worlds, 0);
    let numbers = play.store.numbers(&world("dirty")).await;
    assert_eq!(numbers.into_values().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(play.store.numbers(&world("pending")).await.len(), 1);
    play.controller.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dirty_world_without_a_source_stays() {
    let play = Play::without_source(bytes_max(0)).await;
    play.get("a").await.mark("a", 1);
    drop(play.get("b").await);
    let evicted = play.cache.evict().await;
    assert_eq!((evicted.worlds, evicted.kept), (1, 1));
    assert_eq!(play.here(&["a", "b"]), ["a"]);
    let galaxy = play.get("a").await;
    assert_eq!(galaxy.numbers.lock().unwrap().get(&key("a")), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_get_while_a_world_is_being_saved_calls_the_eviction_off() {
    let play = Play::new(bytes_max(0)).await;
    let galaxy = play.get("a").await;
    galaxy.mark("a", 1);
    play.store.away(true);
    drop(galaxy);
    let cache = Arc::clone(&play.cache);
    let evicting = tokio::spawn(async move { cache.evict().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(play.get("a").await);
    play.store.away(false);
    let evicted = evicting.await.unwrap();
    assert_eq!((evicted.worlds, evicted.kept), (0, 1));
    assert_eq!(play.loads(), 1);
    assert_eq!(play.store.numbers(&world("a")).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_get_at_any_moment_of_an_eviction_finds_all_that_was_changed() {
    let (mut hits, mut misses) = (0, 0);
    for moment in 0..40 {
        let play = Play::new(bytes_max(0)).await;
        let galaxy = play.get("a").await;
        galaxy.put("a", 1);
        drop(galaxy);
        let cache = Arc::clone(&play.cache);
        let evicting = tokio::spawn(async move { cache.evict().await });
        for _ in 0..moment {
            tokio::task::yield_now().await;
        }
        let galaxy = play.get("a").await;
        assert_eq!(play.loader.alive(&world("a")), 1);
        let numbers = galaxy.numbers.lock().unwrap().clone();
        assert_eq!(numbers.into_values().collect::<Vec<_>>(), [1]);
        galaxy.put("a", 2);
        evicting.await.unwrap();
        let stats = play.cache.stats();
        assert_eq!(stats.hits, 1 - stats.evictions, "at moment {moment}");
        hits += stats.hits;
        misses += stats.misses - 1;
    }
    assert!(hits > 0 && misses > 0, "{hits} hits, {misses} misses");
}

#[tokio::test(start_paused = true)]
async fn getters_that_come_while_a_world_goes_share_the_next_load() {
    let play = Play::new(bytes_max(0)).await;
    let held = play.get("a").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(held);
    let id = world("a");
    let evicting = Arc::clone(&play.cache.shared).evict();
    // It is polled after the eviction was, and before the loop has answered that.
    let getting = async {
        assert_eq!(play.cache.stats().evictions, 0);
        assert!(play.cache.peek(&id).is_none(), "it is going");
        let first = async {
            let first = play.cache.get(&id).await.unwrap();
            assert_eq!(play.loader.alive(&id), 1);
            first
        };
        tokio::join!(first, play.cache.get(&id), play.cache.get(&id))
    };
    let (evicted, (first, second, third)) = tokio::join!(evicting, getting);
    assert_eq!(evicted.worlds, 1);
    assert_eq!(play.loads(), 2);
    first.put("a", 1);
    for other in [second.unwrap(), third.unwrap()] {
        assert_eq!(other.numbers.lock().unwrap().get(&key("a")), Some(&1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_eviction_goes_on_when_the_one_who_asked_is_gone() {
    for moment in 0..20 {
        let play = Play::new(bytes_max(0)).await;
        let galaxy = play.get("a").await;
        galaxy.mark("a", 1);
        // The pass after the load is over while it is in use.
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(galaxy);
        let cache = Arc::clone(&play.cache);
        let evicting = tokio::spawn(async move { cache.evict().await });
        // Polled at least once.
        for _ in 0..=moment {
            tokio::task::yield_now().await;
        }
        evicting.abort();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(play.cache.stats().worlds, 0, "at moment {moment}");
        assert_eq!(play.store.numbers(&world("a")).await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_world_that_is_kept_beside_the_cache_is_closed_with_its_eviction() {
    let play = Play::new(bytes_max(0)).await;
    let beside = play.get("a").await.world().clone();
    beside.record(put(&world("a"), "a", 1)).unwrap();
    play.cache.evict().await;
    assert_eq!(play.store.numbers(&world("a")).await.len(), 1);
    let refused = beside.record(put(&world("a"), "b", 1)).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_outage_piles_nothing_up() {
    let play = Play::new(bytes_max(0)).await;
    let galaxy = play.get("a").await;
    galaxy.mark("a", 1);
    play.store.away(true);
    drop(galaxy);
    for _ in 0..5 {
        assert_eq!(play.cache.evict().await.kept, 1);
    }
    let slot = {
        let shelf = play.cache.shared.lock();
        let cached = shelf.peek(&world("a")).unwrap();
        cached.world().clone()
    };
    assert!(slot.is_dirty() || play.controller.exposure().records == 1);
    // The first save has not ended, so that no other was begun.
    let begin = tokio::time::Instant::now();
    assert_eq!(play.cache.evict().await.kept, 1);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}
