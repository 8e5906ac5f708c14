"""The C blocks of a page compile without warnings; those with a main run on the fake model.

test_docs.py CC INCLUDE LIBLLMIR.so FAKE.so PAGE.md...

CC carries -fsanitize=... where the library was built with it: a sanitizer's own library has to be loaded first.
"""
import os, re, subprocess, sys, tempfile

cc, include, lib, fake = sys.argv[1:5]
bad = n = 0
for page in sys.argv[5:]:
    for i, code in enumerate(re.findall(r"^```c\n(.*?)^```", open(page).read(), re.S | re.M)):
        n += 1
        with tempfile.TemporaryDirectory() as d:
            src, exe = os.path.join(d, "a.c"), os.path.join(d, "a")
            open(src, "w").write(code)
            runs = "int main(" in code
            how = ["-o", exe, lib, "-Wl,-rpath," + os.path.dirname(os.path.abspath(lib))] if runs else ["-c", "-o", exe]
            cmd = [*cc.split(), "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I" + include, src, *how]
            r = subprocess.run(cmd, capture_output=True, text=True)
            if r.returncode == 0 and runs:
                r = subprocess.run([exe, fake], capture_output=True, text=True, errors="replace", timeout=30)
                if r.returncode == 0 and not r.stdout:
                    r.returncode, r.stderr = 1, "printed nothing"
            if r.returncode:
                bad += 1
                print(f"{page} block {i}: {r.stderr}")
print(f"{n} blocks, {bad} bad")
sys.exit(bad > 0 or n == 0)
