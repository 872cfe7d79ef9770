//! The certificates in the docs are of the present suite, and say that nothing is lost.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a certificate that cannot be read is a test that fails"
)]

use std::path::Path;

use conformance::certificate::{Certificate, suite_version};
use serde_json::Value;

const STORES: [&str; 5] = ["memory", "postgres", "redb", "sled", "sqlite"];

/// A certificate and its page.
fn kept(store: &str) -> (Certificate, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates");
    let read = |extension| {
        let file = folder.join(format!("{store}.{extension}"));
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    let certificate = serde_json::from_str(&read("json"));
    (certificate.unwrap(), read("md"))
}

fn count(certificate: &Certificate, check: &str, figure: &str) -> Option<u64> {
    certificate.figure(check, figure).and_then(Value::as_u64)
}

#[test]
fn each_is_of_the_present_suite() {
    for store in STORES {
        let (certificate, page) = kept(store);
        assert_eq!(
            certificate.suite,
            suite_version(),
            "the certificate of {store} is of another suite: run `conformance certify` again"
        );
        assert_eq!(page, certificate.to_markdown(), "the page of {store}");
    }
}

/// The checks that do not apply to a store.
fn not_applying(store: &str) -> &'static [&'static str] {
    match store {
        "memory" => &[
            "crash sweep",
            "controller sweep",
            "zombie",
            "start-up storm",
            "no room",
        ],
        "postgres" => &["no room"],
        "redb" | "sled" => &["zombie"],
        _ => &[],
    }
}

#[test]
fn each_has_tried_all_checks_that_apply() {
    let all = [
        "generated histories",
        "equivalence",
        "faults",
        "crash sweep",
        "controller sweep",
        "zombie",
        "start-up storm",
        "no room",
        "figures",
    ];
    let postgres = [
        "line: cut before each message",
        "line: cut after each message",
        "line: replies lost from each message on",
        "line: hangs at each message",
        "line: each message late",
        "server: killed and restarted",
        "server: paused",
        "server: cut off from its network",
        "server: no room",
    ];
    for store in STORES {
        let (certificate, _) = kept(store);
        let own: &[&str] = if store == "postgres" { &postgres } else { &[] };
        for check in all.iter().chain(own) {
            let found = certificate.checks.iter().find(|found| found.name == *check);
            let found = found.unwrap_or_else(|| panic!("{store} lacks {check:?}"));
            let applies = !not_applying(store).contains(check);
            assert_eq!(found.not_tried.is_none(), applies, "{store}: {check}");
        }
    }
}

#[test]
fn each_holds() {
    for store in STORES {
        let (certificate, _) = kept(store);
        assert!(certificate.holds(), "{store}");
        assert_eq!(certificate.short, None, "{store}");
        assert!(count(&certificate, "generated histories", "cases") >= Some(256));
    }
}

#[test]
fn every_engine_holds_the_same_after_the_same_histories() {
    let hashes = STORES.map(|store| {
        let (certificate, _) = kept(store);
        certificate.figure("equivalence", "hash").cloned()
    });
    assert!(hashes[0].is_some());
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn nothing_is_lost_or_doubled_by_hundreds_of_kills() {
    for store in ["postgres", "redb", "sled", "sqlite"] {
        let (certificate, _) = kept(store);
        let figure = |name| count(&certificate, "crash sweep", name);
        assert!(figure("kills") >= Some(500), "{store}");
        assert!(figure("kills_inside_commits") >= Some(50), "{store}");
        assert!(figure("kills_with_part_stored") >= Some(1), "{store}");
        assert!(figure("acknowledged_parts") >= Some(500), "{store}");
        assert_eq!(
            figure("found_parts"),
            figure("acknowledged_parts"),
            "{store}"
        );
        assert_eq!([figure("lost"), figure("doubled")], [Some(0), Some(0)]);
    }
    let (postgres, _) = kept("postgres");
    let within = count(&postgres, "crash sweep", "kills_within_statements");
    assert!(within >= Some(25), "{within:?}");
    let kills = count(&postgres, "server: killed and restarted", "times");
    assert!(kills >= Some(30), "{kills:?}");
    let ambiguous = count(&postgres, "server: killed and restarted", "ambiguous");
    assert!(ambiguous >= Some(1), "{ambiguous:?}");
}

#[test]
fn nothing_that_an_engine_was_told_of_is_lost_by_hundreds_of_kills() {
    for store in ["postgres", "redb", "sled", "sqlite"] {
        let (certificate, _) = kept(store);
        let figure = |name| count(&certificate, "controller sweep", name);
        assert!(figure("kills") >= Some(500), "{store}");
        assert!(figure("kills_inside_commits") >= Some(50), "{store}");
        for name in ["acknowledged_saves", "captures", "coalesced"] {
            assert!(figure(name) >= Some(500), "{store}: {name}");
        }
        assert!(figure("acknowledged_groups") >= Some(500), "{store}");
        assert_eq!(
            figure("found_groups"),
            figure("acknowledged_groups"),
            "{store}"
        );
        assert_eq!([figure("lost"), figure("doubled")], [Some(0), Some(0)]);
    }
}

#[test]
fn stopped_writers_were_refused_and_let_in() {
    for store in ["postgres", "sqlite"] {
        let (certificate, _) = kept(store);
        for name in ["refused", "let_in_under_way", "timed_under_way"] {
            assert!(
                count(&certificate, "zombie", name) >= Some(1),
                "{store}: {name}"
            );
        }
    }
}
