//! Harm to the line between backend and server, at each message of what is done.

use conformance::engines::postgres::{Harm, Operation, proxy_faults};

/// Making the layout takes so many messages that the tests harm one in some.
const INIT_EVERY: usize = 17;

async fn at_each_message(harm: Harm) {
    for operation in Operation::ALL {
        let every = match operation {
            Operation::Init => INIT_EVERY,
            _ => 1,
        };
        let report = proxy_faults(harm, operation, every).await;
        if harm == Harm::Delay {
            assert_eq!(report.succeeded, report.cases, "{report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_a_cut_before_a_message_loses_and_doubles_nothing() {
    at_each_message(Harm::CutBefore).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_a_cut_after_a_message_loses_and_doubles_nothing() {
    at_each_message(Harm::CutAfter).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_lost_replies_lose_and_double_nothing() {
    at_each_message(Harm::LoseReplies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_a_line_that_hangs_loses_and_doubles_nothing() {
    at_each_message(Harm::Hang).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_late_messages_fail_nothing() {
    at_each_message(Harm::Delay).await;
}
