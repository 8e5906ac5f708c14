#!/bin/sh
# ptxrun.sh PTXRUN: the command line, the kinds of arguments and the exit codes of ptxrun.
ptxrun=$(realpath "$1") || exit 1
dir=$(mktemp -d /tmp/llmir-ptxrun-XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
bad=0

cat >k.ptx <<'P'
.version 7.0
.target sm_75
.address_size 64
.visible .entry axpy(.param .u64 x, .param .u64 y, .param .u64 s, .param .align 4 .b8 ab[8], .param .u32 n, .param .u64 no)
{
    .reg .pred %p, %q; .reg .b32 %r<8>; .reg .b64 %d<10>; .reg .f32 %f<8>;
    ld.param.u64 %d1, [x]; ld.param.u64 %d2, [y]; ld.param.u64 %d3, [s]; ld.param.u64 %d7, [no];
    ld.param.f32 %f1, [ab]; ld.param.f32 %f2, [ab+4]; ld.param.u32 %r1, [n];
    mov.u32 %r2, %tid.x; setp.ge.u32 %p, %r2, %r1; @%p bra END;
    setp.ne.u64 %q, %d7, 0; @%q trap;
    mul.wide.u32 %d4, %r2, 4; add.s64 %d5, %d1, %d4; add.s64 %d6, %d2, %d4; add.s64 %d8, %d3, %d4;
    ld.global.f32 %f3, [%d5]; ld.global.f32 %f4, [%d6]; mul.f32 %f5, %f3, %f1; st.global.f32 [%d8], %f5;
    fma.rn.f32 %f6, %f4, %f2, %f5; st.global.f32 [%d6], %f6;
END:
    ret;
}
.visible .entry race(.param .u64 p)
{
    .reg .b32 %r<4>; .reg .b64 %d<2>; .shared .align 4 .b8 t[4];
    mov.u32 %r1, %tid.x; mov.u32 %r2, t; st.shared.u32 [%r2], %r1; bar.sync 0;
    ld.shared.u32 %r3, [%r2]; ld.param.u64 %d1, [p]; st.global.u32 [%d1], %r3; ret;
}
.visible .entry spin() { L: bra L; }
.visible .entry one(.param .f32 f) { ret; }
P

floats() { python3 -c "import struct,sys; sys.stdout.buffer.write(struct.pack('<%df' % (len(sys.argv)-1), *map(float, sys.argv[1:])))" "$@"; }
floats 1 2 3 4 >x; floats 10 20 30 40 >y; floats 2 0.5 >ab
expect() { # EXIT TEXT ARGUMENT...: the exit code, and a text that must be printed
    want=$1; text=$2; shift 2
    "$ptxrun" "$@" >out 2>err; rc=$?
    if [ $rc -ne "$want" ]; then echo "FAILED ($rc, want $want): $*"; cat out err; bad=1; fi
    if [ -n "$text" ] && ! grep -q -- "$text" out err; then echo "FAILED (no \"$text\"): $*"; cat out err; bad=1; fi
}
run="k.ptx --kernel axpy --grid 1 --block 32"
expect 0 "" $run in:x inout:y:y2 scratch:16 bytes:ab u32:4 null
floats 7 14 21 28 >want
cmp want y2 || bad=1
expect 0 "" $run in:x inout:y:y2 out:16:s2 bytes:ab u32:4 null
floats 2 4 6 8 >want
cmp want s2 || bad=1
expect 0 '"' $run --counters json in:x in:y scratch:16 bytes:ab u32:4 null
python3 -c "import json; json.load(open('out'))" || { echo "FAILED: counters are no JSON"; bad=1; }
expect 0 "" $run --counters text --seed 7 --checks race,uninit --mma-model hw in:x in:y scratch:16 bytes:ab u32:4 null
# something is found
expect 1 "out of bounds" $run in:x in:y scratch:16 bytes:ab u32:5 null
expect 1 "trap" $run in:x in:y scratch:16 bytes:ab u32:4 u64:1
expect 1 "ninitialised" $run out:16:o in:y scratch:16 bytes:ab u32:4 null
expect 1 "race" k.ptx --kernel race --grid 1 --block 64 out:4:o
expect 0 "" k.ptx --kernel race --grid 1 --block 64 --checks none out:4:o
expect 1 "" k.ptx --kernel spin --grid 1 --block 1 --max-steps 1000
# wrong use
expect 2 "usage" k.ptx --kernel axpy --grid 1
expect 2 "it has: axpy race" k.ptx --kernel nobody --grid 1 --block 1
expect 2 "6 arguments" $run in:x
expect 2 "has 4 bytes" $run in:x in:y scratch:16 bytes:ab u64:4 null
expect 2 "has 8 bytes" $run in:x in:y scratch:16 bytes:x u32:4 null
expect 2 "no number" $run in:x in:y scratch:16 bytes:ab u32:four null
expect 2 "unknown kind" $run in:x in:y scratch:16 bytes:ab u16:4 null
expect 2 "does not fit" $run --shared 4294967296
expect 4 "no-such-file" no-such-file.ptx --kernel axpy --grid 1 --block 32
expect 1 "no-such-folder" $run in:x inout:y:no-such-folder/y scratch:16 bytes:ab u32:4 null
[ ! -e /dev/full ] || { "$ptxrun" $run --counters text in:x in:y scratch:16 bytes:ab u32:4 null >/dev/full 2>err; [ $? -eq 6 ]; } || { echo "FAILED: full disk"; bad=1; }
expect 4 "no-such-file" $run in:no-such-file in:y scratch:16 bytes:ab u32:4 null
expect 2 "unknown option" $run --frobnicate 1
expect 2 "checks" $run --checks everything
expect 2 "checks" $run --checks ""
expect 2 "checks" $run --checks race,
expect 2 "--seed wants a number" $run --seed
expect 2 "a number" $run --seed x
expect 2 "grid wants" $run --grid 0
expect 2 "grid wants" $run --grid 1,2,3,4
expect 2 "can be sm_75" $run --sm 70
expect 2 "out:BYTES:OUT" $run in:x in:y out:16 bytes:ab u32:4 null
expect 2 "KIND:VALUE" $run in:x in:y x bytes:ab u32:4 null
expect 2 "does not fit" k.ptx --kernel one --grid 1 --block 1 f32:1e99
expect 0 "" k.ptx --kernel one --grid 1 --block 1 f32:inf
expect 1 "host pointer" $run in:x u64:0x7fff00001000 scratch:16 bytes:ab u32:4 null
expect 6 "are free" $run in:x in:y out:-1:o bytes:ab u32:4 null
expect 1 "irectory" $run in:x inout:y:/tmp scratch:16 bytes:ab u32:4 null
# a pipe (or a device) is written into, never replaced by a file
mkfifo pipe
timeout 20 cat pipe >got &
expect 0 "" $run in:x inout:y:pipe scratch:16 bytes:ab u32:4 null
wait $!
floats 7 14 21 28 >want
[ -p pipe ] && cmp want got || { echo "FAILED: a pipe as output"; bad=1; }
expect 2 "" $run --block 2000 in:x in:y scratch:16 bytes:ab u32:4 null
# PTX that is not accepted: every cut inside a kernel has a position
lines=$(wc -l <k.ptx)
for n in 4 6 9 14 15; do
    head -n $n k.ptx >cut.ptx
    expect 4 "cut.ptx:[0-9]*:[0-9]*: " cut.ptx --kernel axpy --grid 1 --block 1
done
sed 's/fma.rn.f32/fma.rn.wrong.f32/' k.ptx >wrong.ptx
expect 4 "wrong.ptx:13:[0-9]*: .*wrong" wrong.ptx --kernel axpy --grid 1 --block 1
sed 's/setp.ge.u32 %p/setp.ge.u32 %missing/' k.ptx >wrong.ptx
expect 4 "wrong.ptx:9:38: " wrong.ptx --kernel axpy --grid 1 --block 1
[ $bad -eq 0 ] && echo "ptxrun: all as documented ($lines lines of PTX)"
exit $bad
