#!/usr/bin/env bash
# build.sh: compiles the kernels of this folder to ptx/NAME.ARCH.ptx with nvcc. Needed only when a kernel
# changes: the PTX is kept, so that the tests run without nvcc.
set -euo pipefail
cd "$(dirname "$0")"
compile() { # NAME ARCH...
    local name=$1; shift
    for arch; do nvcc -ptx -O3 -std=c++17 -arch="compute_$arch" -o "ptx/$name.sm_$arch.ptx" "$name.cu"; done
}
for k in reduce scan transpose histogram sort softmax bits fp64 diverge call; do compile $k 75 90; done
compile warp 75 80
compile groups 75 90a
compile blocks 75 90
compile idioms 75 90
compile convert 75 80 89
compile wmma 75 86
compile gemm 80 90a
compile tensor_forms 80 89
compile mbarrier 80 90
compile hopper 90a
