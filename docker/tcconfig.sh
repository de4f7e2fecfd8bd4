#!/bin/sh
# Usage: tcconfig.sh REQUIREMENTS ROOT : lays out tcconfig below ROOT as it shall be in the server image.
set -eu

requirements=$1
root=$2
home=/opt/tcconfig

# Pure-Python wheels with known hashes only: the same files on every processor, and nothing is compiled.
pip3 install --target "$root$home" --requirement "$requirements" \
    --require-hashes --no-deps --platform any --only-binary :all: \
    --cert /etc/ssl/certs/ca-certificates.crt --no-cache-dir --disable-pip-version-check

# A .pth file is how Python finds packages outside its own directories, whatever the environment.
install -d "$root/usr/lib/python3/dist-packages" "$root/usr/local/bin"
echo "$home" > "$root/usr/lib/python3/dist-packages/tcconfig.pth"
for command in tcset tcdel tcshow; do
    mv "$root$home/bin/$command" "$root/usr/local/bin/"
done
rm -r "${root:?}$home/bin"
