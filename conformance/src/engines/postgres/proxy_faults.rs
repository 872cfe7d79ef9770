//! Harm to the line at each message of an operation, and what the store answers and holds then.

use serde::Serialize;

use super::proxy::Harm;
use super::proxy_case::{Answer, Case, Line};
use crate::sample::world;

/// More messages than any of the operations has.
const MESSAGES_MAX: u32 = 1000;

/// What is done while the line is harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A part is persisted, and persisted again.
    Persist,
    /// A part is persisted, another writer claims the world, and the part is persisted again.
    PersistAndClaim,
    /// A world is claimed that was claimed before.
    Claim,
    /// A log is read.
    Read,
    /// The layout is made, and the first connection with it.
    Init,
}

impl Operation {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Persist,
        Self::PersistAndClaim,
        Self::Claim,
        Self::Read,
        Self::Init,
    ];

    /// What it is called in a certificate.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Persist => "persist",
            Self::PersistAndClaim => "persist, and another claims",
            Self::Claim => "claim",
            Self::Read => "read",
            Self::Init => "init",
        }
    }
}

/// What was answered to an operation while the line was harmed at each of its messages in turn.
///
/// That the store held what these answers promise has been checked before there is a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProxyReport {
    /// What was done to the line.
    #[serde(skip)]
    pub harm: Harm,
    /// What was being done meanwhile.
    #[serde(skip)]
    pub operation: Operation,
    /// The messages, of the client and of the server, at which the line was harmed.
    pub cases: u32,
    /// How often the operation succeeded all the same.
    pub succeeded: u32,
    /// How often it was `Unavailable`, and so had done nothing.
    pub unavailable: u32,
    /// How often it was `Ambiguous`.
    pub ambiguous: u32,
}

/// Harms the line at each message of an operation in turn, each time with a backend of its own; at
/// each message from the first to the last, or only at one in `every`.
///
/// # Panics
/// If an answer is not as the store then is, if a part is there in part or twice, or if the backend
/// does not work again by itself.
pub async fn proxy_faults(harm: Harm, operation: Operation, every: usize) -> ProxyReport {
    let mut report = ProxyReport {
        harm,
        operation,
        cases: 0,
        succeeded: 0,
        unavailable: 0,
        ambiguous: 0,
    };
    let line = Line::new().await;
    for at in (1..MESSAGES_MAX).step_by(every) {
        let case = Case {
            line: &line,
            world: world(&format!("message {at}")),
            at,
            harm,
        };
        let answer = match operation {
            Operation::Persist => case.persist().await,
            Operation::PersistAndClaim => case.persist_and_claim().await,
            Operation::Claim => case.claim().await,
            Operation::Read => case.read().await,
            Operation::Init => case.init().await,
        };
        let Some(answer) = answer else {
            assert!(report.cases > 0, "no message went through the proxy");
            return report;
        };
        report.cases += 1;
        match answer {
            Answer::Done => report.succeeded += 1,
            Answer::Nothing => report.unavailable += 1,
            Answer::Unknown => report.ambiguous += 1,
        }
    }
    panic!("{operation:?} takes more than {MESSAGES_MAX} messages");
}
