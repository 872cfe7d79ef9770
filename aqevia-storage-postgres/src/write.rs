//! Claiming worlds and persisting parts.

use std::collections::BTreeMap;
use std::convert::identity;
use std::sync::Arc;

use aqevia_storage::{
    BatchNumber, Claim, Epoch, Error, ErrorKind, Fingerprint, Link, Owner, Part, Receipt, Result,
    Sequence, WorldId, step,
};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::error::{committing, is_lost, is_of_one, reading, warned};
use crate::notice;
use crate::parts;
use crate::pool::{Lease, Terms};
use crate::read::get;
use crate::reply::reply;
use crate::rights::{elsewhere, explain, look};
use crate::standing::{Standing, decide};
use crate::world::damaged;

/// How often a claim is tried again because another session adds the world at that moment.
const CLAIM_TRIES: u32 = 3;

/// Claims a world (clauses P6, C10), in a statement that commits by itself.
pub(crate) async fn claim(
    lease: &mut Lease,
    id: &WorldId,
    owner: &Owner,
    schema: Fingerprint,
) -> Result<Claim> {
    let terms = lease.terms().clone();
    for _ in 0..CLAIM_TRIES {
        step("claim: received");
        let claim = sqlx::query(include_str!("sql/claim_world.sql"))
            .bind(id.as_str())
            .bind(owner.as_str())
            .bind(schema.0)
            .bind(Link::ORIGIN.0)
            .bind(&*terms.schema);
        let claim = commit(&terms, claim.fetch_optional(lease.connection())).await;
        let (row, doubt) = match claim {
            Err(error) => return Err(lease.explain(error).await),
            Ok(claim) => claim,
        };
        step("claim: committed");
        if let Some(doubt) = doubt {
            return Err(doubt);
        }
        if let Some(row) = row {
            if get::<i64>(&row, 0)? == ELSEWHERE {
                return Err(look(lease.connection(), &terms, elsewhere(&terms.schema)).await);
            }
            return claimed(&row).map_err(|error| damaged(id.as_str(), &error));
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "other sessions are adding the world: try again",
    ))
}

