//! The row of a world: where it stands.

use aqevia_storage::{
    BatchNumber, Epoch, Error, Limit, Owner, Result, Sequence, WorldHead, WorldId, WorldPage,
    WorldRange,
};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::error::reading;
use crate::read::{Rows, get};

/// The head of a world, which a world that is not in the store has at zero.
pub(crate) async fn head(connection: &mut PgConnection, id: &WorldId) -> Result<Sequence> {
    let select = sqlx::query_scalar(include_str!("sql/select_head.sql")).bind(id.as_str());
    let head: Option<i64> = select.fetch_optional(connection).await.map_err(reading)?;
    let head = Sequence::try_from(head.unwrap_or_default());
    head.map_err(|error| damaged(id.as_str(), &error))
}

/// A page of the worlds of a store, in byte order of their names.
pub(crate) async fn worlds(
    connection: &mut PgConnection,
    range: &WorldRange,
    limit: Limit,
) -> Result<WorldPage> {
    let limit = Rows::of(limit);
    let select = sqlx::query(include_str!("sql/select_worlds.sql"))
        .bind(range.after.as_ref().map_or("", WorldId::as_str))
        .bind(limit.rows)
        .bind(limit.bytes);
    let rows = select.fetch_all(connection).await.map_err(reading)?;
    let items: Result<Vec<_>> = rows.iter().map(world_head).collect();
    let items = items?;
    let follow = rows.last().map(|row| get(row, 0)).transpose()?;
    let last = items.last().filter(|_| follow.unwrap_or(false));
    let next = last.map(|last| WorldRange::after(last.world.clone()));
    Ok(WorldPage::new(items, next))
}

/// A row of `select_worlds.sql`.
fn world_head(row: &PgRow) -> Result<WorldHead> {
    let name: String = get(row, 1)?;
    let decode = || -> Result<WorldHead> {
        Ok(WorldHead {
            world: WorldId::new(&name)?,
            epoch: Epoch::try_from(get::<i64>(row, 2)?)?,
            owner: Owner::new(get::<&str>(row, 3)?)?,
            head: Sequence::try_from(get::<i64>(row, 4)?)?,
            last_number: BatchNumber::try_from(get::<i64>(row, 5)?)?,
            last_at_ms: get(row, 6)?,
        })
    };
    decode().map_err(|error| damaged(&name, &error))
}

pub(crate) fn damaged(name: &str, matter: &Error) -> Error {
    Error::corrupt(format!(
        "the row of world {name:?} in worlds cannot be right: {matter}"
    ))
}
