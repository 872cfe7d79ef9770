//! Getting worlds that are not in memory.

use super::*;

#[tokio::test(start_paused = true)]
async fn getters_at_once_share_one_load() {
    let play = Play::new(CacheConfig::default()).await;
    let held = play.hold_loads().await;
    let getters = (0..64).map(|_| {
        let cache = Arc::clone(&play.cache);
        tokio::spawn(async move { cache.get(&world("arda")).await.unwrap() })
    });
    let getters: Vec<_> = getters.collect();
    while play.loads() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(play.cache.peek(&world("arda")).is_none());
    drop(held);
    let mut handles = Vec::new();
    for getter in getters {
        handles.push(getter.await.unwrap());
    }
    handles[0].put("a", 1);
    assert!(handles.iter().all(|galaxy| {
        let numbers = galaxy.numbers.lock().unwrap();
        numbers.get(&key("a")) == Some(&1)
    }));
    assert_eq!(play.loads(), 1);
    assert_eq!(play.store.claims.load(Ordering::Relaxed), 1);
    let stats = play.cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (0, 64, 1));
    assert_eq!((stats.worlds, stats.bytes), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn a_load_goes_on_when_the_one_who_began_it_is_gone() {
    let play = Play::new(CacheConfig::default()).await;
    let held = play.hold_loads().await;
    let cache = Arc::clone(&play.cache);
    let first = tokio::spawn(async move { cache.get(&world("arda")).await.map(|_| ()) });
    while play.loads() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let cache = Arc::clone(&play.cache);
    let second = tokio::spawn(async move { cache.get(&world("arda")).await.map(|_| ()) });
    tokio::task::yield_now().await;
    drop(held);
    second.await.unwrap().unwrap();
    assert_eq!(play.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_nobody_waits_for_is_kept_within_the_bounds() {
    for (bytes, worlds) in [(10, 1), (9, 0)] {
        let play = Play::new(bytes_max(bytes)).await;
        let held = play.hold_loads().await;
        let cache = Arc::clone(&play.cache);
        let getter = tokio::spawn(async move { cache.get(&world("arda")).await.map(|_| ()) });
        while play.loads() == 0 {
            tokio::task::yield_now().await;
        }
        getter.abort();
        drop(held);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let stats = play.cache.stats();
        assert_eq!((stats.loads, stats.worlds), (1, worlds));
        assert_eq!(play.loader.alive(&world("arda")), worlds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_is_told_to_all_and_the_next_get_tries_again() {
    let fails = [
        (Fails::With(ErrorKind::Corrupt), ErrorKind::Corrupt),
        (Fails::Panics, ErrorKind::Invalid),
    ];
    for (fails, kind) in fails {
        let play = Play::new(CacheConfig::default()).await;
        play.loader.fails.lock().unwrap().push_back(fails);
        let held = play.hold_loads().await;
        let getters = (0..8).map(|_| {
            let cache = Arc::clone(&play.cache);
            tokio::spawn(async move { cache.get(&world("arda")).await.unwrap_err() })
        });
        let getters: Vec<_> = getters.collect();
        while play.loads() == 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        for getter in getters {
            let error = getter.await.unwrap();
            assert_eq!(error.kind(), kind);
            assert!(
                error.to_string().starts_with("load world \"arda\": "),
                "{error}"
            );
        }
        let stats = play.cache.stats();
        assert_eq!((stats.worlds, stats.load_failures), (0, 1));
        // The world was closed again.
        let refused = play.controller.record(put(&world("arda"), "a", 1));
        assert_eq!(refused.unwrap_err().error.kind(), ErrorKind::Invalid);
        let galaxy = play.get("arda").await;
        assert_eq!(galaxy.world().claim().unwrap().epoch.get(), 2);
        assert_eq!(play.loads(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_fails_the_load_and_leaves_nothing_open() {
    let play = Play::new(CacheConfig::default()).await;
    for fails in [&play.store.claims_fail, &play.store.snapshots_fail] {
        fails.store(true, Ordering::Relaxed);
        let error = play.cache.get(&world("arda")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let refused = play.controller.record(put(&world("arda"), "a", 1));
        assert_eq!(refused.unwrap_err().error.kind(), ErrorKind::Invalid);
        fails.store(false, Ordering::Relaxed);
    }
    assert_eq!(play.loads(), 0);
    play.get("arda").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_loader_submitted_before_it_failed_is_loaded_by_the_next() {
    for away in [false, true] {
        let play = Play::new(CacheConfig::default()).await;
        let fails = Fails::AfterSubmitting;
        play.loader.fails.lock().unwrap().push_back(fails);
        play.store.away(away);
        let error = play.cache.get(&world("arda")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        // With the store away it could not be closed, so it is open still.
        let open = play.controller.record(put(&world("arda"), "b", 2)).is_ok();
        assert_eq!(open, away);
        play.store.away(false);
        let galaxy = play.get("arda").await;
        let numbers = galaxy.numbers.lock().unwrap().clone();
        assert_eq!(numbers.get(&key("seed")), Some(&1));
        assert_eq!(numbers.contains_key(&key("b")), away);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_pending_in_a_world_that_was_open_is_loaded() {
    let play = Play::new(CacheConfig::default()).await;
    let opened = play.controller.open_world(world("arda")).await.unwrap();
    opened.record(put(&world("arda"), "a", 7)).unwrap();
    let galaxy = play.get("arda").await;
    assert_eq!(galaxy.numbers.lock().unwrap().get(&key("a")), Some(&7));
    assert_eq!(galaxy.world().claim().unwrap().epoch.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_world_whose_changes_are_elsewhere_is_not_loaded_and_stays_open() {
    let play = Play::new(CacheConfig::default()).await;
    let opened = play.controller.open_world(world("arda")).await.unwrap();
    opened.mark_dirty(&hulls(), &key("a")).unwrap();
    let error = play.cache.get(&world("arda")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(opened.stopped().is_none());
    assert_eq!(play.loads(), 0);
}

#[tokio::test(start_paused = true)]
async fn peeking_loads_nothing_and_counts_as_no_use() {
    let play = Play::new(bytes_max(20)).await;
    assert!(play.cache.peek(&world("a")).is_none());
    assert_eq!(play.loads(), 0);
    play.touch("a").await;
    play.touch("b").await;
    tokio::time::advance(Duration::from_secs(1)).await;
    drop(play.cache.peek(&world("a")).unwrap());
    play.touch("c").await;
    play.cache.evict().await;
    assert_eq!(play.here(&["a", "b", "c"]), ["b", "c"]);
    let peeked = play.cache.peeker().peek(&world("b")).unwrap();
    play.touch("d").await;
    play.touch("e").await;
    play.cache.evict().await;
    assert_eq!(play.here(&["b", "c", "d", "e"]), ["b", "e"]);
    drop(peeked);
    assert_eq!(play.cache.stats().hits, 0);
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_a_get_is_told_so() {
    let play = Play::new(CacheConfig::default()).await;
    play.controller.shutdown().await.unwrap();
    let error = play.cache.get(&world("arda")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(play.cache.evict().await, Evicted::default());
}

/// A loader that never ends, and says when it was called.
struct Hangs(std::sync::mpsc::SyncSender<()>);

#[async_trait]
impl WorldLoader<()> for Hangs {
    async fn load(&self, _world: &World, _reads: &dyn Reads) -> Result<()> {
        self.0.send(()).unwrap();
        std::future::pending().await
    }

    fn bytes(&self, (): &()) -> usize {
        0
    }
}

#[test]
fn a_load_that_hangs_is_answered_when_the_controller_ends() {
    let store = Arc::new(Memory::new());
    let controller = StorageController::start_blocking(store, ControllerConfig::default());
    let controller = Arc::new(controller.unwrap());
    let (sender, called) = std::sync::mpsc::sync_channel(1);
    let loader = Arc::new(Hangs(sender));
    let cache = WorldCache::new(&controller, loader, CacheConfig::default());
    let cache = Arc::new(cache);
    let getter = {
        let cache = Arc::clone(&cache);
        std::thread::spawn(move || cache.get_blocking(&world("arda")).unwrap_err().kind())
    };
    called.recv().unwrap();
    controller.shutdown_blocking().unwrap();
    assert_eq!(getter.join().unwrap(), ErrorKind::Closed);
    let again = cache.get_blocking(&world("arda")).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Closed);
    assert_eq!(cache.evict_blocking(), Evicted::default());
}

#[test]
fn a_load_that_hangs_does_not_keep_a_controller_that_was_dropped() {
    let store = Arc::new(Memory::new());
    let config = ControllerConfig::default();
    let controller = StorageController::start_blocking(Arc::clone(&store) as _, config);
    let controller = Arc::new(controller.unwrap());
    let (sender, called) = std::sync::mpsc::sync_channel(1);
    let loader = Arc::new(Hangs(sender));
    let cache = WorldCache::new(&controller, loader, CacheConfig::default());
    let other = controller.open_world_blocking(world("other")).unwrap();
    let arda = world("arda");
    let mut getting = Box::pin(cache.get(&arda));
    // Polled once, it has begun.
    let poll = std::future::poll_fn(|context| {
        std::task::Poll::Ready(getting.as_mut().poll(context).is_pending())
    });
    assert!(block_on(poll));
    called.recv().unwrap();
    other.record(put(&world("other"), "a", 1)).unwrap();
    drop(getting);
    drop(cache);
    drop(controller);
    // Dropping it has waited until this was persisted.
    let numbers = block_on(async {
        let again = store.reopen();
        again.init(SchemaPolicy::Upgrade).await.unwrap();
        read_numbers(&again, &world("other")).await.unwrap()
    });
    assert_eq!(numbers.get(&key("a")), Some(&1));
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_a_world_is_logged_without_what_is_in_it() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    // With one subscriber alone, what another thread logs first is never logged here.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    let play = Play::new(bytes_max(0)).await;
    play.loader
        .fails
        .lock()
        .unwrap()
        .push_back(Fails::With(ErrorKind::Corrupt));
    play.cache.get(&world("arda")).await.unwrap_err();
    play.get("arda").await.put("secret", 271_828);
    play.cache.evict().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let of_cache = log
        .lines()
        .filter(|line| line.contains("aqevia_storage::cache"));
    let of_cache: Vec<&str> = of_cache.collect();
    let told = [
        "world opened",
        "world not loaded",
        "world opened",
        "world loaded",
        "world evicted",
    ];
    assert_eq!(of_cache.len(), told.len(), "{log}");
    for (line, told) in of_cache.iter().zip(told) {
        assert!(line.contains(told) && line.contains("world=arda"), "{line}");
        assert!(
            line.contains("duration=") || told == "world not loaded",
            "{line}"
        );
    }
    assert!(!log.contains("secret") && !log.contains("271828"), "{log}");
}
