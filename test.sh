#!/usr/bin/env bash
# test.sh [MESON TEST ARGUMENTS...]: installs what the tests need, builds, runs every test.
# The last line is `N passed, N failed, N skipped`; the exit code is 0 only when nothing failed.
set -euo pipefail
cd "$(dirname "$0")"
case ${1-} in
    -h | --help)
        sed -n '2,3s/^# //p' test.sh
        exit 0 ;;
esac
build=${BUILD_DIR:-build}
./tools/install-deps.sh test
[ -f "$build/build.ninja" ] || meson setup "$build" >"/tmp/llmir-setup-$$.log" 2>&1 || { tail -n 30 "/tmp/llmir-setup-$$.log"; echo "test.sh: meson setup failed"; exit 1; }
if ! ninja -C "$build" >"$build/build.log" 2>&1; then
    grep -E 'error|FAILED|warning' "$build/build.log" | head -n 40
    echo "test.sh: the build failed; the whole log is in $build/build.log"
    exit 1
fi
# one public model for the end-to-end tests; without it they skip, and say so
cache=${XDG_CACHE_HOME:-$HOME/.cache}/llmir
mkdir -p "$cache"
export LLMIR_MODELS=${LLMIR_MODELS:-$cache}
[ -s "$cache/smollm2-135m-instruct-q4_1.gguf" ] || ./tools/fetch-model.sh "$cache/smollm2-135m-instruct-q4_1.gguf" || true
rc=0
rm -f "$build/meson-logs/testlog.json"
meson test -C "$build" --no-rebuild --print-errorlogs "$@" || rc=$?
[ -f "$build/meson-logs/testlog.json" ] || { echo "test.sh: no test ran; the arguments go to meson test, see: meson test --help"; exit 2; }
python3 - "$build/meson-logs/testlog.json" <<'P' || rc=1
import json, sys
ok = bad = skip = 0
slow = []
for line in open(sys.argv[1]):
    t = json.loads(line)
    r = t["result"]
    slow.append((t["duration"], t["name"]))
    if r in ("OK", "EXPECTEDFAIL"): ok += 1
    elif r == "SKIP":
        skip += 1
        print("skipped:", t["name"], "-", *(t.get("stdout") or t.get("stderr") or "").strip().splitlines()[-1:])
    else: bad += 1
slow.sort(reverse=True)
print("slowest:", ", ".join(f"{n} {d:.1f} s" for d, n in slow[:5]))
print(f"{ok} passed, {bad} failed, {skip} skipped")
sys.exit(1 if bad else 0)
P
exit $rc
