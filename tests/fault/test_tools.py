"""The command-line tools as someone meets them who does everything wrong.

test_tools.py TOOLS_DIR FAKE.so MODEL.gguf PTX SOURCE_ROOT [SANITIZED]

Every case: the right exit code, one sentence on stderr that names what is wrong, nothing on stdout, no file left
behind, no signal, and no more address space than the limit (not under a sanitizer, whose shadow is larger). GGUF files
are MODEL.gguf taken apart and put together wrongly (families G1 to G7 of the tests of the reader), modules are FAKE.so
cut and flipped.
"""
import glob, os, random, resource, shutil, signal, struct, subprocess, sys, tempfile

tools, fake, gguf, ptx, root = sys.argv[1:6]
sanitized = len(sys.argv) > 6 and sys.argv[6] != "none"
failures = runs = 0
LIMIT = 1 << 30


def check(what, ok, shown=""):
    global failures
    if not ok:
        failures += 1
        print(f"FAILED: {what}: {shown}")


def limits(file_size, memory):
    def set():
        if not sanitized and memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return set


def run(tool, *args, stdin="", file_size=None, memory=LIMIT, **kw):
    global runs
    runs += 1
    kw.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([os.path.join(tools, tool), *map(str, args)], input=stdin, stderr=subprocess.PIPE, text=True, errors="replace", timeout=120,
                          preexec_fn=limits(file_size, memory), **kw)


def refused(what, r, code, *words, usage=False):
    """One sentence (wrong use may add the line that points at --help)."""
    lines = r.stderr.strip().splitlines()
    ok = r.returncode in (code if isinstance(code, tuple) else (code,)) and lines and all(w in r.stderr for w in words) and not r.stdout
    check(what, ok and len(lines) <= (2 if usage else 1), (r.returncode, r.stderr, r.stdout))


dir = tempfile.mkdtemp(prefix="llmir-tools-")
path = lambda name: os.path.join(dir, name)


def put(name, data):
    with open(path(name), "wb") as f:
        f.write(data)
    return path(name)


good_so, good_gguf = open(fake, "rb").read(), open(gguf, "rb").read()
empty, folder = put("empty", b""), path("folder")
os.mkdir(folder)
os.mkfifo(path("fifo"))
unreadable = put("unreadable", good_so)
os.chmod(unreadable, 0)
root_user = os.access(unreadable, os.R_OK)  # root reads everything
text = put("text", b"Once upon a time there was a text file that was long enough for a header.\n" * 9)

# ---- flags and numbers ----
FIRST = {"llmir-run": [fake, "-p", "a"], "llmir-bench": [fake], "llmir-info": [], "llmir-build": [gguf, "-o", path("never.so")],
         "ptxrun": [ptx, "--kernel", "k", "--grid", "1", "--block", "1"]}
VALUES = {"llmir-run": ["-n", "-c", "-t", "--kv", "--kv-block", "--temp", "--top-k", "--top-p", "--min-p", "--repeat-penalty", "--seed", "--tokens", "-f"],
          "llmir-bench": ["-p", "-n", "-d", "-b", "-r", "-t", "-o"], "llmir-info": [],
          "llmir-build": ["--target", "--activations", "--kv-blocks", "--max-tokens", "--dump", "-j"],
          "ptxrun": ["--grid", "--block", "--cluster", "--shared", "--sm", "--checks", "--counters", "--seed", "--mma-model", "--perturb", "--max-steps"]}
