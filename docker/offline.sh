#!/usr/bin/env bash
# Builds the images of docker/Dockerfile on a host that cannot pull images: the base from Debian packages,
# the programs by cargo on this host. Tags and contents equal those of `docker compose build`.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: docker/offline.sh [--refresh] [--help]

Builds testbed-shop-client:latest, testbed:latest and testbed-shop-server:latest without pulling an image.
Needs: Docker Engine, Rust with a C compiler, and root or sudo for debootstrap (first time only).

  --refresh   rebuild the base image even if it exists

Environment:
  TESTBED_SUITE             Debian suite of the base image. Default: this host's if it is Debian, else bookworm.
                            Its C library must be at least as new as this host's, which compiles the programs
  TESTBED_MIRROR            Debian mirror. Default: http://deb.debian.org/debian
  TESTBED_SECURITY_MIRROR   mirror of security updates; empty for none.
                            Default: http://deb.debian.org/debian-security
  CARGO_TARGET_DIR          cargo's target directory, as usual

Copies CA certificates that were added to this host to docker/extra-ca, for the stages that download.
TEXT
}

log() { echo "offline.sh: $*"; }
die() { echo "offline.sh: $*" >&2; exit 1; }

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
read -ra programs < <("$repository/docker/programs.sh" list)
refresh=no
scratch=$(mktemp -d)

# shellcheck disable=SC1091 # a file of the host
host_release() { (. /etc/os-release 2>/dev/null; echo "${!1:-}"); }

default_suite() {
    if [ "$(host_release ID)" = debian ] && [ -n "$(host_release VERSION_CODENAME)" ]; then
        host_release VERSION_CODENAME
    else
        echo bookworm
    fi
}

suite=${TESTBED_SUITE:-$(default_suite)}
mirror=${TESTBED_MIRROR:-http://deb.debian.org/debian}
security_mirror=${TESTBED_SECURITY_MIRROR-http://deb.debian.org/debian-security}
base_image=testbed-base:$suite

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "'$1' needs root, and sudo is not installed: run this script as root once to create $base_image"
    fi
}

base_pid= # process that creates the base image
clean_up() {
    # It uses the directory that is removed below.
    [ -z "$base_pid" ] || wait "$base_pid" || true
    if [ -d "$scratch/root" ]; then
        # An interrupted debootstrap leaves these mounted; rm must not descend into them.
        as_root umount "$scratch/root/proc" "$scratch/root/sys" 2>/dev/null || true
        as_root rm -rf --one-file-system "$scratch/root"
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT

check_tools() {
    command -v docker >/dev/null || die "'docker' is not installed: install Docker (Debian: apt-get install docker.io)"
    docker version --format '{{.Server.Version}}' >/dev/null ||
        die "cannot reach the Docker daemon: is it running, and is this user in the group 'docker'?"
    command -v cargo >/dev/null || die "'cargo' is not installed: install Rust from https://rustup.rs"
    command -v strip >/dev/null || die "'strip' is not installed: install binutils (part of a C compiler's packages)"
}

ensure_debootstrap() {
    # /usr/sbin is not on every user's PATH.
    PATH=$PATH:/usr/sbin
    command -v debootstrap >/dev/null && return
    case " $(host_release ID) $(host_release ID_LIKE) " in
        *" debian "*) ;;
        *) die "'debootstrap' is not installed: install it with this system's package manager" ;;
    esac
    log "installing debootstrap"
    as_root apt-get update -qq
    as_root apt-get install -qq --yes --no-install-recommends debootstrap debian-archive-keyring
}

