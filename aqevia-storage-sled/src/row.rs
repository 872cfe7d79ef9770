//! The values of log, state and batches, and the payloads that do not fit one.

use aqevia_storage::{
    Change, Collection, Digest, Epoch, Error, Form, Key, LogRow, Part, Payload, Result, Sequence,
    StatePut, StateRow, WorldId, WorldRecord,
};

use crate::codec::{Fields, Place, Reader, chunk_key, log_sequence, state_names};
use crate::engine::{Engine, VALUE_BYTES_MAX};
use crate::error::reading;

/// What a row of the log says of each change.
const PUT: u8 = 1;
const DELETE: u8 = 2;
const EVENT: u8 = 3;

/// Room for what stands before the payload in most rows.
const HEAD_ROOM: usize = 64;

/// The value of a row of the log.
pub(crate) fn log_value(record: &WorldRecord) -> Result<Vec<u8>> {
    let tag = match record.change {
        Change::Put { .. } => PUT,
        Change::Delete { .. } => DELETE,
        Change::Event { .. } => EVENT,
        _ => return Err(Error::invalid("the change is not known to this version")),
    };
    let payload = record.payload();
    let fields = Fields::with_room(HEAD_ROOM + payload.map_or(0, |payload| first(payload).len()))
        .u8(tag)
        .i64(record.timestamp)
        .text(record.collection.as_str())
        .text(record.key().map_or("", Key::as_str));
    Ok(match payload {
        Some(payload) => with_payload(fields, payload),
        None => fields.u8(0),
    }
    .finish())
}

/// The value of a row of the state.
pub(crate) fn state_value(put: &StatePut<'_>, first_timestamp: i64) -> Vec<u8> {
    let fields = Fields::with_room(HEAD_ROOM + first(put.payload).len())
        .u64(put.sequence.get())
        .i64(first_timestamp)
        .i64(put.last_timestamp);
    with_payload(fields, put.payload).finish()
}

/// A payload's form, its length, and as much of it as fits.
fn with_payload(fields: Fields, payload: &Payload) -> Fields {
    // Invariant: a payload has at most 16 MiB.
    let fields = fields.u8(payload.form() as u8).u32(payload.len() as u32);
    fields.bytes(first(payload))
}

fn first(payload: &Payload) -> &[u8] {
    let bytes = payload.as_bytes();
    bytes.get(..VALUE_BYTES_MAX).unwrap_or(bytes)
}

/// What does not fit the row of a payload, and stands beside it: keys and values.
pub(crate) fn chunks<'a>(
    (place, world, sequence): (Place, &'a WorldId, Sequence),
    payload: &'a Payload,
) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> {
    let chunks = payload.as_bytes().chunks(VALUE_BYTES_MAX);
    let beside = (0..).zip(chunks).skip(1);
    beside.map(move |(index, chunk)| (chunk_key(place, world, sequence, index), chunk))
}

/// The keys of what [`chunks`] put beside a row of the state.
pub(crate) fn chunk_keys(world: &WorldId, row: &StateHead) -> impl Iterator<Item = Vec<u8>> {
    let count = (row.payload.length as usize).div_ceil(VALUE_BYTES_MAX) as u32;
    (1..count).map(|index| chunk_key(Place::State, world, row.sequence, index))
}

/// A payload as its row holds it.
pub(crate) struct StoredPayload<'a> {
    form: Form,
    pub(crate) length: u32,
    first: &'a [u8],
}

impl<'a> StoredPayload<'a> {
    /// Reads the end of a row; `None` for a change that has no payload.
    fn of(mut fields: Reader<'a>) -> Result<Option<Self>> {
        let form = fields.u8()?;
        if form == 0 {
            return fields.finish().map(|()| None);
        }
        let (form, length, first) = (Form::try_from(form)?, fields.u32()?, fields.rest());
        if first.len() != (length as usize).min(VALUE_BYTES_MAX) {
            let held = first.len();
            let matter = format!("it holds {held} bytes of a payload of {length}");
            return Err(Error::corrupt(matter));
        }
        Ok(Some(Self {
            form,
            length,
            first,
        }))
    }

    /// The whole payload, with what stands beside its row.
    fn load(&self, engine: &Engine, at: (Place, &WorldId, Sequence)) -> Result<Payload> {
        let length = self.length as usize;
        let mut bytes = Vec::with_capacity(length.min(Payload::BYTES_MAX));
        bytes.extend_from_slice(self.first);
        if bytes.len() < length {
            let (place, world, sequence) = at;
            let low = chunk_key(place, world, sequence, 0);
            let high = chunk_key(place, world, sequence, u32::MAX);
            for chunk in engine.chunks.range(low..high) {
                bytes.extend_from_slice(&chunk.map_err(reading)?.1);
            }
        }
        if bytes.len() != length {
            let held = bytes.len();
            let matter = format!("{held} bytes are there of a payload of {length}");
            return Err(Error::corrupt(matter));
        }
        Payload::from_stored(self.form, bytes)
    }
}

/// The collection of the row before, which most often is that of the next, so that they share it.
#[derive(Default)]
pub(crate) struct Names(Option<Collection>);

impl Names {
    fn collection(&mut self, text: &str) -> Result<Collection> {
        if let Some(last) = self.0.as_ref().filter(|last| last.as_str() == text) {
            return Ok(last.clone());
        }
        let collection = Collection::new(text)?;
        Ok(self.0.insert(collection).clone())
    }
}

