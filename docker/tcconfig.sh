#!/bin/sh
# Usage: tcconfig.sh REQUIREMENTS ROOT : installs tcconfig below ROOT, with the layout of the server image.
set -eu

requirements=$1
root=$2
home=/opt/tcconfig

# Only pure-Python wheels with known hashes: the same files on every architecture, and nothing is compiled.
pip3 install --target "$root$home" --requirement "$requirements" \
    --require-hashes --no-deps --platform any --only-binary :all: \
    --cert /etc/ssl/certs/ca-certificates.crt --no-cache-dir --disable-pip-version-check

# With a .pth file Python finds packages outside its own directories, whatever the environment variables.
install -d "$root/usr/lib/python3/dist-packages" "$root/usr/local/bin"
echo "$home" > "$root/usr/lib/python3/dist-packages/tcconfig.pth"
for command in tcset tcdel tcshow; do
    mv "$root$home/bin/$command" "$root/usr/local/bin/"
done
rm -r "${root:?}$home/bin"
