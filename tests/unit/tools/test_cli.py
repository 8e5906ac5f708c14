"""The command-line tools on the fake model: what they print, where, and with which exit code.

test_cli.py TOOLS_DIR FAKE.so
"""
import csv, io, json, os, resource, signal, sqlite3, struct, subprocess, sys, tempfile

tools, fake = sys.argv[1], sys.argv[2]
VOCAB, MOD, CONTEXT = 300, 8191, 200
failures = 0


def run(tool, *args, stdin="", **kw):
    return subprocess.run([os.path.join(tools, tool), *map(str, args)], input=stdin, capture_output=True, text=True, errors="replace", timeout=60, **kw)


def check(what, ok, shown=""):
    global failures
    if not ok:
        failures += 1
        print(f"FAILED: {what}: {shown}")


def states(tokens):
    sums, out = [0, 0], []
    for t in tokens:
        x = MOD - 1 if t == 299 else (t * 37 + 11) % MOD
        for l in range(2):
            sums[l] += x
            x = (x + (l + 2) * sums[l]) % MOD
        out.append(x)
    return out


def greedy(prompt, n):
    ids = list(prompt)
    for _ in range(n):
        ids.append(states(ids)[-1] % VOCAB)
    return ids[len(prompt):]


# ---- llmir-run ----
r = run("llmir-run", fake, "--tokens", "1,2,3", "-n", 9, "--json", "--ignore-eos")
check("json exit", r.returncode == 0, r.stderr)
j = json.loads(r.stdout)
check("json keys", sorted(j) == ["decode_tps", "ids", "prefill_tps", "prompt_ids", "stop", "text"], j)
check("greedy ids", j["ids"] == greedy([1, 2, 3], 9), j)
check("stop", j["stop"] == "length" and j["prompt_ids"] == [1, 2, 3], j)
check("stderr is quiet with --json and no terminal", r.stderr == "", r.stderr)
for t in (1, 2, 3):
    for kv, block in (("f32", 16), ("f32", 64), ("f16", 16)):
        k = json.loads(run("llmir-run", fake, "--tokens", "1,2,3", "-n", 9, "--json", "--ignore-eos", "-t", t, "--kv", kv, "--kv-block", block).stdout)
        check(f"same ids with -t {t} --kv {kv}/{block}", k["ids"] == j["ids"], k)

text = "h\u00e9 <user>"
r = run("llmir-run", fake, "-p", text, "-n", 3, "--json", "--ignore-eos")
j = json.loads(r.stdout)
want = list("h\u00e9 ".encode()) + [257]
check("prompt with a special token", j["prompt_ids"] == want, j)
with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
    f.write(text)
    f.flush()
    check("-f reads the same prompt", json.loads(run("llmir-run", fake, "-f", f.name, "-n", 3, "--json", "--ignore-eos").stdout)["prompt_ids"] == want)
check("-f - reads stdin", json.loads(run("llmir-run", fake, "-f", "-", "-n", 3, "--json", "--ignore-eos", stdin=text).stdout)["prompt_ids"] == want)

r = run("llmir-run", fake, "-p", "abc", "-n", 20, "--ignore-eos")
ids = json.loads(run("llmir-run", fake, "-p", "abc", "-n", 20, "--json", "--ignore-eos").stdout)["ids"]
raw = subprocess.run([os.path.join(tools, "llmir-run"), fake, "-p", "abc", "-n", "20", "--ignore-eos"], capture_output=True).stdout
special = {256: b"<end>", 257: b"<user>", 258: b"L" * 600, **{i: b"u%d" % i for i in range(259, 298)}}
long = next([a, b] for a in range(256) for b in range(256) if states([a, b])[-1] % VOCAB == 258)
check("the text of a token may be long", run("llmir-run", fake, "--tokens", ",".join(map(str, long)), "-n", 1).stdout == "L" * 600)
check("text on stdout", raw == b"".join(special.get(i, bytes([i]) if i < 256 else b"") for i in ids), raw)

