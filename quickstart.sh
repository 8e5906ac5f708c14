#!/usr/bin/env bash
# quickstart.sh [MODEL.gguf]: from a fresh machine to generated text. Each step is printed as the command a user
# would type; what is done already is skipped; a failure names its log and the command to repeat.
set -euo pipefail
from=$PWD
cd "$(dirname "$0")"
build=${BUILD_DIR:-build}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/llmir
case ${1-} in
    -h | --help)
        sed -n '2,3s/^# //p' quickstart.sh
        exit 0 ;;
    -*)
        echo "quickstart.sh: $1: there is no such option; usage: ./quickstart.sh [MODEL.gguf]" >&2
        exit 2 ;;
esac
[ $# -le 1 ] || { echo "quickstart.sh: takes one model, $# were given; usage: ./quickstart.sh [MODEL.gguf]" >&2; exit 2; }
model=${1:-$cache/smollm2-135m-instruct-q4_1.gguf}
case $model in /*) ;; *) model=$from/$model ;; esac
if [ $# -gt 0 ] && { [ ! -f "$model" ] || [ ! -r "$model" ]; }; then
    echo "quickstart.sh: $model: no such file, or no file that can be read" >&2
    exit 4
fi
mkdir -p "$cache"

step() { # step LOG COMMAND...: prints the command, runs it quietly
    local log=$1
    shift
    echo "\$ $*"
    "$@" >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        echo "quickstart.sh: failed; the whole log is $log; repeat with: $*" >&2
        exit 1
    }
}

./tools/install-deps.sh build
[ -f "$build/build.ninja" ] || step "$cache/setup.log" meson setup "$build"
step "$cache/ninja.log" ninja -C "$build" tools/llmir-build tools/llmir-run runtime/libllmir.so.0.1.0

[ -s "$model" ] || ./tools/fetch-model.sh "$model"
# model.so.of: which file model.so was made of. An older file under another name is another model.
of="$(stat -c '%n %s %Y' "$model")"
[ model.so -nt "$build/tools/llmir-build" ] && [ "$(cat model.so.of 2>/dev/null)" = "$of" ] || {
    echo "\$ $build/tools/llmir-build $model -o model.so"
    rm -f model.so.of
    "$build/tools/llmir-build" "$model" -o model.so
    echo "$of" >model.so.of
}
[ generate -nt examples/generate.c ] ||
    step "$cache/cc.log" cc -O2 -Iinclude examples/generate.c -o generate -L"$build/runtime" -lllmir "-Wl,-rpath,$PWD/$build/runtime"
echo "\$ ./generate model.so \"The capital of France is\""
./generate model.so "The capital of France is"
