#!/bin/sh
# run.sh FUZZER SEEDS RUNS [MAX_LEN]: a short run. New inputs go to a scratch folder, never to the seeds. Words for the
# mutations: SEEDS.dict, where there is one.
if [ "$1" = - ]; then
    echo "skipped: no clang with libFuzzer (clang-19, libclang-rt-19-dev)"
    exit 77
fi
dir=$(mktemp -d /tmp/llmir-fuzz-XXXXXX) || exit 1
dict=
[ ! -f "$2.dict" ] || dict=-dict=$2.dict
"$1" $dict -seed=1 -runs="$3" -max_len=${4:-4096} -timeout=5 -rss_limit_mb=512 -malloc_limit_mb=256 -print_final_stats=1 \
    -artifact_prefix="$dir/crash-" "$dir" "$2" >"$dir/log" 2>&1
rc=$?
if [ $rc -ne 0 ]; then
    tail -n 60 "$dir/log"
    echo "the input and the log are in $dir"
    exit 1
fi
grep -E 'number_of_executed_units|peak_rss' "$dir/log"
rm -rf "$dir"
