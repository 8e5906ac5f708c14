#!/usr/bin/env bash
# run.sh BUILD_DIR: the tests of GPUs, on a GPU. Exit 77, with the reason in the last line, without one.
# The same programs run on the simulator in the other suites: what differs here is a finding.
#   LLMIR_GPU=cuda:1       the device (cuda:0)
#   LLMIR_MODELS=DIR       GGUF files; each is built for the GPU and generates
set -uo pipefail
build=${1:?usage: run.sh BUILD_DIR}
root=$(cd "$(dirname "$0")/../.." && pwd)
device=${LLMIR_GPU:-cuda:0}
found=$("$build/tools/llmir-info" --json | python3 -c '
import json, sys
for d in json.load(sys.stdin)["devices"]:
    if d["device"] == sys.argv[1] and not d["simulator"]:
        print("sm", d["compute_capability"], d["name"])
    elif d["device"].startswith("cuda"):
        print("no", "a simulator stands for the driver" if d["simulator"] and "missing" not in d else d.get("missing", d["device"] + " only"))
' "$device")
if ! sm=$(grep -m1 '^sm ' <<<"$found"); then
    echo "SKIPPED: no GPU $device: $(sed -n 's/^no //p' <<<"$found" | head -n 1)"
    exit 77
fi
read -r _ cc name <<<"$sm"
echo "$device: $name, sm_$cc"
failed=0
try() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then echo "ok      $what"
    else failed=$((failed + 1)); echo "FAILED  $what (exit $?)"; tail -n 20 "$tmp/log"; fi
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# the engine, on kernels made by hand
kernels=$build/tests/unit/runtime/fake_kernels.o ptx=$root/tests/unit/runtime/fake_cuda.ptx
try "engine" "$build/tests/unit/runtime/test_engine" "$kernels" "$device" "$ptx"
try "no memory" "$build/tests/unit/runtime/test_no_memory_rt" "$kernels" "$device" "$ptx"

# models: text and speed
n_model=0
for gguf in "${LLMIR_MODELS:-/nonexistent}"/*.gguf; do
    [ -f "$gguf" ] || continue
    n_model=$((n_model + 1))
    model=$(basename "$gguf" .gguf)
    "$build/tools/llmir-build" "$gguf" -o "$tmp/m.so" --target "cuda:sm_$cc" >"$tmp/log" 2>&1
    rc=$?
    if [ $rc = 3 ]; then echo "skipped $model: $(tail -n 1 "$tmp/log")"; continue; fi
    if [ $rc != 0 ]; then failed=$((failed + 1)); echo "FAILED  $model: build, exit $rc"; tail -n 20 "$tmp/log"; continue; fi
    try "$model generates" "$build/tools/llmir-run" "$tmp/m.so" --device "$device" -p "Once upon a time" -n 32
    "$build/tools/llmir-bench" "$tmp/m.so" --device "$device" || failed=$((failed + 1))
done
[ $n_model != 0 ] || echo "skipped models: LLMIR_MODELS names no folder of GGUF files"
echo "$failed failed"
[ $failed = 0 ]