for tool, first in FIRST.items():
    for flag in ("--no-such-flag", "--no-such-flag=3", "-Z"):
        r = run(tool, *first, flag)
        check(f"{tool} {flag}", r.returncode == 2 and flag[1:5] in r.stderr and not r.stdout, (r.returncode, r.stderr))
    check(f"{tool} --no-such-flag with a value", (r := run(tool, *first, "--no-such-flag", "value")).returncode == 2 and "no-such-flag" in r.stderr, r)
    check(f"{tool} --help", (r := run(tool, "--help")).returncode == 0 and "sage" in r.stdout and not r.stderr, r)
    check(f"{tool} --version", (r := run(tool, "--version")).returncode == 0 and r.stdout.startswith(tool + " "), r)
    for flag in VALUES[tool]:
        r = run(tool, *first, flag)
        check(f"{tool} {flag} without a value", r.returncode == 2 and flag.strip("-") in r.stderr and not r.stdout, (r.returncode, r.stderr))
        for value in ("", "many", "-7", "99999999999999999999999", "3x", "0x"):
            if flag == "-f" or (tool == "llmir-bench" and flag == "-o" and not value):
                continue
            r = run(tool, *(a for a in first if tool != "llmir-run" or flag != "--tokens" or a not in ("-p", "a")), flag, value)
            wanted = (2, 3) if flag in ("--kv", "--target") else (2,)
            check(f"{tool} {flag} '{value}'", r.returncode in wanted and r.stderr and not r.stdout, (r.returncode, r.stderr, r.stdout[:200]))

# ---- files that are none ----
for tool, before, after in (("llmir-run", [], ["-p", "a"]), ("llmir-bench", [], []), ("llmir-info", [], []), ("llmir-build", [], ["-o", path("never.so")]),
                            ("ptxrun", [], ["--kernel", "k", "--grid", "1", "--block", "1"])):
    for what in (path("missing"), path("missing/deeper"), empty, text, folder, path("fifo"), "/dev/zero", *([] if root_user else [unreadable])):
        refused(f"{tool} {what}", run(tool, *before, what, *after), 4, what)
refused("run -f of a folder", run("llmir-run", fake, "-f", folder), 4, folder)
refused("ptxrun in: of nothing", run("ptxrun", ptx, "--kernel", "reduce_tree", "--grid", "1", "--block", "1", f"in:{path('missing')}"), 4, path("missing"))
refused("ptxrun of no such kernel", run("ptxrun", ptx, "--kernel", "nothing", "--grid", "1", "--block", "1"), 2, "nothing", "reduce_tree")

