//! Golden files: recorded output that later versions of the code must reproduce exactly.

use std::path::Path;

/// Asserts that `actual` is the content of the golden file at `path`. If the environment variable `TESTBED_UPDATE_GOLDEN`
/// is set, writes the file instead.
///
/// # Panics
/// The contents differ, or the file cannot be read or written.
pub fn assert_golden(path: impl AsRef<Path>, actual: &str) {
    let path = path.as_ref();
    if std::env::var_os("TESTBED_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, actual).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        return;
    }
    let expected =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "{}, line {}", path.display(), number + 1);
    }
    assert_eq!(actual.len(), expected.len(), "length of {}", path.display());
}
