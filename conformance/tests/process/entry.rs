//! The entries of a journal as bytes: a length, a checksum, and fields with their lengths.

use aqevia_storage::{
    BatchNumber, BatchRecord, Change, Collection, Epoch, Fingerprint, Form, History, Key, Link,
    Owner, Part, Payload, WorldId, WorldRecord,
};

/// The bytes before the body of an entry.
pub(crate) const HEAD: usize = 4 + 32;

/// What happened to a store.
#[derive(Debug)]
pub(crate) enum Entry {
    Claim(WorldId, Owner, Fingerprint),
    Part(Draft),
    /// The first records of a part, whose others follow in the next entry.
    FirstHalf(Draft),
}

/// A part without the link before it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) world: WorldId,
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    pub(crate) at_ms: i64,
    pub(crate) records: Vec<BatchRecord>,
}

impl Draft {
    pub(crate) fn of(part: &Part) -> Self {
        Self {
            world: part.world().clone(),
            epoch: part.epoch().get(),
            number: part.number().get(),
            at_ms: part.at_ms(),
            records: part.records().to_vec(),
        }
    }

    pub(crate) fn part(&self, link: Link) -> Part {
        let epoch = Epoch::new(self.epoch).expect("an epoch there is");
        let number = BatchNumber::new(self.number).expect("a number there is");
        let (world, records) = (self.world.clone(), self.records.clone());
        let part = Part::new(world, epoch, number, self.at_ms, link, records);
        part.expect("a part within its limits")
    }
}

impl Entry {
    /// The entry with its length and its checksum.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            Self::Claim(world, owner, schema) => {
                put(&mut body, &[1]);
                put(&mut body, world.as_str().as_bytes());
                put(&mut body, owner.as_str().as_bytes());
                put(&mut body, &schema.0);
            }
            Self::Part(draft) => put_draft(&mut body, 2, draft),
            Self::FirstHalf(draft) => put_draft(&mut body, 3, draft),
        }
        let length = u32::try_from(body.len()).expect("an entry that fits");
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(blake3::hash(&body).as_bytes());
        bytes.extend(body);
        bytes
    }

    /// The first entry of some bytes and its length, if it is whole.
    pub(crate) fn first(bytes: &[u8]) -> Option<(Self, usize)> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (checksum, rest) = rest.split_first_chunk::<32>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let body = rest.get(..length)?;
        let right = blake3::hash(body).as_bytes() == checksum;
        let entry = right.then(|| Self::parse(body)).flatten()?;
        Some((entry, HEAD + length))
    }

    fn parse(mut body: &[u8]) -> Option<Self> {
        let from = &mut body;
        match take(from)? {
            [1] => {
                let world = WorldId::new(text(from)?).ok()?;
                let owner = Owner::new(text(from)?).ok()?;
                let schema = Fingerprint(take(from)?.try_into().ok()?);
                Some(Self::Claim(world, owner, schema))
            }
            [2] => take_draft(from).map(Self::Part),
            [3] => take_draft(from).map(Self::FirstHalf),
            _ => None,
        }
    }
}

fn put_draft(body: &mut Vec<u8>, tag: u8, draft: &Draft) {
    put(body, &[tag]);
    put(body, draft.world.as_str().as_bytes());
    put(body, &draft.epoch.to_le_bytes());
    put(body, &draft.number.to_le_bytes());
    put(body, &draft.at_ms.to_le_bytes());
    for record in &draft.records {
        put_record(body, record);
    }
}

fn take_draft(from: &mut &[u8]) -> Option<Draft> {
    let world = WorldId::new(text(from)?).ok()?;
    let mut draft = Draft {
        epoch: number(from)?,
        number: number(from)?,
        at_ms: i64::from_le_bytes(take(from)?.try_into().ok()?),
        records: Vec::new(),
        world,
    };
    while !from.is_empty() {
        let record = take_record(from, &draft.world)?;
        draft.records.push(record);
    }
    Some(draft)
}

fn put_record(body: &mut Vec<u8>, record: &BatchRecord) {
    let logged = u8::from(record.is_logged());
    let record = record.record();
    let tag = match record.change {
        Change::Put { .. } => 1,
        Change::Delete { .. } => 2,
        _ => 3,
    };
    let payload = record.payload();
    let form = payload.map_or(0, |payload| payload.form() as u8);
    put(body, &[logged, tag, form, u8::from(record.key().is_some())]);
    put(body, &record.timestamp.to_le_bytes());
    put(body, record.collection.as_str().as_bytes());
    put(body, record.key().map_or("", Key::as_str).as_bytes());
    put(body, payload.map_or(&[], |payload| payload.as_bytes()));
}

fn take_record(from: &mut &[u8], world: &WorldId) -> Option<BatchRecord> {
    let &[logged, tag, form, has_key] = take(from)? else {
        return None;
    };
    let timestamp = i64::from_le_bytes(take(from)?.try_into().ok()?);
    let collection = Collection::new(text(from)?).ok()?;
    let key = text(from)?;
    let key = (has_key == 1).then(|| Key::new(key)).transpose().ok()?;
    let bytes = take(from)?.to_vec();
    let payload = || {
        let form = Form::try_from(form).ok()?;
        Payload::from_stored(form, bytes).ok()
    };
    let change = match tag {
        1 => Change::Put {
            key: key?,
            payload: payload()?,
        },
        2 => Change::Delete { key: key? },
        _ => Change::Event {
            key,
            payload: payload()?,
        },
    };
    let history = if logged == 1 {
        History::All
    } else {
        History::Latest
    };
    let record = WorldRecord::of(world, &collection, change, timestamp);
    Some(BatchRecord::new(record, history))
}

fn put(body: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).expect("a field that fits");
    body.extend(length.to_le_bytes());
    body.extend(field);
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let (field, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *from = rest;
    Some(field)
}

fn text<'a>(from: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take(from)?).ok()
}

fn number(from: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(from)?.try_into().ok()?))
}
