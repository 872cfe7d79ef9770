//! One line of a recorded stream.

use std::borrow::Cow;
use std::str;

use anyhow::{Context, Result, anyhow, bail};
use aqevia::{Change, Collection, Key, Payload, WorldId, WorldRecord};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A change of a world, and the turn it belongs to.
#[derive(Debug)]
pub struct Line {
    /// The number of the turn.
    pub turn: u64,
    /// The change. Its payload has the bytes of the line.
    pub record: WorldRecord,
}

impl Line {
    /// Reads a line, as `examples/data/README.md` describes it.
    ///
    /// # Errors
    /// What is wrong with the line: its encoding, its fields, or the limits of a record.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let column = error.valid_up_to() + 1;
            anyhow!("is not UTF-8 at byte {column}")
        })?;
        // Serde would also take the values of the fields, in their order, as an array.
        if !text.trim_start().starts_with('{') {
            bail!("is not a JSON object");
        }
        let fields: Fields = serde_json::from_str(text).map_err(|error| explain(&error))?;
        fields.into_line()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    world: Cow<'a, str>,
    turn: u64,
    op: Op,
    #[serde(borrow)]
    collection: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    ts: i64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Put,
    Delete,
    Event,
}

/// A payload `null` is a payload; without this it would be none.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

impl Fields<'_> {
    fn into_line(self) -> Result<Line> {
        let key = Key::new(&self.key)?;
        let payload = self.payload.map(|raw| Payload::Json(raw.get().to_owned()));
        let world = WorldId::new(&self.world)?;
        let collection = Collection::new(&self.collection)?;
        let change = match (self.op, payload) {
            (Op::Put, Some(payload)) => Change::Put { key, payload },
            (Op::Event, Some(payload)) => Change::Event {
                key: Some(key),
                payload,
            },
            (Op::Delete, None) => Change::Delete { key },
            (Op::Put, None) => bail!("a put has no `payload`"),
            (Op::Event, None) => bail!("an event has no `payload`"),
            (Op::Delete, Some(_)) => bail!("a delete has a `payload`"),
        };
        let record = WorldRecord::of(&world, &collection, change, self.ts);
        record.check().context("record")?;
        let turn = self.turn;
        Ok(Line { turn, record })
    }
}

/// The longest explanation, in characters: a message may quote the line.
const EXPLANATION_CHARS_MAX: usize = 200;

/// What `serde_json` says, with the column alone: the line is told by its number in the file.
fn explain(error: &serde_json::Error) -> anyhow::Error {
    let message = error.to_string();
    let matter = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(m, _)| m);
    let matter: String = matter.chars().take(EXPLANATION_CHARS_MAX).collect();
    let column = error.column();
    anyhow!("{matter} (column {column})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: &str = r#"{"collection":"units","key":"u1","op":"put","payload":{"b": 1.50},"ts":-7,"turn":3,"world":"w"}"#;

    fn refusal(line: &str) -> String {
        format!("{:#}", Line::parse(line.as_bytes()).unwrap_err())
    }

    #[test]
    fn a_payload_keeps_its_bytes() {
        let line = Line::parse(PUT.as_bytes()).unwrap();
        let payload = line.record.payload().unwrap();
        assert_eq!(payload.as_bytes(), br#"{"b": 1.50}"#);
        assert_eq!((line.turn, line.record.timestamp), (3, -7));
    }

    #[test]
    fn a_null_is_a_payload() {
        let line = PUT.replace(r#"{"b": 1.50}"#, "null");
        let line = Line::parse(line.as_bytes()).unwrap();
        assert_eq!(line.record.payload().unwrap().as_bytes(), b"null");
        let delete = PUT
            .replace("put", "delete")
            .replace(r#"{"b": 1.50}"#, "null");
        assert_eq!(refusal(&delete), "a delete has a `payload`");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let payload = r#""payload":{"b": 1.50},"#;
        for (line, matter) in [
            (PUT.replace("\"put\"", "\"pat\""), "unknown variant `pat`"),
            (PUT.replace("\"ts\":-7,", ""), "missing field `ts`"),
            (PUT.replace("\"ts\"", "\"tz\""), "unknown field `tz`"),
            (PUT.replace(payload, ""), "a put has no `payload`"),
            (
                PUT.replace("units", "Units"),
                "collection \"Units\": is not",
            ),
            (PUT.replace("u1", ""), "key \"\": is empty"),
            (
                PUT.replace("\"turn\":3", "\"turn\":-3"),
                "invalid value: integer `-3`",
            ),
            ("{".to_owned(), "EOF while parsing an object (column 1)"),
            (String::new(), "is not a JSON object"),
            (
                r#"["w",2,"put","c","k",{},1]"#.to_owned(),
                "is not a JSON object",
            ),
        ] {
            let said = refusal(&line);
            assert!(said.starts_with(matter), "{said}");
        }
        let said = Line::parse(b"{\xff").unwrap_err().to_string();
        assert_eq!(said, "is not UTF-8 at byte 2");
    }
}
