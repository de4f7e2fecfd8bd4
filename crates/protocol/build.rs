//! Passes a fingerprint of the sources to the compiler, so that the driver can check whether an image contains programs
//! of its own build.

#[path = "build/fingerprint.rs"]
mod fingerprint;

use std::path::Path;

fn main() {
    // Read at run time: the script may have been compiled for another copy of the sources.
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|error| panic!("cargo's {name}: {error}"));
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    let fingerprint = fingerprint::of(&root).unwrap_or_else(|error| panic!("fingerprint of the sources: {error}"));
    for input in fingerprint.inputs {
        println!("cargo:rerun-if-changed={}", input.display());
    }
    println!("cargo:rustc-env=TESTBED_BUILD={:016x}", fingerprint.hash);
    println!("cargo:rustc-env=TESTBED_OPT_LEVEL={}", variable("OPT_LEVEL"));
}
