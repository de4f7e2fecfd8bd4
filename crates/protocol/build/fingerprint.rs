//! Fingerprint of the sources of all programs that run in nodes. Shared by the build script and its test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Crates that run in nodes.
pub(crate) const CRATES: [&str; 9] =
    ["model", "protocol", "program-main", "tcp-info", "tls", "server", "client", "shaper", "agent"];
/// Entries of a crate's directory that do not change its programs.
const NOT_BUILT_IN: [&str; 4] = ["tests", "benches", "examples", "proptest-regressions"];

/// Fingerprint of a repository, with its inputs.
pub(crate) struct Fingerprint {
    /// 64-bit hash of the names and contents of all inputs.
    pub(crate) hash: u64,
    /// Hashed files, and directories with everything below them.
    pub(crate) inputs: Vec<PathBuf>,
}

/// Returns the fingerprint of the repository at `root`: the lock file, the workspace's manifest (with the profiles),
/// and each crate's manifest, build script, sources and embedded data.
///
/// It excludes compiler, environment variables and profile: they differ between an image and a host that build the same
/// sources.
///
/// # Errors
/// A file or directory cannot be read; the message names it.
pub(crate) fn of(root: &Path) -> io::Result<Fingerprint> {
    let mut inputs = vec![root.join("Cargo.lock"), root.join("Cargo.toml")];
    for name in CRATES {
        let built_in = entries(&root.join("crates").join(name))?.into_iter();
        inputs.extend(built_in.filter(|path| !NOT_BUILT_IN.iter().any(|name| path.ends_with(name))));
    }
    let mut files = Vec::new();
    inputs.iter().try_for_each(|input| collect(input, &mut files))?;
    files.sort();
    let mut hash = Fnv::default();
    for file in &files {
        hash.add(file.strip_prefix(root).unwrap_or(file).as_os_str().as_encoded_bytes());
        hash.add(&fs::read(file).map_err(|error| at(file, error))?);
    }
    Ok(Fingerprint { hash: hash.0, inputs })
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    entries(path)?.iter().try_for_each(|entry| collect(entry, files))
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(|error| at(directory, error))
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("reading {}: {error}", path.display()))
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo; RFC 9923): detects mistakes, not attacks.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        // The length distinguishes "ab", "c" from "a", "bc".
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