/// A row of the log.
pub(crate) fn log_row(
    engine: &Engine,
    world: &WorldId,
    (key, value): (&[u8], &[u8]),
    names: &mut Names,
) -> Result<LogRow> {
    let sequence = log_sequence(key).map_err(|matter| damaged("log", &matter))?;
    let mut decode = || -> Result<LogRow> {
        let mut fields = Reader::new(value);
        let tag = fields.u8()?;
        let timestamp = fields.i64()?;
        let collection = names.collection(fields.text()?)?;
        let key = fields.text()?;
        let payload = StoredPayload::of(fields)?;
        let payload = payload.map(|stored| stored.load(engine, (Place::Log, world, sequence)));
        let change = change(tag, key, payload.transpose()?)?;
        let record = WorldRecord::of(world, &collection, change, timestamp);
        Ok(LogRow::new(sequence, record))
    };
    decode().map_err(|matter| damaged(&format!("row {} of log", sequence.get()), &matter))
}

fn change(tag: u8, key: &str, payload: Option<Payload>) -> Result<Change> {
    match (tag, payload) {
        (PUT, Some(payload)) => Ok(Change::Put {
            key: Key::new(key)?,
            payload,
        }),
        (DELETE, None) => Ok(Change::Delete {
            key: Key::new(key)?,
        }),
        (EVENT, Some(payload)) => Ok(Change::Event {
            key: Some(key)
                .filter(|key| !key.is_empty())
                .map(Key::new)
                .transpose()?,
            payload,
        }),
        _ => Err(Error::corrupt(format!(
            "change {tag} does not fit its payload"
        ))),
    }
}

/// What stands before the payload in a row of the state.
pub(crate) struct StateHead<'a> {
    pub(crate) sequence: Sequence,
    pub(crate) first_timestamp: i64,
    last_timestamp: i64,
    pub(crate) payload: StoredPayload<'a>,
}

impl<'a> StateHead<'a> {
    pub(crate) fn of(value: &'a [u8]) -> Result<Self> {
        let decode = || {
            let mut fields = Reader::new(value);
            Ok(Self {
                sequence: Sequence::new(fields.u64()?)?,
                first_timestamp: fields.i64()?,
                last_timestamp: fields.i64()?,
                payload: StoredPayload::of(fields)?
                    .ok_or_else(|| Error::corrupt("it has no payload"))?,
            })
        };
        decode().map_err(|matter| damaged("a row of state", &matter))
    }
}

/// A row of the state.
pub(crate) fn state_row(
    engine: &Engine,
    world: &WorldId,
    (key, value): (&[u8], &[u8]),
    names: &mut Names,
) -> Result<StateRow> {
    let head = StateHead::of(value)?;
    let mut decode = || -> Result<StateRow> {
        let (collection, key) = state_names(world, key)?;
        let at = (Place::State, world, head.sequence);
        Ok(StateRow {
            collection: names.collection(collection)?,
            key: Key::new(key)?,
            payload: head.payload.load(engine, at)?,
            sequence: head.sequence,
            first_timestamp: head.first_timestamp,
            last_timestamp: head.last_timestamp,
        })
    };
    decode().map_err(|matter| damaged("a row of state", &matter))
}

/// The bytes of the payload of a row of the log.
pub(crate) fn log_payload_bytes(value: &[u8]) -> Result<u64> {
    let decode = || {
        let mut fields = Reader::new(value);
        let _names = (fields.u8()?, fields.i64()?, fields.text()?, fields.text()?);
        let payload = StoredPayload::of(fields)?;
        Ok(payload.map_or(0, |payload| u64::from(payload.length)))
    };
    decode().map_err(|matter| damaged("a row of log", &matter))
}

/// A part that was persisted, as far as it tells whether another is the same.
pub(crate) struct BatchRow {
    pub(crate) epoch: Epoch,
    pub(crate) first: Sequence,
    pub(crate) count: u32,
    pub(crate) digest: [u8; 64],
}

impl BatchRow {
    pub(crate) fn of(value: &[u8]) -> Result<Self> {
        let decode = || {
            let mut fields = Reader::new(value);
            let row = Self {
                epoch: Epoch::new(fields.u64()?)?,
                first: Sequence::new(fields.u64()?)?,
                count: fields.u32()?,
                digest: fields.array()?,
            };
            let (_at_ms, _link) = (fields.i64()?, fields.array::<32>()?);
            fields.finish().map(|()| row)
        };
        decode().map_err(|matter| damaged("a row of batches", &matter))
    }

    /// Whether a part is this one (clause P5).
    pub(crate) fn is(&self, epoch: Epoch, digest: &Digest) -> bool {
        (self.epoch, self.digest) == (epoch, digest.to_bytes())
    }
}

/// The value of a row of the batches.
pub(crate) fn batch_value(part: &Part, first: Sequence) -> Vec<u8> {
    Fields::default()
        .u64(part.epoch().get())
        .u64(first.get())
        .u32(part.count())
        .bytes(&part.digest().to_bytes())
        .i64(part.at_ms())
        .bytes(&part.link().0)
        .finish()
}

/// The error of a row that cannot be right; `matter` says why.
pub(crate) fn damaged(row: &str, matter: &Error) -> Error {
    Error::corrupt(format!("{row} cannot be right: {matter}"))
}
