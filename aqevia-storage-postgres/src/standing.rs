//! Why a part was not written: where its world stands, and what it makes of the part.

use aqevia_storage::{
    BatchNumber, Epoch, Error, ErrorKind, Owner, Part, Receipt, Result, Sequence, WriterCheck,
};
use sqlx::postgres::PgRow;

use crate::read::get;
use crate::world::damaged;

/// Where a world stands, and what was persisted under a part's number. A row of
/// `select_standing.sql`.
pub(crate) struct Standing {
    epoch: Epoch,
    owner: Owner,
    head: Sequence,
    last_number: BatchNumber,
    persisted: Option<Persisted>,
}

struct Persisted {
    epoch: i64,
    digest: [u8; 64],
    first: Sequence,
    count: u32,
}

impl Standing {
    pub(crate) fn of(row: &PgRow) -> Result<Self> {
        Ok(Self {
            epoch: Epoch::try_from(get::<i64>(row, 1)?)?,
            owner: Owner::new(get::<&str>(row, 2)?)?,
            head: Sequence::try_from(get::<i64>(row, 3)?)?,
            last_number: BatchNumber::try_from(get::<i64>(row, 4)?)?,
            persisted: match get(row, 5)? {
                Some(epoch) => Some(Persisted::of(epoch, row)?),
                None => None,
            },
        })
    }
}

impl Persisted {
    fn of(epoch: i64, row: &PgRow) -> Result<Self> {
        let no_count = |_| Error::corrupt("the count of a part is not one");
        Ok(Self {
            epoch,
            digest: get(row, 6)?,
            first: Sequence::try_from(get::<i64>(row, 7)?)?,
            count: u32::try_from(get::<i64>(row, 8)?).map_err(no_count)?,
        })
    }
}

/// Decides on a part that was not written, in the order that the clauses give: P5, then P6, P7, P9.
pub(crate) fn decide(part: &Part, standing: Option<Result<Standing>>) -> Result<Receipt> {
    let Some(standing) = standing.filter(|_| part.epoch() != Epoch::ZERO) else {
        let epoch = part.epoch();
        return Err(Error::invalid(format!("{epoch:?} has not been claimed")));
    };
    let standing = standing.map_err(|error| damaged(part.world().as_str(), &error))?;
    let identity = (i64::from(part.epoch()), part.digest().to_bytes());
    if let Some(persisted) = standing.persisted
        && (persisted.epoch, persisted.digest) == identity
    {
        return Ok(Receipt::repeated(persisted.first, persisted.count));
    }
    let writer = WriterCheck {
        epoch: standing.epoch,
        last_number: standing.last_number,
        owner: Some(&standing.owner),
    };
    writer.check(part)?;
    let first = standing
        .head
        .advance(u64::from(part.count()))
        .and(standing.head.advance(1))?;
    if part.records().is_empty() {
        return Ok(Receipt::written(first, 0));
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "another session is writing to the world: try again",
    ))
}
