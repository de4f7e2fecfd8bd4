//! Inputs of the programs' fingerprint, in a small repository and in this one.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

#[path = "../build/fingerprint.rs"]
mod fingerprint;

use std::fs;
use std::path::{Path, PathBuf};

use fingerprint::of;

/// Creates a repository with the crates that run in nodes, and one that does not.
fn repository() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in fingerprint::CRATES.into_iter().chain(["analysis"]) {
        for file in ["Cargo.toml", "src/lib.rs", "tests/a.rs", "benches/a.rs", "examples/a.rs"] {
            write(&root.path().join("crates").join(name).join(file), "before");
        }
    }
    for file in
        ["Cargo.lock", "Cargo.toml", "README.md", "crates/server/data/catalogue.json", "crates/protocol/build.rs"]
    {
        write(&root.path().join(file), "before");
    }
    root
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Returns whether the fingerprint changes if this file is changed or added.
fn is_covered(file: &str) -> bool {
    let root = repository();
    let before = of(root.path()).unwrap().hash;
    write(&root.path().join(file), "after");
    of(root.path()).unwrap().hash != before
}

#[test]
fn lock_file_manifests_build_script_sources_and_embedded_data_are_covered() {
    let covered = [
        "Cargo.lock",
        "Cargo.toml",
        "crates/protocol/build.rs",
        "crates/shaper/Cargo.toml",
        "crates/agent/src/lib.rs",
        "crates/client/src/new/module.rs",
        "crates/server/data/catalogue.json",
        "crates/server/templates/new.txt",
    ];
    for file in covered {
        assert!(is_covered(file), "{file}");
    }
}

#[test]
fn files_that_no_program_in_a_node_is_built_from_are_not_covered() {
    for file in ["README.md", "crates/server/tests/a.rs", "crates/shaper/benches/a.rs", "crates/analysis/src/lib.rs"] {
        assert!(!is_covered(file), "{file}");
    }
}

#[test]
fn a_moved_file_changes_the_fingerprint_and_a_copy_of_the_repository_does_not() {
    let [root, copy] = [repository(), repository()];
    let before = of(root.path()).unwrap().hash;
    assert_eq!(of(copy.path()).unwrap().hash, before);
    let source = copy.path().join("crates/client/src");
    fs::rename(source.join("lib.rs"), source.join("main.rs")).unwrap();
    assert_ne!(of(copy.path()).unwrap().hash, before);
}

#[test]
fn a_missing_crate_is_an_error_that_names_it() {
    let root = repository();
    fs::remove_dir_all(root.path().join("crates/shaper")).unwrap();
    let error = of(root.path()).err().unwrap().to_string();
    assert!(error.contains("crates/shaper"), "{error}");
}

#[test]
fn the_version_has_this_repositorys_fingerprint() {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let expected = format!("(build {:016x}, opt-level ", of(&root).unwrap().hash);
    assert!(protocol::VERSION.contains(&expected), "{}: expected {expected}…)", protocol::VERSION);
}

#[test]
fn every_input_that_cargo_watches_exists() {
    // Cargo runs the build script every time if an input does not exist.
    let root = repository();
    let inputs = of(root.path()).unwrap().inputs;
    assert!(inputs.iter().all(|input| input.exists()), "{inputs:?}");
    assert!(inputs.contains(&root.path().join("crates/server/data")), "{inputs:?}");
}

#[test]
fn the_optimisation_level_does_not_distinguish_builds() {
    let (build, _) = protocol::VERSION.rsplit_once(' ').unwrap();
    for level in ["0", "3", "s"] {
        assert!(protocol::is_same_build(&format!("{build} {level})")), "{level}");
    }
    let other = protocol::VERSION.replace("(build ", "(build f");
    for version in [&other, "0.1.0", ""] {
        assert!(!protocol::is_same_build(version), "{version}");
    }
}
