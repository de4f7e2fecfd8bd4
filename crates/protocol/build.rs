//! Gives the programs a fingerprint of the sources they were built from, so that the driver can tell whether an image
//! holds the same programs as it does.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates that run in nodes.
const CRATES: [&str; 6] = ["protocol", "tcp-info", "server", "client", "shaper", "agent"];

fn main() {
    // Asked for when run: the script may have been compiled for another copy of the sources.
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    let crates = Path::new(&manifest_dir).join("..");
    let mut files = Vec::new();
    for name in CRATES {
        let sources = crates.join(name).join("src");
        println!("cargo:rerun-if-changed={}", sources.display());
        collect(&sources, &mut files);
    }
    files.sort();
    let mut hash = Fnv::default();
    for file in files {
        hash.add(file.strip_prefix(&crates).unwrap_or(&file).to_string_lossy().as_bytes());
        hash.add(&fs::read(&file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display())));
    }
    println!("cargo:rustc-env=TESTBED_SOURCES={:016x}", hash.0);
}

/// All files below a folder; a crate that is not there (an image's dependency layer) has none.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo; RFC 9923): not against malice, only against mistake.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
