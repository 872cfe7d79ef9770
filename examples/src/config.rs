//! What a program is told: its arguments, and the variables of the environment.

use std::collections::BTreeMap;
use std::io::{self, Write, stdout};
use std::process::exit;

use aqevia::{StorageConfig, StoreUrl, unknown_variables};

/// The variable that names the store, in whose place a URL of the command line stands.
const STORE: &str = "AQEVIA_STORAGE_URL";

/// The arguments of a program. If the first is `--help` or `-h`, this shows the comment with which
/// the program's source begins, and ends the program.
///
/// # Errors
/// If standard output is closed.
pub fn arguments(source: &str) -> io::Result<impl Iterator<Item = String>> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| is_help(first)).is_some() {
        for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
            writeln!(stdout(), "{}", line.trim_start())?;
        }
        exit(0);
    }
    Ok(arguments)
}

fn is_help(argument: &str) -> bool {
    ["--help", "-h"].contains(&argument)
}

/// The store and the settings: those of a URL, if one is given, then those of the environment, then
/// the program's own, which are variables too.
///
/// # Errors
/// Those of [`StorageConfig::from_env`].
pub fn read(url: Option<String>, own: &[(&str, &str)]) -> aqevia::Result<StorageConfig> {
    let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut vars: BTreeMap<String, String> = own.iter().map(text).collect();
    vars.extend(std::env::vars_os().map(|(name, value)| {
        let value = value.to_string_lossy().into_owned();
        (name.to_string_lossy().into_owned(), value)
    }));
    for warning in unknown_variables(vars.keys().map(String::as_str)) {
        tracing::warn!(target: "aqevia_storage::config", "{warning}");
    }
    if let Some(url) = url {
        // What is wrong with it is not told of the variable.
        url.parse::<StoreUrl>()?;
        vars.insert(STORE.to_owned(), url);
    }
    StorageConfig::from_vars(vars)
}
