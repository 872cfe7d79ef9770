//! What a certificate says of Postgres beside what it says of every store.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Harm, Operation, Outage, proxy_faults, server_outages, server_without_room};
use crate::certificate::OwnCheck;
use crate::suite::on_runtime;

/// The kills of the server.
const KILLS: u32 = 30;
/// How often it is paused, and how often it is cut off.
const OTHER_OUTAGES: u32 = 5;

/// Harm to the line at each message, and a server in a container that is killed, paused, cut off
/// from its network, and without room.
#[must_use]
pub fn own_checks() -> Vec<OwnCheck> {
    let check = |name, run| OwnCheck { name, run };
    vec![
        check("line: cut before each message", || harmed(Harm::CutBefore)),
        check("line: cut after each message", || harmed(Harm::CutAfter)),
        check("line: replies lost from each message on", || {
            harmed(Harm::LoseReplies)
        }),
        check("line: hangs at each message", || harmed(Harm::Hang)),
        check("line: each message late", || harmed(Harm::Delay)),
        check("server: killed and restarted", || {
            value(&on_runtime(server_outages(Outage::Kill, KILLS)))
        }),
        check("server: paused", || {
            value(&on_runtime(server_outages(Outage::Pause, OTHER_OUTAGES)))
        }),
        check("server: cut off from its network", || {
            value(&on_runtime(server_outages(Outage::CutOff, OTHER_OUTAGES)))
        }),
        check("server: no room", || {
            value(&on_runtime(server_without_room()))
        }),
    ]
}

/// Making the layout takes hundreds of messages, of which so many are passed over between two.
const INIT_EVERY: usize = 5;

/// The reports of all operations, by their names.
fn harmed(harm: Harm) -> Value {
    let reports = Operation::ALL.map(|operation| {
        let every = match operation {
            Operation::Init => INIT_EVERY,
            _ => 1,
        };
        let report = on_runtime(proxy_faults(harm, operation, every));
        (operation.name().to_owned(), value(&report))
    });
    Value::Object(Map::from_iter(reports))
}

fn value(report: &impl Serialize) -> Value {
    serde_json::to_value(report).expect("a report is an object")
}
