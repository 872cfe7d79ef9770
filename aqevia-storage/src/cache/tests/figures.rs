//! What the recorder of the crate `metrics` is given of a cache.

use metrics::set_default_local_recorder;

use super::*;
use crate::metric;
use crate::metric::kept::Kept;

/// The sum of what a counter was given, or what a gauge was given last.
fn figure(kept: &Kept, name: &str) -> f64 {
    let given = kept.of(&format!("aqevia_cache_{name}"));
    match name.ends_with("_total") {
        true => given.iter().sum(),
        false => given.last().copied().unwrap_or_default(),
    }
}

#[tokio::test(start_paused = true)]
async fn loads_hits_and_evictions_are_told() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    let play = Play::new(bytes_max(10)).await;
    play.touch("a").await;
    play.touch("a").await;
    play.touch("b").await;
    play.cache.evict().await;
    let fails = Fails::With(ErrorKind::Corrupt);
    play.loader.fails.lock().unwrap().push_back(fails);
    let hold = play.hold_loads().await;
    let (cache, c) = (Arc::clone(&play.cache), world("c"));
    let failing = tokio::spawn(async move { cache.get(&c).await.err() });
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(hold);
    assert!(failing.await.unwrap().is_some());
    drop(play.get("b").await);
    play.cache.record_metrics();
    for (name, value) in [
        ("worlds", 1.0),
        ("bytes", 10.0),
        ("hits_total", 2.0),
        ("misses_total", 3.0),
        ("loads_total", 2.0),
        ("load_failures_total", 1.0),
        ("evictions_total", 1.0),
        ("load_seconds", 3.0),
    ] {
        assert_eq!(figure(&kept, name), value, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_figure_of_a_cache_is_described_and_given() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    metric::describe();
    let play = Play::new(bytes_max(10)).await;
    play.touch("a").await;
    let ours = |name: &&str| name.starts_with("aqevia_cache_");
    let described = kept.described();
    let described = described.iter().filter_map(|line| line.split(' ').nth(1));
    let mut described: Vec<&str> = described.filter(ours).collect();
    described.sort_unstable();
    let given = kept.names();
    let given: Vec<&str> = given.iter().map(String::as_str).filter(ours).collect();
    assert_eq!(given, described);
}
