#!/bin/sh
# busy.sh LLMIR_BENCH MODULE.so [TOKENS]: decode speed on a quiet machine and with one core held by another process,
# in turn; the last line says which share of the quiet speed is kept.
bench=$1 module=$2 tokens=${3:-128}
[ -n "$module" ] || { sed -n '2,3p' "$0"; exit 2; }
once() {
    line=$("$bench" "$module" -p 0 -n "$tokens" -r 3 -o jsonl) || return 1
    echo "$line" | sed -n 's/.*"t\/s": \([0-9.]*\).*/\1/p'
}
quiet=0 busy=0
for round in 1 2 3; do
    q=$(once) || exit 1
    taskset -c 0 sh -c 'while :; do :; done' &
    holder=$!
    b=$(once)
    rc=$?
    kill $holder
    wait $holder 2>/dev/null
    [ $rc -eq 0 ] || exit 1
    echo "quiet $q t/s, one core held $b t/s"
    quiet="$quiet + $q" busy="$busy + $b"
done
awk "BEGIN { printf \"kept: %.0f %%\n\", 100 * ($busy) / ($quiet) }"
