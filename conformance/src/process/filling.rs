//! The process that fills its folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqevia_storage::{
    Error, ErrorKind, Part, Receipt, Result, SchemaPolicy, StorageBackend, WorldId,
};

use super::Verdict;
use super::compare::{compare_world, heads};
use super::line::Line;
use super::plan::{Dice, Stand, noise, owner};
use super::room::RoomReport;
use crate::Harness;
use crate::harness::{another, open};
use crate::model::{Model, World};
use crate::sample::{schema, world};
use crate::writer::persist;

/// How large the file system is.
pub(super) const ROOM_BYTES: usize = 32 << 20;
/// How large each of the files is that are deleted to make room.
const BALLAST_BYTES: usize = 6 << 20;
/// What a part holds: so many events of so many bytes.
const PART: (usize, usize) = (8, 32 << 10);
/// More parts than have room.
const PARTS_MAX: usize = 2 * ROOM_BYTES / (PART.0 * PART.1);
/// How often a part is persisted again while it is refused although there is room.
const TRIES_MAX: u64 = 100;

/// See [`Task::Fill`].
pub(crate) async fn fill<H: Harness>(seed: u64, folder: &Path) {
    let ballast = ["first", "second"].map(|name| folder.join(format!("ballast {name}")));
    for file in &ballast {
        fs::write(file, vec![0; BALLAST_BYTES]).expect("room for the ballast");
    }
    let harness = H::new_in(folder).await.expect("a store in files");
    let backend = open(&harness).await;
    let mut filling = Filling {
        stand: claim(&backend, &world(WORLD)).await,
        backend,
        model: Model::default(),
        dice: Dice::new(seed, &[]),
        report: RoomReport::default(),
    };
    filling.expect_claim();
    let report = filling.all(&harness, ballast).await;
    let report = report.unwrap_or_else(|violation| panic!("{violation}"));
    let report = serde_json::to_string(&report).expect("numbers have a JSON form");
    Line::Found { report }.say();
}

const WORLD: &str = "arda";

async fn claim(backend: &Arc<dyn StorageBackend>, id: &WorldId) -> Stand {
    let claimed = Stand::claim(&**backend, id).await;
    claimed.expect("`claim` while there is room")
}

/// A writer and what it has written.
struct Filling {
    backend: Arc<dyn StorageBackend>,
    stand: Stand,
    model: Model,
    dice: Dice,
    report: RoomReport,
}

impl Filling {
    async fn all<H: Harness>(
        mut self,
        harness: &H,
        [first, second]: [PathBuf; 2],
    ) -> Verdict<RoomReport> {
        let (part, _) = self.until_full().await?;
        fs::remove_file(first).expect("the ballast can be deleted");
        self.until_in(&part).await?;
        self.reopen(harness).await?;

        let (part, in_doubt) = self.until_full().await?;
        fs::remove_file(second).expect("the ballast can be deleted");
        let other = another(harness, &self.backend).await;
        let mut claimed = claim(&other, &self.stand.world).await;
        self.expect_claim();
        let is_in = claimed.claim.last_number == part.number();
        let answer = persist(&*self.backend, &part).await;
        check_fenced(&answer, in_doubt && is_in)?;
        let written = claimed
            .persist(&*other, noise(&mut self.dice, &claimed.world, 2, 100))
            .await;
        let (written, _) = written.map_err(|error| format!("P11: the next writer: {error:?}"))?;
        self.model.persist(std::slice::from_ref(&written));
        self.compare("P6").await?;
        let closed = self.backend.close().await;
        closed.map_err(|error| format!("E1: `close` once there is room fails: {error:?}"))?;
        Ok(self.report)
    }

    /// Takes a claim that was made into the model.
    fn expect_claim(&mut self) {
        let id = &self.stand.world;
        self.model.claim(id, &owner(), schema().fingerprint());
    }