/// The epoch, or the place of a part, in a row that says that the session is in another schema.
const ELSEWHERE: i64 = 0;

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
    lease: &mut Lease,
    parts: &[Arc<Part>],
) -> (Vec<Result<Receipt>>, Result<()>) {
    let mut desk = Desk {
        terms: lease.terms().clone(),
        connection: lease.connection(),
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
    desk.confirm_repeated().await;
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

/// Carries out a statement that commits by itself. With what comes of it comes the doubt about it,
/// if the server committed with a warning.
async fn commit<T>(
    terms: &Terms,
    statement: impl Future<Output = sqlx::Result<T>>,
) -> Result<(T, Option<Error>)> {
    let statement = reply(terms.reply_max, statement, identity);
    if !terms.waits_for_standby {
        return Ok((statement.await.map_err(committing)?, None));
    }
    let (done, warning) = notice::listen(statement).await;
    // An error says itself whether there is doubt.
    let done = done.map_err(committing)?;
    Ok((done, warning.map(|warning| warned(&warning))))
}

/// What persisting a batch has come to.
struct Desk<'a> {
    terms: Terms,
    connection: &'a mut PgConnection,
    parts: &'a [Arc<Part>],
    answers: Vec<Option<Result<Receipt>>>,
    /// The first error of the session.
    session: Result<()>,
}

impl<'a> Desk<'a> {
    /// Writes parts, and answers for those that were written or whose statement failed.
    ///
    /// If what is stored does not fit, each half is tried by itself, down to single parts, so that
    /// a damaged world does not hold up the others. That is at most two statements for each part.
    async fn write_or_fail(&mut self, places: &[usize]) {
        let mut open = vec![places];
        while let Some(places) = open.pop() {
            let Err(error) = self.write(places).await else {
                continue;
            };
            match places.split_at_checked(places.len() / 2) {
                // Order matters: the last is taken first.
                Some((first, rest)) if !first.is_empty() && is_of_one(&error) => {
                    open.extend([rest, first]);
                }
                _ => self.fail(places, &error),
            }
        }
    }

    async fn write(&mut self, places: &[usize]) -> Result<()> {
        self.check_session()?;
        let parts = self.some(places);
        let write = parts::write(&parts, &self.terms.schema);
        let written = commit(&self.terms, write.fetch_all(&mut *self.connection)).await;
        let written = self.explain(written).await;
        let (rows, doubt) = self.note(written)?;
        let doubt = doubt.map_or(Ok(()), |doubt| self.note(Err(doubt)));
        for row in rows {
            let (world, first) = (
                get::<&str>(&row, 0)?,
                Sequence::try_from(get::<i64>(&row, 1)?)?,
            );
            // Invariant: a batch is sorted by world.
            let at = parts
                .binary_search_by(|part| part.world().as_str().cmp(world))
                .ok();
            if let Some((part, place)) = at.and_then(|at| parts.get(at).zip(places.get(at))) {
                let receipt = Receipt::written(first, part.count());
                self.answer(*place, doubt.clone().map(|()| receipt));
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

    /// Has a standby confirm what repeated receipts say.
    ///
    /// A part may be stored without one: its session was ended while it waited, or the server was
    /// killed and came back. A commit that waits tells that the standby has those before it, too.
    async fn confirm_repeated(&mut self) {
        let answers = self.answers.iter().enumerate();
        let repeated = answers.filter(|(_, a)| matches!(a, Some(Ok(r)) if r.repeated));
        let repeated: Vec<_> = repeated.map(|(place, _)| place).collect();
        if !self.terms.waits_for_standby || repeated.is_empty() {
            return;
        }
        let confirm = sqlx::query(include_str!("sql/confirm.sql"));
        let confirmed = commit(&self.terms, confirm.execute(&mut *self.connection)).await;
        let confirmed = confirmed.and_then(|(_, doubt)| doubt.map_or(Ok(()), Err));
        if let Err(error) = self.note(confirmed) {
            self.fail(&repeated, &error);
        }
    }

    /// Where the worlds of parts stand, by the places of the parts among them, from 1.
    async fn standings(&mut self, places: &[usize]) -> Result<BTreeMap<i64, Result<Standing>>> {
        self.check_session()?;
        let parts = self.some(places);
        let worlds: Vec<_> = parts.iter().map(|part| part.world().as_str()).collect();
        let numbers: Vec<_> = parts.iter().map(|part| i64::from(part.number())).collect();
        let select = sqlx::query(include_str!("sql/select_standing.sql"));
        let select = select.bind(worlds).bind(numbers).bind(&*self.terms.schema);
        let rows = select.fetch_all(&mut *self.connection);
        let rows = reply(self.terms.reply_max, rows, identity).await;
        let rows = self.explain(rows.map_err(reading)).await;
        let rows = self.note(rows)?;
        let standings = rows.iter().map(|row| Ok((get(row, 0)?, Standing::of(row))));
        let standings: BTreeMap<_, _> = standings.collect::<Result<_>>()?;
        if standings.contains_key(&ELSEWHERE) {
            return self.note_elsewhere().await;
        }
        Ok(standings)
    }

    /// Finds out whether there is a session to send anything in.
    fn check_session(&self) -> Result<()> {
        let lost = self.session.as_ref().err().filter(|error| is_lost(error));
        lost.map_or(Ok(()), |error| {
            let matter = "the connection broke before this part was sent: try again";
            Err(Error::new(ErrorKind::Unavailable, matter).with_source(error.clone()))
        })
    }

    /// See [`explain`].
    async fn explain<T>(&mut self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) => Err(explain(&mut *self.connection, &self.terms, error).await),
            done => done,
        }
    }

    /// What it means that a statement was not in the schema of the store.
    async fn note_elsewhere<T>(&mut self) -> Result<T> {
        let error = elsewhere(&self.terms.schema);
        let error = look(&mut *self.connection, &self.terms, error).await;
        self.note(Err(error))
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
