"""Arrows point one way: which folder may include which.

includes.py SOURCE_ROOT
"""
import os, re, sys

may = {
    "base": "", "target": "base", "te": "base", "model": "base te", "schedule": "base target te",
    "codegen": "base target te schedule", "tuning_db": "base target",
    "compile": "base target te model schedule codegen tuning_db",
    "runtime": "base target tuning_db", "ptxsim": "base target",
    "autotune": "base target te schedule codegen compile tuning_db runtime",
}
only = {"llvm-c/": "codegen", "sqlite3.h": "tuning_db"}  # system headers of one folder
free = ("tools", "examples", "bench", "tests")

root, bad, files = sys.argv[1], [], 0
for folder in [*may, *free, "include"]:
    for where, _, names in os.walk(os.path.join(root, folder)):
        for name in names:
            if not name.endswith((".c", ".h", ".def")):
                continue
            path, files = os.path.join(where, name), files + 1
            for no, line in enumerate(open(path, errors="replace"), 1):
                m = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
                if not m:
                    continue
                place = f"{os.path.relpath(path, root)}:{no}"
                for header, owner in only.items():
                    if (m[1] or m[2]).startswith(header) and folder not in (owner, *free):
                        bad.append(f"{place}: {header} belongs to {owner}/")
                if not m[1] or folder in free:
                    continue
                top = m[1].split("/")[0]
                if folder == "include" or (top != folder and top not in may[folder].split()):
                    bad.append(f"{place}: {folder}/ may not include {m[1]}")

print("\n".join(bad) or f"{files} files keep to the table")
sys.exit(bool(bad) or files < 50)