    /// Persists parts until one is refused, which is then returned, and whether it may be in.
    async fn until_full(&mut self) -> Verdict<(Arc<Part>, bool)> {
        for _ in 0..PARTS_MAX {
            let part = self.next_part();
            let error = match persist(&*self.backend, &part).await {
                Ok(_) => {
                    self.stand.advance(&part);
                    self.model.persist(std::slice::from_ref(&part));
                    self.report.parts += 1;
                    continue;
                }
                Err(error) => error,
            };
            let in_doubt = self.refused(&error)?;
            if in_doubt && self.is_in(&part).await? {
                self.model.persist(std::slice::from_ref(&part));
            }
            self.compare("E1").await?;
            return Ok((part, in_doubt));
        }
        Err(format!(
            "P2: {PARTS_MAX} parts are acknowledged, which is more than the folder has room for"
        ))
    }

    fn next_part(&mut self) -> Arc<Part> {
        let (count, bytes) = PART;
        let records = noise(&mut self.dice, &self.stand.world, count, bytes);
        self.stand.part(records)
    }

    /// Whether a part that was refused may be in.
    fn refused(&mut self, error: &Error) -> Verdict<bool> {
        match error.kind() {
            ErrorKind::Full => self.report.full += 1,
            ErrorKind::Ambiguous => self.report.ambiguous += 1,
            _ => {
                return Err(format!(
                    "E1: a part that has no room is `Full`, or `Ambiguous` at its commit, and is \
                     answered {error:?}"
                ));
            }
        }
        Ok(error.kind() == ErrorKind::Ambiguous)
    }

    async fn is_in(&self, part: &Part) -> Verdict<bool> {
        let heads = heads(&*self.backend).await?;
        let last = heads.iter().find(|head| head.world == self.stand.world);
        Ok(last.is_some_and(|head| head.last_number == part.number()))
    }

    /// Persists a part again, now that there is room: it is in once.
    async fn until_in(&mut self, part: &Arc<Part>) -> Verdict {
        for _ in 0..TRIES_MAX {
            self.report.tries += 1;
            match persist(&*self.backend, part).await {
                Ok(receipt) => return self.written(part, receipt).await,
                Err(error) if error.kind().is_retryable() => tokio::task::yield_now().await,
                Err(error) => return Err(format!("E1: the part is refused again: {error:?}")),
            }
        }
        Err(format!(
            "E1: the part is refused {TRIES_MAX} times although there is room"
        ))
    }

    async fn written(&mut self, part: &Arc<Part>, receipt: Receipt) -> Verdict {
        let expected = self.model.persist(std::slice::from_ref(part)).pop();
        if expected != Some(Ok(receipt)) {
            return Err(format!(
                "P5: the part gets {receipt:?}, and has to get {expected:?}"
            ));
        }
        self.stand.advance(part);
        self.compare("P5").await
    }

    /// Opens the store again, compares it, and claims its world.
    async fn reopen<H: Harness>(&mut self, harness: &H) -> Verdict {
        let closed = self.backend.close().await;
        closed.map_err(|error| format!("E1: `close` once there is room fails: {error:?}"))?;
        let backend = harness.open().await;
        let initialised = backend.init(SchemaPolicy::Upgrade).await;
        initialised.map_err(|error| format!("P2: `init` of a store that was full: {error:?}"))?;
        self.backend = backend;
        self.compare("P2").await?;
        self.stand = claim(&self.backend, &world(WORLD)).await;
        self.expect_claim();
        Ok(())
    }

    /// Compares the store with the model; `clause` is what a difference breaks at this point.
    async fn compare(&self, clause: &str) -> Verdict {
        let id = &self.stand.world;
        let nothing = World::default();
        let expected = self.model.world(id).unwrap_or(&nothing);
        let compared = compare_world(&*self.backend, id, expected).await;
        compared.map_err(|difference| {
            format!("{clause}: the store has no room, or had none: {difference}")
        })
    }
}

/// Checks the answer to a part that was refused, after another has claimed.
fn check_fenced(answer: &Result<Receipt, Error>, is_in: bool) -> Verdict {
    match answer {
        Err(error) if error.kind() == ErrorKind::Fenced && !is_in => Ok(()),
        Ok(receipt) if receipt.repeated && is_in => Ok(()),
        _ => Err(format!(
            "P6: a part that was refused is answered {answer:?} after another has claimed"
        )),
    }
}
