#!/bin/sh
# The steps of the build stage, for compiled and prebuilt programs:
#
#   programs.sh dependencies compile|prebuilt       compiles dependencies, needs only manifests; its layer is the cache
#   programs.sh install      compile|prebuilt DIR   writes the programs of each image to DIR/TARGET
#   programs.sh list                                prints the names of all programs
#   programs.sh check-version VERSION               fails if the image labels would be wrong
#
# `compile` compiles here; `prebuilt` uses the output of docker/offline.sh in docker/offline/build/bin.
set -eu

# By image.
client="shop-client testbed-agent"
testbed="testbed"
server="shop-server shaper"
programs="$client $testbed $server"
prebuilt=docker/offline/build/bin

# Line tables and symbols serve profiling on a host; in an image they would be most of a program's size.
export CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols

compile() {
    binaries=""
    for program in $programs; do
        binaries="$binaries --bin $program"
    done
    # shellcheck disable=SC2086 # two words for each program
    cargo build --release --locked --workspace $binaries
}

# Cargo requires a source file for every manifest; with empty ones it compiles only the dependencies.
with_empty_sources() {
    for manifest in crates/*/Cargo.toml testbed/Cargo.toml; do
        source="$(dirname "$manifest")/src"
        mkdir -p "$source"
        echo > "$source/lib.rs"
        echo 'fn main() {}' > "$source/main.rs"
    done
    "$@"
    rm -r crates/*/src testbed/src
}

# COPY keeps the host's modification times, which may be older than the empty sources: cargo would rebuild nothing.
with_new_times() {
    find crates testbed -name '*.rs' -exec touch {} +
    "$@"
}

# `install_image FROM TO PROGRAM…`
install_image() {
    from=$1 to=$2
    shift 2
    for program in "$@"; do
        if [ ! -x "$from/$program" ]; then
            echo "programs.sh: $from/$program is missing: for prebuilt images run docker/offline.sh" >&2
            exit 1
        fi
        install -D "$from/$program" "$to/$program"
    done
}

install_from() {
    # shellcheck disable=SC2086 # one word for each program
    {
        install_image "$1" "$2/client" $client
        install_image "$1" "$2/testbed" $testbed
        install_image "$1" "$2/server" $server
    }
}

check_version() {
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    if [ "$version" != "$1" ]; then
        echo "programs.sh: docker/Dockerfile has VERSION=$1, Cargo.toml has $version: set both to the same version" >&2
        exit 1
    fi
}

case "$*" in
    list) echo "$programs" ;;
    "check-version "*) check_version "$2" ;;
    "dependencies prebuilt") ;;
    "dependencies compile")
        docker/install-ca.sh docker/extra-ca
        with_empty_sources compile
        ;;
    "install prebuilt "*) install_from "$prebuilt" "$3" ;;
    "install compile "*)
        with_new_times compile
        install_from target/release "$3"
        ;;
    *)
        echo "programs.sh: got '$*', expected 'dependencies compile|prebuilt', 'install compile|prebuilt DIR', 'list' or 'check-version VERSION'" >&2
        exit 2
        ;;
esac
