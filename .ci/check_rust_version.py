"""Checks that no dependency declares a newer Rust than `rust-version` in Cargo.toml: python3 check_rust_version.py.

Nothing is compiled with that version. Clippy's lint incompatible_msrv checks which functions of the standard library the
workspace uses; this script checks what dependencies declare. Neither detects newer syntax.
"""

import json
import subprocess
import sys


def version(text):
    return tuple(int(part) for part in (text.split(".") + ["0", "0"])[:3])


def main():
    platform = "x86_64-unknown-linux-gnu"
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", platform]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    packages = [package for package in metadata["packages"] if package["id"] in used and package["rust_version"]]
    ours = {p["rust_version"] for p in packages if p["id"] in metadata["workspace_members"]}
    if len(ours) != 1:
        sys.exit(f"check_rust_version.py: expected one rust-version in the workspace, got {sorted(ours)}")
    declared = ours.pop()
    newer = [p for p in packages if version(p["rust_version"]) > version(declared)]
    if newer:
        needs = ", ".join(f"{p['name']} {p['version']} needs {p['rust_version']}" for p in newer)
        sys.exit(f"check_rust_version.py: Cargo.toml declares Rust {declared}, but {needs}: raise rust-version")
    print(f"no dependency declares a newer Rust than {declared}")


main()
