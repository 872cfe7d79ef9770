//! Hashes the suite and the contract, for the certificates.

use std::io::Result;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<()> {
    let suite = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let contract = suite.join("../aqevia-storage/CONTRACT.md");
    let mut files = vec![contract];
    collect(&suite.join("src"), &mut files)?;
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        hasher.update(&fs::read(file)?);
    }
    let hash = hasher.finalize().to_hex();
    let short: String = hash.chars().take(12).collect();
    println!("cargo::rustc-env=AQEVIA_SUITE_HASH={short}");
    Ok(())
}

/// All files in a folder and those below it.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}
