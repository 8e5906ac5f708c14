#!/bin/sh
# real.sh BUILD_DIR FIXTURES_DIR MODEL [SM]: a public model, built in float and with 8-bit activations, against its
# fixture. With SM (sm_80): also as PTX, on the simulator with all checks on, a prompt and 4 tokens as the float code.
# The GGUF is looked for in $LLMIR_MODELS, then where quickstart.sh puts it.
build=$1 fixtures=$2 model=$3 sm=$4
for dir in "$LLMIR_MODELS" "${XDG_CACHE_HOME:-$HOME/.cache}/llmir"; do
    [ -n "$dir" ] && [ -f "$dir/$model.gguf" ] && gguf=$dir/$model.gguf && break
done
if [ -z "$gguf" ]; then
    echo "skipped: $model.gguf is neither in \$LLMIR_MODELS nor in ${XDG_CACHE_HOME:-$HOME/.cache}/llmir"
    exit 77
fi
dir=$(mktemp -d /tmp/llmir-e2e-XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT
for act in f32 int8; do
    "$build/tools/llmir-build" "$gguf" -o "$dir/$act.so" --activations $act --no-cache || exit 1
done
"$build/tests/e2e/compare" "$fixtures/$model.f32.json" "$dir/f32.so" "$fixtures/$model.quant.json" "$dir/int8.so" || exit 1

[ -n "$sm" ] || exit 0
"$build/tools/llmir-build" "$gguf" -o "$dir/ptx.so" --target "cuda:$sm" --kv-blocks 16 || exit 1
for so in f32 ptx; do
    set -- "$dir/$so.so" -p "The capital of France is" -n 4 --ignore-eos --kv f16
    [ $so = ptx ] && set -- "$@" --device "sim:$sm"
    LLMIR_PTXSIM_FATAL=1 "$build/tools/llmir-run" "$@" >"$dir/$so.txt" || exit 1
done
cmp "$dir/f32.txt" "$dir/ptx.txt" && echo "PTX for $sm on the simulator: same text as the float code:$(head -n 1 "$dir/ptx.txt")"
