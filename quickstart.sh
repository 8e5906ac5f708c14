#!/usr/bin/env bash
# quickstart.sh [MODEL.gguf]: from a fresh machine to generated text. Each step is printed as the command a user
# would type; what is done already is skipped; a failure names its log and the command to repeat.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/llmir
if [ $# -gt 1 ] || [[ ${1:-} == -* ]]; then
    echo "usage: quickstart.sh [MODEL.gguf]" >&2
    exit 2
fi
model=$cache/smollm2-135m-instruct-q4_1.gguf
if [ $# -eq 1 ]; then
    [ -f "$1" ] || { echo "quickstart.sh: $1: no such file" >&2; exit 4; }
    model=$(realpath "$1") # before the folder is changed
fi
cd "$(dirname "$0")"
build=${BUILD_DIR:-build}
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

if [ $# -eq 0 ] && [ ! -s "$model" ]; then
    ./tools/fetch-model.sh "$model"
fi
from=$build/model.so.from # the model that model.so was made of
[ "$(cat "$from" 2>/dev/null)" = "$model" ] && [ model.so -nt "$model" ] && [ model.so -nt "$build/tools/llmir-build" ] || {
    echo "\$ $build/tools/llmir-build $model -o model.so"
    "$build/tools/llmir-build" "$model" -o model.so
    echo "$model" >"$from"
}
[ generate -nt examples/generate.c ] ||
    step "$cache/cc.log" cc -O2 -Iinclude examples/generate.c -o generate -L"$build/runtime" -lllmir "-Wl,-rpath,$PWD/$build/runtime"
echo "\$ ./generate model.so \"The capital of France is\""
./generate model.so "The capital of France is"
