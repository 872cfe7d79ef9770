//! Recorded worlds, as files hold them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use examples::replay::turns::{Turn, Turns};
use indicatif::ProgressBar;

/// The game that the repository has.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data");
const ENDING: &str = ".jsonl.zst";

/// What was recorded, turn by turn.
pub(super) struct Recorded {
    pub(super) name: String,
    pub(super) turns: Vec<Turn>,
}

/// The recordings in folders, or in that of the examples if none is named.
pub(super) fn files(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let examples = [PathBuf::from(EXAMPLES)];
    let folders = if folders.is_empty() {
        &examples
    } else {
        folders
    };
    let mut files = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            files.extend(name(&path).is_some().then_some(path));
        }
    }
    ensure!(
        !files.is_empty(),
        "no recording NAME{ENDING} in {folders:?}"
    );
    files.sort();
    Ok(files)
}

/// The name of a recording. What has another dot in it stands beside one: `NAME.final.jsonl.zst`.
fn name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?;
    Some(name).filter(|name| !name.contains('.'))
}

impl Recorded {
    /// Reads a file, up to so many turns.
    pub(super) fn read(path: &Path, turns_max: usize) -> Result<Self> {
        let turns = Turns::open(path, &ProgressBar::hidden())?;
        Ok(Self {
            name: name(path).unwrap_or_default().to_owned(),
            turns: turns.take(turns_max).collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_a_recording_is_none() {
        let name_of = |file| name(Path::new(file));
        assert_eq!(name_of("data/git-peps.jsonl.zst"), Some("git-peps"));
        assert_eq!(name_of("data/git-peps.final.jsonl.zst"), None);
        assert_eq!(name_of("data/git-peps.meta.json"), None);
    }
}