# a prompt whose next token is the end
for a in range(256):
    p = next(([a, b] for b in range(256) if states([a, b])[-1] % VOCAB == 256), None)
    if p:
        break
r = json.loads(run("llmir-run", fake, "--tokens", ",".join(map(str, p)), "--json").stdout)
check("the end token stops and is not printed", r["stop"] == "end" and r["ids"] == [], r)
r = json.loads(run("llmir-run", fake, "--tokens", ",".join(map(str, p)), "-n", 2, "--json", "--ignore-eos").stdout)
check("--ignore-eos goes on", len(r["ids"]) == 2 and r["ids"][0] == 256, r)
r = json.loads(run("llmir-run", fake, "--tokens", "1,2,3", "-n", 1000, "-c", 20, "--json", "--ignore-eos").stdout)
check("the context stops", r["stop"] == "context" and len(r["ids"]) == 18, r)  # the last one is not computed

a = run("llmir-run", fake, "--tokens", "5,6", "-n", 30, "--temp", 0.9, "--seed", 3, "--json", "--ignore-eos").stdout
b = run("llmir-run", fake, "--tokens", "5,6", "-n", 30, "--temp", 0.9, "--seed", 3, "--json", "--ignore-eos", "-t", 1).stdout
c = run("llmir-run", fake, "--tokens", "5,6", "-n", 30, "--temp", 0.9, "--seed", 4, "--json", "--ignore-eos").stdout
check("same seed, same text", json.loads(a)["ids"] == json.loads(b)["ids"] != json.loads(c)["ids"])

with tempfile.TemporaryDirectory() as d:
    f = os.path.join(d, "logits")
    prompt = [7, 8, 9, 10]
    j = json.loads(run("llmir-run", fake, "--tokens", "7,8,9,10", "-n", 3, "--json", "--ignore-eos", "--logits", f).stdout)
    v = struct.unpack(f"{4 * VOCAB}f", open(f, "rb").read())
    s = states(prompt + j["ids"])[3:]
    check("logits of the last prompt position and each generated one",
          all(v[r * VOCAB + i] == -abs(i - s[r] % VOCAB) for r in range(4) for i in range(VOCAB)))
    run("llmir-run", fake, "--tokens", "7,8,9,10", "-n", 0, "--json", "--logits", f, "--all-logits")
    v = struct.unpack(f"{4 * VOCAB}f", open(f, "rb").read())
    s = states(prompt)
    check("--all-logits", all(v[r * VOCAB + i] == -abs(i - s[r] % VOCAB) for r in range(4) for i in range(VOCAB)))
    r = run("llmir-run", fake, "--tokens", "1", "--logits", os.path.join(d, "no", "such"))
    check("unwritable logits", r.returncode == 1 and "no/such" in r.stderr, r)

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))

    for n in (1, 100):  # the disk is full when the file is closed; before that
        r = run("llmir-run", fake, "--tokens", "1,2,3,4,5,6,7,8,9", "--logits", f, "--all-logits", "-n", n, "--ignore-eos", preexec_fn=small_disk)
        check(f"a full disk leaves no logits, -n {n}", r.returncode == 6 and f"llmir-run: {f}: " in r.stderr and not os.path.exists(f), r)

lines = ["hello", "a\u20ac\U0001f600", "<end>", "", "\x00x"]
r = run("llmir-run", fake, "--tokenize", stdin="\n".join(map(json.dumps, lines)) + "\n")
out = [json.loads(x) for x in r.stdout.splitlines()]
check("--tokenize", out == [list(x.encode()) for x in lines], r)
back = run("llmir-run", fake, "--detokenize", stdin=r.stdout)
check("--detokenize", [json.loads(x) for x in back.stdout.splitlines()] == lines, back)
r = run("llmir-run", fake, "--tokenize-special", stdin='"a<end>b"\n')
check("--tokenize-special", json.loads(r.stdout) == [97, 256, 98], r)
check("--detokenize shows specials", json.loads(run("llmir-run", fake, "--detokenize", stdin="[97, 256]\n").stdout) == "a<end>")
check("broken UTF-8 becomes U+FFFD", json.loads(run("llmir-run", fake, "--detokenize", stdin="[226, 130]\n").stdout) == "\ufffd\ufffd")
for bad in ('"open', "[1]", "{}"):
    r = run("llmir-run", fake, "--tokenize", stdin=bad + "\n")
    check(f"--tokenize {bad}", r.returncode == 4 and "line 1" in r.stderr, r)
