use super::*;
use ErrorKind::{Ambiguous, Corrupt, Full, Incompatible, Invalid, Unavailable};

/// A code, whether it ends the session, and its kind while opening, while settling the layout,
/// while connecting later, while reading, and for a statement that commits.
const KINDS: [(&str, bool, [ErrorKind; 5]); 41] = [
    (
        "08006",
        true,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    (
        "08P01",
        false,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    ("0A000", false, [Unavailable; 5]),
    (
        "21000",
        false,
        [Invalid, Corrupt, Unavailable, Corrupt, Corrupt],
    ),
    ("22003", false, [Full; 5]),
    ("22021", false, [Invalid; 5]),
    (
        "22023",
        false,
        [Invalid, Invalid, Unavailable, Invalid, Invalid],
    ),
    (
        "22P02",
        false,
        [Invalid, Corrupt, Unavailable, Corrupt, Corrupt],
    ),
    (
        "23502",
        false,
        [Invalid, Corrupt, Unavailable, Corrupt, Corrupt],
    ),
    (
        "23505",
        false,
        [Invalid, Corrupt, Unavailable, Corrupt, Corrupt],
    ),
    (
        "23514",
        false,
        [Invalid, Corrupt, Unavailable, Corrupt, Corrupt],
    ),
    ("25006", false, [Unavailable; 5]),
    ("25P02", false, [Unavailable; 5]),
    (
        "25P03",
        true,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    ("26000", false, [Unavailable; 5]),
    (
        "28000",
        true,
        [Invalid, Invalid, Unavailable, Unavailable, Ambiguous],
    ),
    (
        "28P01",
        true,
        [Invalid, Invalid, Unavailable, Unavailable, Ambiguous],
    ),
    ("2BP01", false, [Incompatible; 5]),
    (
        "3D000",
        true,
        [Invalid, Invalid, Unavailable, Unavailable, Ambiguous],
    ),
    (
        "3F000",
        false,
        [Invalid, Corrupt, Unavailable, Corrupt, Corrupt],
    ),
    ("40001", false, [Unavailable; 5]),
    (
        "40003",
        false,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    ("40P01", false, [Unavailable; 5]),
    (
        "42501",
        false,
        [Invalid, Invalid, Unavailable, Unavailable, Unavailable],
    ),
    (
        "42703",
        false,
        [Invalid, Corrupt, Unavailable, Corrupt, Corrupt],
    ),
    (
        "42P01",
        false,
        [Invalid, Corrupt, Unavailable, Corrupt, Corrupt],
    ),
    ("42P05", false, [Unavailable; 5]),
    ("53100", false, [Full; 5]),
    ("53200", false, [Unavailable; 5]),
    (
        "53300",
        true,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    ("53400", false, [Full; 5]),
    ("54000", false, [Invalid; 5]),
    ("55P03", false, [Unavailable; 5]),
    ("57014", false, [Unavailable; 5]),
    (
        "57P01",
        true,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    (
        "57P02",
        true,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    (
        "57P03",
        true,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    ("58030", false, [Unavailable; 5]),
    (
        "XX000",
        false,
        [
            Unavailable,
            Unavailable,
            Unavailable,
            Unavailable,
            Ambiguous,
        ],
    ),
    ("XX001", false, [Corrupt; 5]),
    ("XX002", false, [Corrupt; 5]),
];

const STEPS: [Step; 5] = [
    Step::Open,
    Step::Settle,
    Step::Connect,
    Step::Read,
    Step::Commit,
];

#[test]
fn each_code_has_its_kind_by_step() {
    for (code, fatal, kinds) in KINDS {
        assert_eq!(
            STEPS.map(|step| kind_of(code, fatal, step)),
            kinds,
            "{code}"
        );
    }
}

#[test]
fn a_code_that_is_not_known_leaves_a_commit_in_doubt() {
    for code in ["", "9", "ZZ999", "P0001", "F0000"] {
        let kinds = STEPS.map(|step| kind_of(code, false, step));
        assert_eq!(
            kinds,
            [
                Unavailable,
                Unavailable,
                Unavailable,
                Unavailable,
                Ambiguous
            ],
            "{code}"
        );
    }
}

#[test]
fn a_connection_that_breaks_leaves_only_a_commit_in_doubt() {
    let broken = || sqlx::Error::Io(io::ErrorKind::UnexpectedEof.into());
    let errors = [opening(broken()), connecting(broken()), reading(broken())];
    for error in errors {
        assert_eq!(
            (error.kind(), is_lost(&error)),
            (Unavailable, true),
            "{error:?}"
        );
    }
    let error = committing(broken());
    assert_eq!((error.kind(), is_lost(&error)), (Ambiguous, true));
    let silent = || sqlx::Error::Io(io::ErrorKind::TimedOut.into());
    let error = committing(silent());
    assert_eq!((error.kind(), is_lost(&error)), (Ambiguous, true));
    for error in [settling(silent()), reading(silent()), committing(silent())] {
        assert!(error.to_string().contains("reply_timeout_ms"), "{error}");
    }
    let protocol = committing(sqlx::Error::Protocol("garbage".to_owned()));
    assert_eq!((protocol.kind(), is_lost(&protocol)), (Ambiguous, true));
}

#[test]
fn rows_that_cannot_be_read_are_corrupt() {
    let error = reading(sqlx::Error::ColumnNotFound("a".to_owned()));
    assert_eq!((error.kind(), is_lost(&error)), (Corrupt, false));
    assert_eq!(committing(sqlx::Error::RowNotFound).kind(), Ambiguous);
}

#[test]
fn what_cannot_be_encrypted_is_invalid_at_the_start_alone() {
    let errors = || {
        let certificate = sqlx::Error::Io(io::ErrorKind::InvalidData.into());
        [
            certificate,
            sqlx::Error::Tls("the server does not encrypt".into()),
        ]
    };
    assert_eq!(errors().map(|error| opening(error).kind()), [Invalid; 2]);
    assert_eq!(
        errors().map(|error| connecting(error).kind()),
        [Unavailable; 2]
    );
}
