#!/usr/bin/env bash
# install-deps.sh [build|test]: the Debian 12 packages that building (and testing) needs. Prints the command
# a user would type; does nothing when all are there.
set -euo pipefail
build="gcc meson ninja-build pkg-config binutils llvm-19-dev libjansson-dev libpcre2-dev libutf8proc-dev libsqlite3-dev libxxhash-dev python3"
test="$build libcmocka-dev clang-19 libclang-rt-19-dev python3-pip"
case ${1:-build} in
build) want=$build ;;
test) want=$test ;;
*)
    echo "usage: install-deps.sh [build|test]" >&2
    exit 2
    ;;
esac
missing=""
for p in $want; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
done
# python3 and pip may come from elsewhere than Debian's packages
command -v python3 >/dev/null && missing=${missing/ python3 / } && missing=${missing% python3}
python3 -m pip --version >/dev/null 2>&1 && missing=${missing/ python3-pip/}
[ -z "${missing// /}" ] && exit 0
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
echo "\$ $sudo apt-get install -y$missing" >&2
log=$(mktemp /tmp/llmir-apt-XXXXXX.log)
{ $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $missing; } >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    echo "install-deps.sh: apt-get failed; the log is $log; repeat with: $sudo apt-get install -y$missing" >&2
    exit 1
}