r = run("llmir-run", fake, "--detokenize", stdin="[300]\n")
check("--detokenize of an unknown id", r.returncode == 4, r)

for args in ([], [fake], [fake, "-p", "a", "--tokens", "1"], [fake, "-p", "a", "--temp", "nan"], [fake, "-p", "a", "-n", "-3"],
             [fake, "-p", "a", "--no-such-flag"], [fake, "--tokens", "1,"], [fake, "--tokens", "300"], [fake, "-p", ""],
             [fake, fake, "-p", "a"], [fake, "-p", "a", "-t", "0"], [fake, "-p", "a", "--top-p", "2"],
             [fake, "-p", "x" * (CONTEXT + 1)], [fake, "-p", "a", "-c", CONTEXT + 1], [fake, "-p", "a", "--all-logits"]):
    r = run("llmir-run", *args)
    check(f"wrong use {args}", r.returncode == 2 and r.stdout == "" and r.stderr, (r.returncode, r.stderr))
r = run("llmir-run", fake, "-p", "a", "--tokenize")
check("text modes take no prompt", r.returncode == 2 and "stdin" in r.stderr, r)
check("unsupported KV type", run("llmir-run", fake, "-p", "a", "--kv", "f8").returncode == 3)
for device in ("cpu", "cpu:x86-64"):
    r = run("llmir-run", fake, "-p", "a", "--device", device)
    check(f"--device {device}", r.returncode == 0 and "code for cpu:x86-64\n" in r.stderr, r)
for device, code, words in (("cpu:x86-64-v3", 5, "no code for cpu:x86-64-v3; it has code for cpu:x86-64, cuda:sm_80 (lacking"),
                            ("cuda:0", 5, "cuda:0"), ("cpu:arm", 2, "no such CPU level"), ("tpu", 2, "no such kind of device")):
    for tool, *args in (["llmir-run", fake, "-p", "a"], ["llmir-bench", fake, "-p", "8", "-n", "0", "-r", "1"]):
        r = run(tool, *args, "--device", device)
        check(f"{tool} --device {device}", r.returncode == code and words in r.stderr, r)

# ---- on the simulator of a GPU ----
cpu = json.loads(run("llmir-run", fake, "-p", "abc", "-n", 9, "--json", "--ignore-eos").stdout)
for device in ("sim", "sim:sm_80", "sim:sm_90"):
    r = run("llmir-run", fake, "-p", "abc", "-n", 9, "--json", "--ignore-eos", "--device", device)
    check(f"{device}: the same ids as on the CPU", json.loads(r.stdout or "{}").get("ids") == cpu["ids"], r)
    sm = device[-5:] if ":" in device else "sm_80"
    check(f"{device} is called a simulator", f"simulated on sim (simulator of {sm}): " in r.stderr and "not of a GPU" in r.stderr
          and "its checks found 0\n" in r.stderr, r)
