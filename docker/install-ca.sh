#!/bin/sh
# Usage: install-ca.sh DIR : makes this image stage trust the *.crt files of DIR.
# Only stages that download run it; the finished images keep Debian's own CA certificates.
set -eu

found=0
for certificate in "$1"/*.crt; do
    [ -e "$certificate" ] || continue
    install -D --mode=644 "$certificate" -t /usr/local/share/ca-certificates/
    found=$((found + 1))
done

echo "extra CA certificates: $found"
if [ "$found" -eq 0 ]; then
    exit 0
fi
if ! command -v update-ca-certificates >/dev/null; then
    echo "install-ca.sh: this stage has no update-ca-certificates: install the package ca-certificates first" >&2
    exit 1
fi
update-ca-certificates
