//! SHA-256 by the system's own program, for the one digest that a test compares.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The hash as lower-case hexadecimal digits.
pub(crate) fn sha256(message: &[u8]) -> Result<String> {
    let mut program = Command::new("sha256sum");
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = program.context("sha256sum, which is part of coreutils")?;
    // It reads to the end before it writes, so the pipes do not block each other.
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(message)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "sha256sum: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}