r = run("llmir-run", fake, "-p", "abc", "-n", 3, "--ignore-eos", "--device", "sim")
check("speeds of the simulator are marked", "/s (simulated), stopped by length; code for cuda:sm_80" in r.stderr, r)
r = run("llmir-run", fake, "-p", "abc", "--device", "sim:sm_75")
check("code for sm_80 on an sm_75", r.returncode == 5 and "cuda:sm_80 (lacking compute capability 8.0 or higher, it is 7.5)" in r.stderr, r)
r = run("llmir-run", fake, "-p", "abc", "--device", "sim", env={**os.environ, "LLMIR_PTXSIM_LIBRARY": "/no/sim.so"})
check("no simulator", r.returncode == 5 and "no simulator: /no/sim.so" in r.stderr, r)
r = run("llmir-bench", fake, "-p", "16", "-n", "2", "-r", "1", "--device", "sim", "--profile", "-o", "jsonl")
rows = [json.loads(x) for x in r.stdout.splitlines()]
check("bench of the simulator", len(rows) == 2 and all(x["backend"] == "simulator" and x["device"] == "sim (simulator of sm_80)" for x in rows)
      and "the simulator's, not a GPU's" in r.stderr and "combine" in r.stderr, r)
check("missing module", run("llmir-run", "/nonexistent.so", "-p", "a").returncode == 4)
check("no module", run("llmir-run", __file__, "-p", "a").returncode == 4)
check("a prompt file that is a folder", run("llmir-run", fake, "-f", "/").returncode == 4)
check("missing prompt file", run("llmir-run", fake, "-f", "/nonexistent").returncode == 4)
for tool in ("llmir-run", "llmir-bench", "llmir-info"):
    r = run(tool, "--version")
    check(f"{tool} --version", r.returncode == 0 and r.stdout.startswith(tool + " "), r)
    r = run(tool, "--help")
    check(f"{tool} --help", r.returncode == 0 and "Usage" in r.stdout and max(map(len, r.stdout.splitlines())) < 100, r)

# ---- llmir-bench ----
common = [fake, "-p", "32,16", "-n", "8", "-d", "0,40", "-b", "1,3", "-r", 2, "-t", 2]
tests = ["pp32", "pp16", "tg8", "b3", "pp32@d40", "pp16@d40", "tg8@d40", "b3@d40"]
r = run("llmir-bench", *common)
rows = [[c.strip() for c in x.strip("|").split("|")] for x in r.stdout.splitlines()]
check("md columns", rows[0] == ["model", "size", "params", "backend", "threads", "test", "t/s"], rows[0])
check("md tests", [x[5] for x in rows[2:]] == tests, rows)
rows = list(csv.DictReader(io.StringIO(run("llmir-bench", *common, "-o", "csv").stdout)))
check("csv", [x["test"] for x in rows] == tests and all(float(x["t/s"]) > 0 for x in rows), rows)
rows = json.loads(run("llmir-bench", *common, "-o", "json").stdout)
check("json", [x["test"] for x in rows] == tests and all(len(x["samples_ts"]) == 2 for x in rows), rows)
rows = [json.loads(x) for x in run("llmir-bench", *common, "-o", "jsonl").stdout.splitlines()]
check("jsonl", [x["test"] for x in rows] == tests, rows)
db = sqlite3.connect(":memory:")
db.executescript(run("llmir-bench", *common, "-o", "sql").stdout)
check("sql", [x[0] for x in db.execute("select test from llmir_bench")] == tests)
r = run("llmir-bench", fake, "-p", "0", "-n", "8", "-r", "1", "--profile")
check("profile names kernels on stderr", "combine" in r.stderr and "GB/s" in r.stderr and "combine" not in r.stdout, r)
check("bench beyond the context", run("llmir-bench", fake).returncode == 2)
check("bench without a test", run("llmir-bench", fake, "-p", "0", "-n", "0").returncode == 2)
check("bench wrong format", run("llmir-bench", fake, "-o", "xml").returncode == 2)

# ---- llmir-info ----
r = run("llmir-info", "--json", fake)
j = json.loads(r.stdout)
check("info json", j["module"]["arch"] == "sums" and len(j["module"]["kernels"]) == 20 and j["module"]["eos"] == 256, j)
check("info targets", [(t["name"], t["kernels"], t["programs"], t["in_use"], bool(t["missing"])) for t in j["module"]["targets"]]
      == [("cpu:x86-64", 10, 9, True, False), ("cuda:sm_80", 10, 9, False, True)]
      and [k["target"] for k in j["module"]["kernels"]] == [0] * 10 + [1] * 10, j["module"]["targets"])
