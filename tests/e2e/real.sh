#!/bin/sh
# real.sh BUILD_DIR FIXTURES_DIR MODEL: a public model, built in float and with 8-bit activations, against its fixture.
# The GGUF is looked for in $LLMIR_MODELS, then where quickstart.sh puts it.
build=$1 fixtures=$2 model=$3
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
"$build/tests/e2e/compare" "$fixtures/$model.f32.json" "$dir/f32.so" "$fixtures/$model.quant.json" "$dir/int8.so"
