//! Claiming worlds and persisting parts.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use aqevia_storage::{
    BatchNumber, Claim, Epoch, Error, ErrorKind, Fingerprint, Link, Owner, Part, Receipt, Result,
    Sequence, WorldId, step,
};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::error::{committing, is_lost, reading};
use crate::parts;
use crate::read::get;
use crate::standing::{Standing, decide};
use crate::world::damaged;

/// How often a claim is tried again because another session adds the world at that moment.
const CLAIM_TRIES: u32 = 3;

/// Claims a world (clauses P6, C10), in a statement that commits by itself.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    id: &WorldId,
    owner: &Owner,
    schema: Fingerprint,
) -> Result<Claim> {
    for _ in 0..CLAIM_TRIES {
        step("claim: received");
        let claim = sqlx::query(include_str!("sql/claim_world.sql"))
            .bind(id.as_str())
            .bind(owner.as_str())
            .bind(schema.0)
            .bind(Link::ORIGIN.0);
        let row = claim
            .fetch_optional(&mut *connection)
            .await
            .map_err(committing)?;
        step("claim: committed");
        if let Some(row) = row {
            return claimed(&row).map_err(|error| damaged(id.as_str(), &error));
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "other sessions are adding the world: try again",
    ))
}

fn claimed(row: &PgRow) -> Result<Claim> {
    Ok(Claim {
        epoch: Epoch::try_from(get::<i64>(row, 0)?)?,
        head: Sequence::try_from(get::<i64>(row, 1)?)?,
        last_number: BatchNumber::try_from(get::<i64>(row, 2)?)?,
        last_at_ms: get(row, 3)?,
        link: Link(get(row, 4)?),
        schema: get::<Option<[u8; 32]>>(row, 5)?.map(Fingerprint),
    })
}

/// Persists the parts of a batch, and answers once for each; and tells how the session fared.
///
/// One statement writes those that follow what their worlds hold, and commits by itself. A second
/// one is needed only if there are others, and tells why: they were persisted before, are refused,
/// are empty, or their worlds are locked by another session. A batch that is larger than the largest
/// part is cut into several of each.
pub(crate) async fn persist(
    connection: &mut PgConnection,
    parts: &[Arc<Part>],
) -> (Vec<Result<Receipt>>, Result<()>) {
    let mut desk = Desk {
        connection,
        answers: parts.iter().map(|_| None).collect(),
        parts,
        session: Ok(()),
    };
    step("batch: received");
    for chunk in chunks(parts) {
        desk.write_or_fail(&chunk).await;
    }
    step("batch: committed");
    desk.decide_others().await;
    let answers = desk.answers.into_iter().zip(parts);
    let answers = answers.map(|(answer, part)| {
        let answer = answer.unwrap_or_else(|| Err(Error::corrupt("the store gave no answer")));
        answer.map_err(|error| part.failed(error))
    });
    (answers.collect(), desk.session)
}

/// The places of the parts that have something to write, in portions that fit a statement.
fn chunks(parts: &[Arc<Part>]) -> Vec<Vec<usize>> {
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    for (place, part) in parts
        .iter()
        .enumerate()
        .filter(|(_, part)| part.count() > 0)
    {
        records += part.records().len();
        bytes += part.bytes();
        match chunks.last_mut() {
            Some(chunk) if records <= Part::RECORDS_MAX && bytes <= Part::BYTES_MAX => {
                chunk.push(place);
            }
            _ => {
                chunks.push(vec![place]);
                (records, bytes) = (part.records().len(), part.bytes());
            }
        }
    }
    chunks
}

/// What persisting a batch has come to.
struct Desk<'a> {
    connection: &'a mut PgConnection,
    parts: &'a [Arc<Part>],
    answers: Vec<Option<Result<Receipt>>>,
    /// The first error of the session.
    session: Result<()>,
}

impl<'a> Desk<'a> {
    /// Writes parts, and answers for those that were written or whose statement failed.
    ///
    /// If what is stored does not fit, each part is tried by itself, so that a damaged world does
    /// not hold up the others.
    async fn write_or_fail(&mut self, places: &[usize]) {
        let Err(error) = self.write(places).await else {
            return;
        };
        let of_one = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid);
        if !of_one || places.len() == 1 {
            return self.fail(places, &error);
        }
        for place in places {
            let alone = slice::from_ref(place);
            if let Err(error) = self.write(alone).await {
                self.fail(alone, &error);
            }
        }
    }

    async fn write(&mut self, places: &[usize]) -> Result<()> {
        if let Some(error) = self.session.as_ref().err().filter(|error| is_lost(error)) {
            let matter = "the connection broke before this part was sent: try again";
            return Err(Error::new(ErrorKind::Unavailable, matter).with_source(error.clone()));
        }
        let parts = self.some(places);
        let rows = parts::write(&parts).fetch_all(&mut *self.connection).await;
        for row in self.note(rows.map_err(committing))? {
            let at = usize::try_from(get::<i64>(&row, 0)? - 1).ok();
            let head = Sequence::try_from(get::<i64>(&row, 1)?)?;
            if let Some((part, place)) = at.and_then(|at| parts.get(at).zip(places.get(at))) {
                let receipt = Receipt::written(head.advance(1)?, part.count());
                self.answer(*place, Ok(receipt));
            }
        }
        Ok(())
    }

    /// Answers for the parts that were not written, from one look at where their worlds stand.
    async fn decide_others(&mut self) {
        let open = self.answers.iter().enumerate();
        let open: Vec<_> = open
            .filter(|(_, a)| a.is_none())
            .map(|(place, _)| place)
            .collect();
        if open.is_empty() {
            return;
        }
        match self.standings(&open).await {
            Err(error) => self.fail(&open, &error),
            Ok(mut standings) => {
                for (at, place) in (1..).zip(open) {
                    let standing = standings.remove(&at);
                    let part = self.parts.get(place);
                    if let Some(answer) = part.map(|part| decide(part, standing)) {
                        self.answer(place, answer);
                    }
                }
            }
        }
    }

    /// Where the worlds of parts stand, by the places of the parts among them, from 1.
    async fn standings(&mut self, places: &[usize]) -> Result<BTreeMap<i64, Result<Standing>>> {
        let parts = self.some(places);
        let worlds: Vec<_> = parts.iter().map(|part| part.world().as_str()).collect();
        let numbers: Vec<_> = parts.iter().map(|part| i64::from(part.number())).collect();
        let select = sqlx::query(include_str!("sql/select_standing.sql"));
        let rows = select
            .bind(worlds)
            .bind(numbers)
            .fetch_all(&mut *self.connection)
            .await;
        let rows = self.note(rows.map_err(reading))?;
        let standings = rows.iter().map(|row| Ok((get(row, 0)?, Standing::of(row))));
        standings.collect()
    }

    fn some(&self, places: &[usize]) -> Vec<&'a Arc<Part>> {
        let parts = self.parts;
        places
            .iter()
            .filter_map(|place| parts.get(*place))
            .collect()
    }

    /// Keeps the first error that the session had.
    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        if let (Err(error), true) = (&result, self.session.is_ok()) {
            self.session = Err(error.clone());
        }
        result
    }

    fn fail(&mut self, places: &[usize], error: &Error) {
        places
            .iter()
            .for_each(|place| self.answer(*place, Err(error.clone())));
    }

    fn answer(&mut self, place: usize, answer: Result<Receipt>) {
        if let Some(open) = self.answers.get_mut(place) {
            *open = Some(answer);
        }
    }
}
