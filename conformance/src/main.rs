//! Certifies a store: `cargo run --release -p conformance -- certify URL`

mod certifying;
mod interrupt;
mod showing;

use std::process::ExitCode;

use certifying::Certify;
use clap::Parser;

/// The suite as a program. What each check is stands in the README of this package.
#[derive(Debug, Parser)]
#[command(name = "conformance")]
enum Arguments {
    /// Runs everything there is on stores of an engine, and writes its certificate
    Certify(Certify),
}

fn main() -> ExitCode {
    if let Some(scheme) = certifying::child_scheme() {
        return certifying::child(&scheme);
    }
    let Arguments::Certify(arguments) = Arguments::parse();
    certifying::certify(&arguments)
}