# Removes what debian:*-slim removes: package lists, documents (except licences), translations. As in that image,
# packages installed later omit the same files, and dpkg does not sync to disk.
slim() {
    local root=$1
    as_root find "$root/usr/share/doc" -mindepth 1 -not -type d -not -name copyright -delete
    as_root find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
    as_root find "$root"/usr/share/{man,info,locale,lintian} "$root"/var/cache/apt "$root"/var/lib/apt/lists \
        "$root"/var/log "$root"/dev -mindepth 1 -not -type d -delete
    as_root tee "$root/etc/dpkg/dpkg.cfg.d/slim" >/dev/null <<'TEXT'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/lintian/*
force-unsafe-io
TEXT
}

sources() {
    echo "deb $mirror $suite main"
    case $suite in sid | unstable | testing) return ;; esac
    echo "deb $mirror $suite-updates main"
    [ -z "$security_mirror" ] || echo "deb $security_mirror $suite-security main"
}

has_base() { [ "$refresh" = no ] && docker image inspect "$base_image" >/dev/null 2>&1; }

# Creates the base image, and on it the stage with everything in the server's image except programs.
build_base() {
    has_base || bootstrap
    build_stage tcconfig
}

bootstrap() {
    log "creating $base_image from $mirror (about half a minute)"
    as_root debootstrap --variant=minbase "$suite" "$scratch/root" "$mirror" >"$scratch/log" ||
        { tail -n 20 "$scratch/log" >&2; die "debootstrap failed for suite '$suite' from $mirror: is the mirror right (TESTBED_MIRROR)?"; }
    sources | as_root tee "$scratch/root/etc/apt/sources.list" >/dev/null
    slim "$scratch/root"
    as_root tar -C "$scratch/root" --numeric-owner -c . |
        docker import --change 'CMD ["bash"]' --message "debootstrap $suite" - "$base_image" >/dev/null
}

# Copies a file if it changed: `update FROM TO MODE`.
update() {
    cmp --silent "$1" "$2" || install -D --mode="$3" "$1" "$2"
}

compile_programs() {
    local options=() program
    for program in "${programs[@]}"; do options+=(--bin "$program"); done
    cd "$repository"
    cargo build --release --locked --workspace "${options[@]}"
}

# Writes them to where the Dockerfile copies them from.
strip_programs() {
    local program target
    target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    for program in "${programs[@]}"; do
        strip --strip-all -o "$scratch/$program" "$target/release/$program"
        update "$scratch/$program" "docker/offline/build/bin/$program" 755
    done
}

copy_host_cas() {
    local certificate
    for certificate in /usr/local/share/ca-certificates/*.crt /etc/pki/ca-trust/source/anchors/*.crt; do
        [ -e "$certificate" ] || continue
        update "$certificate" "$repository/docker/extra-ca/host-$(basename "$certificate")" 644
    done
}

# Builds the Dockerfile up to a stage: `build_stage TARGET [OPTION...]`.
build_stage() {
    # The daemon's own builder has the name of its context; other builders cannot access the daemon's local images.
    BUILDX_BUILDER=$(docker context show 2>/dev/null || echo default) \
        docker build --quiet --file "$repository/docker/Dockerfile" --target "$@" \
        --build-arg BUILD_IMAGE="$base_image" --build-arg BASE_IMAGE="$base_image" \
        --build-arg PROGRAMS=prebuilt "$repository" >/dev/null
}

build_image() {
    local target=$1 tag=$2:latest
    log "building $tag"
    build_stage "$target" --tag "$tag"
    docker run --rm --network none "$tag" --version >/dev/null ||
        die "$tag: its program fails with --version: is this host's C library newer than that of Debian $suite? Set TESTBED_SUITE to a newer suite"
}

for argument in "$@"; do
    case $argument in
        --refresh) refresh=yes ;;
        -h | --help) usage; exit ;;
        *) usage >&2; echo >&2; echo "offline.sh: unknown argument '$argument'" >&2; exit 2 ;;
    esac
done

check_tools
copy_host_cas
# In the foreground, so that sudo can prompt for a password.
has_base || { ensure_debootstrap; as_root true; }
# In parallel with the compiler: it mostly waits for network and disk.
build_base &
base_pid=$!
compile_programs
wait "$base_pid" || { base_pid=; die "creating the base image failed: see the output above"; }
base_pid=
strip_programs
build_image client testbed-shop-client
build_image testbed testbed
build_image server testbed-shop-server
docker images --format 'table {{.Repository}}:{{.Tag}}\t{{.Size}}' | grep -E '^(REPOSITORY|testbed[:-])'
