//! Random use of a cache, beside a model of what was accepted.

use super::*;

/// What was accepted for each world: its numbers.
type Model = Arc<Mutex<BTreeMap<WorldId, BTreeMap<Key, u32>>>>;

/// Numbers that look random and are the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    async fn pause(&mut self) {
        match self.below(4) {
            0 => tokio::time::sleep(Duration::from_millis(self.below(3000))).await,
            _ => {
                for _ in 0..self.below(6) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

const WORLDS: u64 = 5;

const STEPS: usize = 60;

/// Gets worlds, looks whether all is there that was accepted, and changes some of it.
async fn use_worlds(seed: u64, cache: Arc<WorldCache<Galaxy>>, model: Model) {
    let mut random = Random(seed);
    for step in 0..STEPS {
        let id = world(&format!("w{}", random.below(WORLDS)));
        if random.below(8) == 0 {
            cache.evict().await;
            continue;
        }
        let galaxy = match cache.get(&id).await {
            Ok(galaxy) => galaxy,
            // The store was away.
            Err(error) => {
                assert_eq!(
                    error.kind(),
                    ErrorKind::Unavailable,
                    "seed {seed}, step {step}"
                );
                random.pause().await;
                continue;
            }
        };
        for _ in 0..random.below(4) {
            change(
                &galaxy,
                &mut random,
                &model,
                &format!("seed {seed}, step {step}"),
            );
            random.pause().await;
        }
        drop(galaxy);
        random.pause().await;
    }
}

fn change(galaxy: &Cached<Galaxy>, random: &mut Random, model: &Model, place: &str) {
    let id = galaxy.world().id().clone();
    let mut numbers = galaxy.numbers.lock().unwrap();
    let mut model = model.lock().unwrap();
    let model = model.entry(id.clone()).or_default();
    assert_eq!(*numbers, *model, "{place}: world {id}");
    assert_eq!(
        galaxy.alive.load(Ordering::Relaxed),
        1,
        "{place}: world {id}"
    );
    let number = u32::try_from(random.below(1000)).unwrap();
    let name = match random.below(2) {
        0 => {
            let name = format!("put{}", random.below(3));
            galaxy.world().record(put(&id, &name, number)).unwrap();
            name
        }
        _ => {
            let name = format!("marked{}", random.below(3));
            galaxy.world().mark_dirty(&hulls(), &key(&name)).unwrap();
            name
        }
    };
    numbers.insert(key(&name), number);
    model.insert(key(&name), number);
}

/// Takes the store away now and then.
async fn trouble(seed: u64, store: Arc<Store>) {
    let mut random = Random(seed);
    for _ in 0..10 {
        for fails in [
            &store.writes_fail,
            &store.snapshots_fail,
            &store.claims_fail,
        ] {
            fails.store(random.below(3) == 0, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(random.below(8000))).await;
    }
    for fails in [
        &store.writes_fail,
        &store.snapshots_fail,
        &store.claims_fail,
    ] {
        fails.store(false, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_was_accepted_is_in_memory_or_in_the_store() {
    let mut total = CacheStats::default();
    for seed in 0..40 {
        let config = CacheConfig {
            bytes_max: 20,
            idle_max: Some(Duration::from_secs(seed % 4)),
            ..CacheConfig::default()
        };
        let play = Play::new(config).await;
        let model = Model::default();
        let users = (0..4).map(|user| {
            let seed = seed * 10 + user;
            tokio::spawn(use_worlds(
                seed,
                Arc::clone(&play.cache),
                Arc::clone(&model),
            ))
        });
        let users: Vec<_> = users.collect();
        let trouble = tokio::spawn(trouble(seed, Arc::clone(&play.store)));
        for user in users {
            user.await.unwrap();
        }
        trouble.await.unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
        play.cache.evict().await;
        let stats = play.cache.stats();
        assert!(stats.bytes <= 20, "seed {seed}: {stats:?}");
        play.controller.save_all().await.unwrap();
        play.controller.flush().await.unwrap();
        let accepted = model.lock().unwrap().clone();
        for (id, numbers) in accepted {
            assert_eq!(
                play.store.numbers(&id).await,
                numbers,
                "seed {seed}: world {id}"
            );
        }
        total.hits += stats.hits;
        total.misses += stats.misses;
        total.evictions += stats.evictions;
        total.load_failures += stats.load_failures;
        play.controller.shutdown().await.unwrap();
    }
    let counts = [
        total.hits,
        total.misses,
        total.evictions,
        total.load_failures,
    ];
    assert!(counts.iter().all(|count| *count > 50), "{total:?}");
}
