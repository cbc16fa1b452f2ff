#!/bin/sh
# Install the Debian packages Millet needs, when some are missing. Root or passwordless sudo; else print the line to run.
set -eu

packages='gcc g++ libc6-dev make pkg-config libopenblas0 libarchive-dev libxxhash-dev libjansson-dev libutf8proc-dev
liblmdb-dev bats perl mandoc shellcheck unicode-cldr-core unicode-data'

command -v dpkg-query >/dev/null 2>&1 || exit 0 # not Debian: the compiler will say what is missing

missing=
for p in $packages; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0

run() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    echo "millet: missing packages; as root, run:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
echo "millet: installing$missing" >&2
run apt-get update -qq
# shellcheck disable=SC2086 # a list of words
run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