check("info devices", [d["device"] for d in j["devices"]][0] == "cpu" and j["devices"][-1]["device"] == "sim" and len(j["devices"]) >= 3
      and all("target" in d or "missing" in d or "name" in d for d in j["devices"]), j["devices"])
r = run("llmir-info", fake, "--traces")
check("info traces", "split i 3" in r.stdout and "def x" in r.stdout, r)
r = run("llmir-info")
check("info alone", r.returncode == 0 and "cpu" in r.stdout, r)
check("info on another file", run("llmir-info", __file__).returncode == 4)
with tempfile.TemporaryDirectory() as d:
    odd = os.path.join(os.fsencode(d), b"\xff.so")
    os.symlink(os.path.abspath(fake), odd)
    p = subprocess.run([os.path.join(tools, "llmir-info"), "-j", odd], capture_output=True)
    check("info of a path that is not UTF-8", p.returncode == 0 and json.loads(p.stdout)["module"]["file"].endswith("\ufffd.so"), p)

# ---- what cannot be written ----
if os.path.exists("/dev/full"):
    for tool, *args in (["llmir-run", fake, "-p", "a", "--ignore-eos"], ["llmir-run", fake, "-p", "a", "--json"], ["llmir-run", fake, "--tokenize"],
                        ["llmir-run", fake, "--tokens", "1", "--logits", "/dev/full"], ["llmir-info", fake], ["llmir-info", fake, "-j"],
                        *(["llmir-bench", fake, "-p", "8", "-n", "4", "-r", "1", "-o", o] for o in ("md", "csv", "json", "jsonl", "sql"))):
        with open("/dev/full", "w") as full:
            p = subprocess.run([os.path.join(tools, tool), *args], input='"a"\n', stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        check(f"{tool} {args[1:]} on a full disk", p.returncode == 6 and "No space left" in p.stderr, p)
    check("--logits does not remove a device", os.path.exists("/dev/full"))

# ---- llmir-build ----
for args in ([], [fake], [fake, "-o", "x", "--no-such-flag"], [fake, fake, "-o", "x"], [fake, "-o", "x", "--kv-blocks", "17"], [fake, "-o", "x", "--dump", "c"],
             [fake, "-o", "x", "-j", "0"]):
    r = run("llmir-build", *args)
    check(f"build: wrong use {args}", r.returncode == 2 and r.stdout == "" and r.stderr, r)
for a, b in (("cpu", "cpu"), ("cpu:x86-64-v3+avx2", "cpu:x86-64-v3")):
    r = run("llmir-build", "/nonexistent.gguf", "-o", "x.so", "--target", a, "--target", b)
    check(f"build: targets {a} and {b} are one", r.returncode == 2 and f"was given twice: '{a}' and '{b}'" in r.stderr, r)
r = run("llmir-build", "/nonexistent.gguf", "-o", "x.so")
check("build: missing model", r.returncode == 4 and "/nonexistent.gguf" in r.stderr, r)
for out in ("/nonexistent/x.so", "/tmp"):
    r = run("llmir-build", __file__, "-o", out)
    check(f"build: -o {out} is refused before the work", r.returncode == 1 and r.stderr.startswith(f"llmir-build: {out}: "), r)

# ---- the example ----
p = subprocess.run([os.path.join(tools, "../examples/generate"), fake, "abc", "10"], capture_output=True)
check("example generates", p.returncode == 0 and p.stdout.startswith(b"abc") and b"3 prompt tokens" in p.stderr, p)
check("example names a missing module", subprocess.run([os.path.join(tools, "../examples/generate"), "/none", "abc"], capture_output=True).returncode == 4)

print("failures:", failures)
sys.exit(failures > 0)
