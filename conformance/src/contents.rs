//! Reading all there is, for comparison.

use aqevia_storage::{
    Limit, LogRange, LogRow, Reads, Sequence, StateRange, StateRow, StorageBackend, WorldHead,
    WorldId, WorldRange,
};

/// A page that holds whatever the suite writes.
pub(crate) const WHOLE: Limit = Limit {
    items: usize::MAX,
    bytes: usize::MAX,
};

/// What a world holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) world: WorldId,
    pub(crate) head: Sequence,
    pub(crate) log: Vec<LogRow>,
    pub(crate) state: Vec<StateRow>,
}

/// What a world holds, each of log and state read as one page.
pub(crate) async fn contents(reads: &dyn Reads, world: &WorldId) -> Contents {
    let log = reads.log(world, LogRange::ALL, WHOLE).await;
    let log = log.expect("`log` of a world");
    assert_eq!(log.next, None, "R2: a page that is not full is the last");
    Contents {
        world: world.clone(),
        head: log.head,
        log: log.items,
        state: state(reads, world).await,
    }
}

/// A world's log.
pub(crate) async fn log(reads: &dyn Reads, world: &WorldId) -> Vec<LogRow> {
    let page = reads.log(world, LogRange::ALL, WHOLE).await;
    page.expect("`log` of a world").items
}

/// A world's state.
pub(crate) async fn state(reads: &dyn Reads, world: &WorldId) -> Vec<StateRow> {
    let page = reads.state(world, StateRange::all(), WHOLE).await;
    let page = page.expect("`state` of a world");
    assert_eq!(page.next, None, "R2: a page that is not full is the last");
    page.items
}

/// A world's log, read to its end in pages within a limit.
pub(crate) async fn paged_log(
    reads: &dyn Reads,
    world: &WorldId,
    range: LogRange,
    limit: Limit,
) -> Vec<LogRow> {
    let mut rows = Vec::new();
    let mut next = Some(range);
    while let Some(range) = next {
        let page = reads.log(world, range, limit).await;
        let page = page.expect("`log` of a world");
        let sizes = page.items.iter().map(|row| row.record.bytes());
        check_page(sizes, limit, page.next.is_some());
        rows.extend(page.items);
        next = page.next;
    }
    rows
}

/// A world's state, read to its end in pages within a limit.
pub(crate) async fn paged_state(
    reads: &dyn Reads,
    world: &WorldId,
    range: StateRange,
    limit: Limit,
) -> Vec<StateRow> {
    let mut rows = Vec::new();
    let mut next = Some(range);
    while let Some(range) = next {
        let page = reads.state(world, range, limit).await;
        let page = page.expect("`state` of a world");
        check_page(
            page.items.iter().map(StateRow::bytes),
            limit,
            page.next.is_some(),
        );
        rows.extend(page.items);
        next = page.next;
    }
    rows
}

/// The worlds, read to their end in pages within a limit.
pub(crate) async fn paged_worlds(backend: &dyn StorageBackend, limit: Limit) -> Vec<WorldHead> {
    let mut heads = Vec::new();
    let mut next = Some(WorldRange::all());
    while let Some(range) = next {
        let page = backend.worlds(range, limit).await;
        let page = page.expect("`worlds`");
        let sizes = page.items.iter().map(|head| head.world.as_str().len());
        check_page(sizes, limit, page.next.is_some());
        heads.extend(page.items);
        next = page.next;
    }
    heads
}

/// Checks that a page holds at least an item if others follow, and no more than its limit but one.
fn check_page(sizes: impl Iterator<Item = usize>, limit: Limit, others_follow: bool) {
    let mut meter = limit.meter();
    let mut empty = true;
    for bytes in sizes {
        empty = false;
        assert!(
            meter.admit(bytes),
            "R2: a page holds more than its limit, {limit:?}"
        );
    }
    assert!(
        !(empty && others_follow),
        "R2: an empty page says that others follow"
    );
}

/// Everything a store holds, but for the parts' identities.
pub(crate) async fn everything(backend: &dyn StorageBackend) -> Vec<(WorldHead, Contents)> {
    let mut all = Vec::new();
    for head in paged_worlds(backend, Limit::default()).await {
        let contents = contents(backend, &head.world).await;
        all.push((head, contents));
    }
    all
}

/// Everything that can be read through a backend that is initialised, as bytes.
///
/// For [`Harness::dump`](crate::Harness::dump) of a store without bytes of its own.
///
/// # Panics
/// If a read fails.
pub async fn render(backend: &dyn StorageBackend) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (head, contents) in everything(backend).await {
        bytes.extend(format!("{head:?}\n").into_bytes());
        for row in contents.log {
            bytes.extend(format!("{row:?}\n").into_bytes());
            bytes.extend(
                row.record
                    .payload()
                    .map_or(&[][..], |payload| payload.as_bytes()),
            );
        }
        for row in contents.state {
            bytes.extend(format!("{row:?}\n").into_bytes());
            bytes.extend(row.payload.as_bytes());
        }
    }
    bytes
}
