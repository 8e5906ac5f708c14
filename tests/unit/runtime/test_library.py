"""What libllmir.so asks of a system and shows to a host.

test_library.py LIBLLMIR.so LLMIR.h: needed libraries, exported symbols (versioned, exactly those of the
header), and no call that ends the host or prints. In a build with sanitizers the compiler adds its own
library to those needed; nothing else changes.
"""
import re, subprocess, sys

so, header = sys.argv[1:3]
out = lambda *a: subprocess.run(a, capture_output=True, text=True, check=True).stdout
bad = []

needed = set(re.findall(r"\(NEEDED\).*\[(.*?)\]", out("readelf", "-d", so)))
allowed = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libsqlite3.so.0", "libpcre2-8.so.0", "libutf8proc.so.2", "libutf8proc.so.3",
           "ld-linux-x86-64.so.2"}
sanitizers = {n for n in needed if re.match(r"lib(asan|ubsan|tsan|lsan|clang_rt\.)", n)}
if needed - allowed - sanitizers:
    bad.append(f"needs {sorted(needed - allowed - sanitizers)}")

declared = set(re.findall(r"LLMIR_API [^;]*?\b(llmir_\w+)\(", open(header).read()))
exported = {l.split()[-1] for l in out("nm", "-D", "--defined-only", so).splitlines()}
names = {e.split("@@")[0] for e in exported if e.endswith("@@LLMIR_1")}
if names != declared:
    bad.append(f"exported but not declared: {sorted(names - declared)}; declared but not exported: {sorted(declared - names)}")
if others := {e for e in exported if "@@" not in e and e != "LLMIR_1"}:
    bad.append(f"exported without a version: {sorted(others)}")

forbidden = re.compile(r"^(abort|exit|_exit|quick_exit|__assert_fail|raise|kill|printf|puts|putchar|fprintf|vfprintf|vprintf|fputs|fwrite|perror|"
                       r"__printf_chk|__fprintf_chk|signal|sigaction|setlocale|atexit|system|popen|fork|stdout|stderr)$")
undefined = {l.split()[-1].split("@")[0] for l in out("nm", "-D", "-u", so).splitlines()}
if calls := sorted(u for u in undefined if forbidden.match(u)):
    bad.append(f"can end the host or print: {calls}")

print("\n".join(bad) or f"{len(names)} functions, needs {sorted(needed)}")
sys.exit(bool(bad))
