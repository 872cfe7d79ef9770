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

/// What is said of harm to the line.
macro_rules! harm {
    ($harm:literal) => {
        concat!(
            "The line to the server is ",
            $harm,
            " each message of an operation in turn, in a case of its own, and the store is \
             compared with what was answered. The operation `succeeded` all the same; was \
             `unavailable`, and had done nothing; or was `ambiguous`, and may have been done. Of \
             the messages of `init` every fifth is taken.",
        )
    };
}

/// What is said of an outage.
macro_rules! outage {
    ($outage:literal) => {
        concat!(
            "So many `times` a server of the check's own, in a container, is ",
            $outage,
            ", while a writer persists parts and persists again what is not acknowledged. All that \
             was acknowledged has to be there, once and in order. `unavailable` and `ambiguous` \
             are the errors it got; `repeated` are the parts that were stored when they were \
             persisted again. `recovery ms` is the time from the end of the outage, or from the \
             kill, to the next acknowledgement.",
        )
    };
}

/// Harm to the line at each message, and a server in a container that is killed, paused, cut off
/// from its network, and without room.
#[must_use]
pub fn own_checks() -> Vec<OwnCheck> {
    let check = |name, about, run| OwnCheck { name, about, run };
    vec![
        check("line: cut before each message", harm!("cut before"), || {
            harmed(Harm::CutBefore)
        }),
        check("line: cut after each message", harm!("cut after"), || {
            harmed(Harm::CutAfter)
        }),
        check(
            "line: replies lost from each message on",
            harm!("without replies from"),
            || harmed(Harm::LoseReplies),
        ),
        check("line: hangs at each message", harm!("hanging at"), || {
            harmed(Harm::Hang)
        }),
        check("line: each message late", harm!("slow at"), || {
            harmed(Harm::Delay)
        }),
        check(
            "server: killed and restarted",
            outage!("killed by SIGKILL, with all its processes, and started again"),
            || value(&on_runtime(server_outages(Outage::Kill, KILLS))),
        ),
        check(
            "server: paused",
            outage!("stopped for two seconds, and goes on"),
            || value(&on_runtime(server_outages(Outage::Pause, OTHER_OUTAGES))),
        ),
        check(
            "server: cut off from its network",
            outage!("taken off its network for two seconds, and joined to it again"),
            || value(&on_runtime(server_outages(Outage::CutOff, OTHER_OUTAGES))),
        ),
        check("server: no room", NO_ROOM, || {
            value(&on_runtime(server_without_room()))
        }),
    ]
}

const NO_ROOM: &str = "The disk of a server of the check's own, in a container, is full after so \
                       many `parts`. The next is `refused` as `Full` each time and leaves nothing \
                       behind; with room made, it goes in once.";

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
