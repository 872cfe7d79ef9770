//! The program `certify`, as a user meets it.
#![cfg(feature = "certify")]
#![expect(
    clippy::unwrap_used,
    reason = "what a test arranges and cannot have is a test that fails"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use conformance::certificate::Certificate;
use rustix::process::{Pid, Signal, kill_process};

fn certify(url: &str, out: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let short = ["--kills", "1", "--histories", "1", "--out"];
    program.args(["certify", url]).args(short).arg(out);
    program
}

/// Asserts that a run fails at once, and says why.
fn assert_refused(run: &mut Command, says: &[&str]) {
    let Output { status, stderr, .. } = run.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    for text in says {
        assert!(stderr.contains(text), "{text}\n{stderr}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn urls_that_name_no_stores_of_the_suite_are_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    for (url, says) in [
        ("sqlite::memory:", "write `sqlite:DIR`"),
        ("sled::memory:", "write `sled:DIR`"),
        ("memory:here", "write `memory:`"),
        ("memory:?a=b", "certified with their defaults"),
        (
            "postgres://me:secret@host/db?schema=x",
            "leave out the parameter `schema`",
        ),
        ("postgresql://host/db", "store URL postgresql"),
        ("mysql:", "is not known"),
    ] {
        assert_refused(&mut certify(url, folder.path()), &[says]);
    }
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_store_that_cannot_be_made_ends_the_run_with_a_sentence() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("a file");
    fs::write(&file, "").unwrap();
    let url = format!("sqlite:{}", file.join("stores").display());
    assert_refused(&mut certify(&url, out.path()), &["make ", "a file"]);
    let gone = out.path().join("gone");
    let says = ["make a folder in ", "gone: No such file"];
    assert_refused(certify("sqlite:", out.path()).env("TMPDIR", &gone), &says);
    assert!(!gone.exists());
    let mut run = certify("sqlite:", out.path());
    assert_refused(run.env("TMPDIR", &file), &["a file"]);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_found_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    assert_refused(
        &mut certify("memory:", &file.join("out")),
        &["make ", "a file"],
    );
}

#[test]
fn a_short_run_is_refused_where_certificates_are_kept_however_that_is_written() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates");
    let was_there = kept.exists();
    let same = kept.join("../src/../certificates/.");
    assert_refused(
        &mut certify("memory:", &same),
        &["a short run (1 of 500 kills"],
    );
    if !was_there {
        fs::remove_dir(&kept).unwrap();
    }
}

#[test]
fn a_number_has_to_be_one_at_least() {
    for option in ["--kills", "--histories"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_conformance"));
        let Output { status, stderr, .. } = program
            .args(["certify", "memory:", option, "0"])
            .output()
            .unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!status.success() && stderr.contains(option), "{stderr}");
    }
}

#[test]
fn a_store_in_memory_gets_a_page_that_says_what_was_not_tried() {
    let folder = tempfile::tempdir().unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = certify("memory:", folder.path()).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{stderr}");
    assert!(stderr.starts_with("conformance: clauses\n"), "{stderr}");
    let page = fs::read(folder.path().join("memory.md")).unwrap();
    assert_eq!(page, stdout);
    let json = fs::read_to_string(folder.path().join("memory.json")).unwrap();
    let certificate: Certificate = serde_json::from_str(&json).unwrap();
    assert_eq!(certificate.to_markdown().as_bytes(), page);
    let not_tried = certificate
        .checks
        .iter()
        .filter(|check| check.not_tried.is_some());
    let not_tried: Vec<_> = not_tried.map(|check| check.name.as_str()).collect();
    assert_eq!(
        not_tried,
        [
            "crash sweep",
            "controller sweep",
            "zombie",
            "start-up storm",
            "no room"
        ]
    );
}

#[test]
fn a_run_that_a_signal_ends_leaves_no_store_and_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let (stores, out) = (folder.path().join("stores"), folder.path().join("out"));
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let url = format!("sled:{}", stores.display());
        let mut run = certify(&url, &out);
        run.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut run = run.spawn().unwrap();
        let mut stderr = BufReader::new(run.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "conformance: clauses\n");
        assert!(names(&stores)[0].starts_with("aqevia-certify-"));
        kill_process(Pid::from_child(&run), signal).unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(code));
        assert_eq!(names(&stores), Vec::<String>::new());
        // It ends once nobody is left who could write to it.
        stderr.read_to_string(&mut line).unwrap();
    }
}