# ---- GGUF: taken apart and put together wrongly ----
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class Gguf:
    def __init__(self, b):
        self.b, self.at = b, 8
        nt, nkv = struct.unpack("<QQ", self.take(16))
        self.kv = [self.pair() for _ in range(nkv)]
        self.tensors = [self.tensor() for _ in range(nt)]
        self.data = b[(self.at + 31) // 32 * 32:]

    def take(self, n):
        self.at += n
        return self.b[self.at - n:self.at]

    def u(self, n):
        return int.from_bytes(self.take(n), "little")

    def string(self):
        return self.take(self.u(8))

    def value(self, kind):
        if kind == 8:
            self.string()
        elif kind == 9:
            item, n = self.u(4), self.u(8)
            for _ in range(n):
                self.value(item)
        else:
            self.take(SIZES[kind])

    def pair(self):
        key, kind = self.string(), self.u(4)
        start = self.at
        self.value(kind)
        return [key, kind, self.b[start:self.at]]

    def tensor(self):
        name, n = self.string(), self.u(4)
        return [name, [self.u(8) for _ in range(n)], self.u(4), self.u(8)]

    def bytes(self, magic=b"GGUF", version=3, n_tensors=None, n_kv=None, pad=32):
        s = lambda x: struct.pack("<Q", len(x)) + x
        out = magic + struct.pack("<IQQ", version, len(self.tensors) if n_tensors is None else n_tensors, len(self.kv) if n_kv is None else n_kv)
        for key, kind, value in self.kv:
            out += key[0] if isinstance(key, tuple) else s(key)  # a tuple: raw, its length included
            out += struct.pack("<I", kind & 0xffffffff) + value
        for name, dims, kind, offset in self.tensors:
            out += s(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind & 0xffffffff, offset)
        return out + bytes(-len(out) % pad) + self.data


def wrong(what, data, *words, code=4):
    p = put("wrong.gguf", data)
    refused(f"build: {what}", run("llmir-build", p, "-o", path("never.so")), code, p, *words)


def changed(what, change, *words, code=4, **kw):
    g = Gguf(good_gguf)
    change(g)
    wrong(what, g.bytes(**kw), *words, code=code)


check("the taken apart file is whole", Gguf(good_gguf).bytes() == good_gguf)
same = lambda g: None
for n in [*range(0, 24), 25, 64, 500, len(good_gguf) // 2, len(good_gguf) - 1]:
    wrong(f"G1 cut at {n}", good_gguf[:n])
for v in (0, 1, 4, 1 << 31, 3 << 24):
    changed(f"G2 version {v:#x}", same, "version", version=v, code=4)
changed("G2 magic", same, magic=b"FUGG")
for n in (1 << 16, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1):
    changed(f"G2 {n} tensors", same, n_tensors=n)
    changed(f"G2 {n} keys", same, n_kv=n)
for n in (0, 65536, len(good_gguf), 1 << 31, 1 << 32, (1 << 64) - 1):
    changed(f"G3 a key of {n} bytes", lambda g: g.kv.__setitem__(0, [(struct.pack("<Q", n) + g.kv[0][0],), *g.kv[0][1:]]))
changed("G3 a NUL in a key", lambda g: g.kv.append([b"a\0b", 4, bytes(4)]))
changed("G3 a key that is not UTF-8", lambda g: g.kv.append([b"\xff\xfe", 4, bytes(4)]))
changed("G3 a key given twice", lambda g: g.kv.append(list(g.kv[0])), Gguf(good_gguf).kv[0][0].decode())
array = lambda item, n, body=b"": struct.pack("<IQ", item & 0xffffffff, n) + body
changed("G4 arrays of arrays", lambda g: g.kv.append([b"deep", 9, array(9, 1) * 1000 + array(4, 0)]), "deep")
for item in (13, -1, 9):
    changed(f"G4 items of type {item}", lambda g: g.kv.append([b"odd", 9, array(item, 1, bytes(8))]), "odd")
for n in (1 << 62, (1 << 64) - 1, 1 << 33):
    changed(f"G4 {n} items", lambda g: g.kv.append([b"many", 9, array(10, n)]), "many")
for kind, v in ((4, 0), (4, 3), (4, 13), (4, 1 << 31), (8, None)):
    changed(f"G5 alignment {v}", lambda g: g.kv.append([b"general.alignment", kind, struct.pack("<I", v) if v is not None else struct.pack("<Q2s", 2, b"32")]), "general.alignment")
name0 = Gguf(good_gguf).tensors[0][0].decode()
for what, dims in (("of size 0", [0, 4]), ("5", [1] * 5), ("none", []), ("negative", [(1 << 64) - 32, 2]), ("that wrap", [1 << 33, 1 << 33]), ("no block fits", [31, 4])):
    changed(f"G6 dimensions {what}", lambda g: g.tensors[0].__setitem__(1, dims), name0)
for kind in (-1, 4, 5, 31, 32, 33, 99):
    changed(f"G6 type {kind}", lambda g: g.tensors[0].__setitem__(2, kind), name0, code=(3, 4))
for what, at in (("not aligned", 1), ("past the end", 1 << 40), ("that wraps", (1 << 64) - 32)):
    changed(f"G7 offset {what}", lambda g: g.tensors[0].__setitem__(3, at), name0)
changed("G7 overlap", lambda g: g.tensors[1].__setitem__(3, g.tensors[0][3]))
changed("G7 equal names", lambda g: g.tensors[1].__setitem__(0, g.tensors[0][0]), name0)
changed("G7 sums that wrap", lambda g: [t.__setitem__(1, [0x1FFFFFFFFFFFFFF0]) or t.__setitem__(2, 0) for t in g.tensors[:2]])
changed("an architecture of tomorrow", lambda g: [kv.__setitem__(2, struct.pack("<Q8s", 8, b"tomorrow")) for kv in g.kv if kv[0] == b"general.architecture"],
        "tomorrow", "llama", code=3)

# ---- modules: cut, flipped ----
for n in [*range(0, 200, 8), *range(200, len(good_so), len(good_so) // 40), len(good_so) - 1]:
    p = put("cut.so", good_so[:n])
    for tool, after in (("llmir-run", ["-p", "a"]), ("llmir-info", [])):
        refused(f"{tool}: a module cut at {n}", run(tool, p, *after), 4, p)
random.seed(5)
ran = 0
for i in range(200 if sanitized else 2000):
    at, bit = random.randrange(len(good_so)), random.randrange(8)
    bad = bytearray(good_so)
    bad[at] ^= 1 << bit
    p = put("flip.so", bad)
    r = run("llmir-run", p, "--tokens", "1,2", "-n", "1", "--json", "--ignore-eos")
    ran += r.returncode == 0
    check(f"a flip of bit {bit} at {at}", r.returncode == 0 or (r.returncode in (3, 4, 5) and p in r.stderr and len(r.stderr.splitlines()) == 1 and not r.stdout),
          (r.returncode, r.stderr, r.stdout))
check("most flips are noticed", ran < 1000, ran)  # weights are compared only on request, padding never

# ---- no room, nobody listens ----
for size in (0, 1000, 40000):
    r = run("llmir-build", gguf, "-o", path("full.so"), "-j", "2", file_size=size, memory=0, env={**os.environ, "XDG_CACHE_HOME": path("cache")})
    refused(f"build where files end at {size} bytes", r, 6)
    check("nothing half-written", not glob.glob(path("full.so*")), glob.glob(path("full.so*")))
old = put("old.so", b"what was there before")
r = run("llmir-build", gguf, "-o", old, file_size=1000, memory=0, env={**os.environ, "XDG_CACHE_HOME": path("cache")})
check("a full disk leaves the old module", r.returncode == 6 and open(old).read() == "what was there before", r)
r = run("llmir-run", fake, "--tokens", "1,2,3,4,5,6,7,8,9", "-n", "9", "--ignore-eos", "--logits", path("logits"), file_size=1000)
check("a full disk leaves no logits", r.returncode == 6 and not os.path.exists(path("logits")), r)
for tool, *args in (["llmir-run", fake, "-p", "a", "-n", "3", "--ignore-eos"], ["llmir-run", fake, "-p", "a", "--json"], ["llmir-info"], ["llmir-info", fake],
                    ["llmir-bench", fake, "-p", "8", "-n", "0", "-r", "1"]):
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", os.path.join(tools, tool), *args], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=60)
    check(f"{tool} {args} with stdout closed", closed.returncode == 1 and "stdout" in closed.stderr and len(closed.stderr.splitlines()) == 1, closed)
logits = path("logits")
closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", os.path.join(tools, "llmir-run"), fake, "--tokens", "1,2", "-n", "3", "--ignore-eos", "--logits", logits],
                        stderr=subprocess.PIPE, text=True, timeout=60)
check("text never lands in another file", closed.returncode == 1 and (not os.path.exists(logits) or os.path.getsize(logits) % 1200 == 0), closed)

# ---- scripts ----
script = lambda name, *args, **kw: subprocess.run([os.path.join(root, name), *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **kw)
home = {**os.environ, "XDG_CACHE_HOME": path("home"), "BUILD_DIR": os.path.dirname(os.path.abspath(tools))}
refused("quickstart.sh --no-such-flag", script("quickstart.sh", "--no-such-flag"), 2, "--no-such-flag")
refused("quickstart.sh of no file", script("quickstart.sh", path("missing.gguf"), env=home), 4, "missing.gguf")
refused("quickstart.sh of a folder", script("quickstart.sh", folder, env=home), 4, folder)
refused("quickstart.sh of two models", script("quickstart.sh", gguf, gguf, env=home), 2, "one model")
check("quickstart.sh --help", (r := script("quickstart.sh", "--help")).returncode == 0 and "quickstart.sh" in r.stdout, r)
check("test.sh --help", (r := script("test.sh", "--help")).returncode == 0 and "test.sh" in r.stdout, r)

left = sorted(set(os.listdir(dir)) - {"empty", "folder", "fifo", "unreadable", "text", "wrong.gguf", "cut.so", "flip.so", "old.so", "cache", "logits", "home"})
check("no file is left behind", not left, left)
shutil.rmtree(dir)
print(f"{runs} runs, failures: {failures}")
sys.exit(failures > 0)
