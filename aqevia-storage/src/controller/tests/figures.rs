//! What the recorder of the crate `metrics` is given.

use metrics::set_default_local_recorder;

use super::*;
use crate::metric::kept::Kept;
use crate::{StateSource, metric};

/// Gives each entity the same state.
struct Constant;

impl StateSource for Constant {
    fn capture(&self, _world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        let taken = cut.take().into_iter();
        let captured = taken.map(|entity| Captured::put(entity, 0, || Payload::json(&1)));
        captured.collect()
    }
}

fn last(kept: &Kept, name: &str) -> f64 {
    *kept
        .of(&format!("aqevia_controller_{name}"))
        .last()
        .unwrap()
}

fn sum(kept: &Kept, name: &str) -> f64 {
    kept.of(&format!("aqevia_controller_{name}")).iter().sum()
}

#[tokio::test(start_paused = true)]
async fn what_reads_the_figures_in_an_outage_sees_the_exposure_grow() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    let store = Scripted::new([Act::Fail(ErrorKind::Full), Act::Hang]);
    let config = ControllerConfig {
        flush_interval: Duration::ZERO,
        ..ControllerConfig::default()
    };
    let (controller, world) = start(&store, config).await;
    world.record(put("1")).unwrap();
    let bytes = put("1").bytes() as f64;
    let begin = Instant::now();
    for seconds in [2, 60, 3600] {
        tokio::time::sleep_until(begin + Duration::from_secs(seconds)).await;
        controller.record_metrics();
        assert_eq!(last(&kept, "exposure_age_seconds"), seconds as f64);
        assert_eq!(last(&kept, "pending_records"), 1.0);
        assert_eq!(last(&kept, "pending_bytes"), bytes);
        assert_eq!(last(&kept, "health"), 1.0);
        assert_eq!(last(&kept, "open_worlds"), 1.0);
    }
    assert_eq!(sum(&kept, "retries_total"), 1.0);
    assert_eq!(sum(&kept, "flushes_total"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_loop_gives_its_figures_without_being_asked() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    let (begin, second) = (Instant::now(), Duration::from_secs(1));
    let store = Scripted::new([Act::Delay(2 * second)]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    controller.set_state_source(Arc::new(Constant)).unwrap();
    let hulls = Collection::new("hulls").unwrap();
    world.mark_dirty(&hulls, &Key::new("1").unwrap()).unwrap();
    for _ in 0..3 {
        world.record(put("1")).unwrap();
    }
    world.commit(vec![event()]).await.unwrap();
    assert_eq!(begin.elapsed(), 2 * second);
    assert_eq!(kept.of("aqevia_controller_flush_seconds"), [2.0]);
    assert_eq!(sum(&kept, "coalesced_total"), 2.0);
    assert_eq!(sum(&kept, "flushes_total"), 1.0);
    assert_eq!(last(&kept, "pending_records"), 0.0);
    assert_eq!(last(&kept, "dirty_entities"), 1.0);
    assert_eq!(last(&kept, "exposure_age_seconds"), 2.0);
    assert_eq!(last(&kept, "health"), 0.0);

    assert_eq!(controller.save_all().await.unwrap().entities, 1);
    assert_eq!(sum(&kept, "captured_total"), 1.0);
    assert_eq!(last(&kept, "dirty_entities"), 0.0);
    controller.shutdown().await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(last(&kept, "health"), 2.0);
    assert_eq!(last(&kept, "open_worlds"), 0.0);
    assert_eq!(sum(&kept, "dead_letters_total"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn every_figure_of_a_controller_is_described_and_given() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    metric::describe();
    let (_controller, world) = start(&Scripted::new([]), ControllerConfig::default()).await;
    world.commit(vec![event()]).await.unwrap();
    let described = kept.described();
    let mut described: Vec<_> = described
        .iter()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|name| name.starts_with("aqevia_controller_"))
        .collect();
    described.sort();
    assert_eq!(kept.names(), described);
}
