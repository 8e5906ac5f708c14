"""Tiny models, from GGUF to tokens, against logits of other software.

tiny.py TOOLS_DIR MODELS_DIR: every model x target x kind of KV cache x block size x threads. PTX runs on the simulator,
all checks on: a finding is a failure.
"""
import array, json, math, os, re, subprocess, sys, tempfile

tools, models = sys.argv[1:3]
failures = 0


def run(tool, *args, env={}):
    r = subprocess.run([os.path.join(tools, tool), *map(str, args)], capture_output=True, text=True, timeout=300, env={**os.environ, **env})
    if r.returncode:
        print(f"FAILED: {tool} {' '.join(map(str, args))}: exit {r.returncode}: {r.stderr.strip()}")
    return r


def check(what, ok, shown=""):
    global failures
    if not ok:
        failures += 1
        print(f"FAILED: {what}: {shown}")


def floats(path):
    a = array.array("f")
    a.frombytes(open(path, "rb").read())
    return a


class Ref:
    def __init__(self, d):
        j = json.load(open(os.path.join(d, "ref.json")))
        self.bytes, self.t = open(os.path.join(d, "ref.bin"), "rb").read(), {t["name"]: t for t in j["tensors"]}

    def get(self, name):
        t = self.t[name]
        a = array.array({"f32": "f", "f64": "d", "i32": "i", "i64": "q"}[t["dtype"]])
        a.frombytes(self.bytes[t["offset"]:t["offset"] + t["nbytes"]])
        return a


def supported(target):
    flags = next((l for l in open("/proc/cpuinfo") if l.startswith("flags")), "").split()
    need = {"cpu": [], "cpu:x86-64-v3": ["avx2", "fma"], "cpu:x86-64-v4": ["avx512bw", "avx512vl"],
            "cpu:x86-64-v4+gfni": ["avx512bw", "avx512vl", "gfni"]}[target]
    return all(f in flags for f in need)


def distance(got, want):
    """Root of the mean square difference over the root of the mean square of `want`."""
    if not all(map(math.isfinite, got)):
        return math.inf
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(got, want)) / sum(b * b for b in want))


def compare(name, so, ref, tolerance, dir, *flags, lengths=(1, 7, 33), env={}):
    """All logits of prompts of 1, 7 and 33 tokens, whole and in pieces of 5; the greedy text.

    tolerance: the largest distance of the logits; the lead of the best token below which greedy texts may part.
    """
    out = os.path.join(dir, "logits")
    for n in lengths:
        ids, want = ref.get(f"ids_{n}"), ref.get(f"logits_{n}")
        for batch in (512, 5):
            r = run("llmir-run", so, "--tokens", ",".join(map(str, ids)), "-n", 0, "--logits", out, "--all-logits", "--batch", batch, *flags, env=env)
            if r.returncode:
                return check(name, False)
            got = floats(out)
            check(f"{name}: rows", len(got) == len(want), (len(got), len(want)))
            far = distance(got, want)
            check(f"{name} {' '.join(map(str, flags))} n={n} batch={batch}: logits", far <= tolerance[0], far)
    ids, gaps = ref.get("ids_7"), ref.get("greedy_7_gap")
    r = run("llmir-run", so, "--tokens", ",".join(map(str, ids)), "-n", 16, "--json", "--ignore-eos", *flags, env=env)
    got = json.loads(r.stdout)["ids"] if r.returncode == 0 else []
    for g, w, gap in zip(got, ref.get("greedy_7"), gaps):
        if gap < tolerance[1]:
            break
        if g != w:
            return check(f"{name} {' '.join(map(str, flags))}: greedy", False, (got, list(ref.get("greedy_7"))))
    check(f"{name}: 16 ids", len(got) == 16, got)


def module(so):
    return json.loads(run("llmir-info", "--json", so).stdout)["module"]


def ptx(model, path, so, ref, dir):
    """PTX of a module on the simulator: float activations, so the bounds of float CPU code."""
    for target, device, block in (("cuda:sm_80", "sim:sm_80", 16), ("cuda:sm_75", "sim:sm_86", 64), ("cuda:sm_90a", "sim:sm_90", 32)):
        r = run("llmir-build", os.path.join(path, "model.gguf"), "-o", so, "--target", target, "--kv-blocks", block)
        if r.returncode:
            check(f"{model} {target} builds", False)
            continue
        for kv, tolerance in (("f32", (1e-5, 1e-3)), ("f16", (3e-3, 0.2))):
            compare(f"{model} {target}", so, ref, tolerance, dir, "--kv", kv, "--device", device, env={"LLMIR_PTXSIM_FATAL": "1"})


def fat(model, path, dir):
    """One module for several targets gives, for each, the bits of the module for that target alone."""
    wanted = ["cpu:x86-64-v3", "cpu:x86-64-v4", "cpu:x86-64-v4+gfni"]
    so, out, each = os.path.join(dir, "fat.so"), [os.path.join(dir, x) for x in ("a", "b")], {}
    flags = [x for t in wanted for x in ("--target", t)]
    if run("llmir-build", os.path.join(path, "model.gguf"), "-o", so, *flags).returncode:
        return check(f"{model}: fat module builds", False)
    for t in wanted:
        each[t] = os.path.join(dir, "one.so")
        run("llmir-build", os.path.join(path, "model.gguf"), "-o", each[t], "--target", t)
        each[t] = module(alone := each[t])
        if not supported(t):
            print("skipped: fat module on", t)
            continue
        for f, o, device in ((so, out[0], ["--device", t]), (alone, out[1], [])):
            r = run("llmir-run", f, "--tokens", "3,4,5,6,7", "-n", 3, "--logits", o, "--all-logits", *device)
            check(f"{model}: code for {t} ran", f"code for {t}\n" in r.stderr, r.stderr)
        check(f"{model} fat {t}: same bits as alone", open(out[0], "rb").read() == open(out[1], "rb").read())
    m = module(so)
    check(f"{model} fat: targets", [t["name"] for t in m["targets"]] == wanted, m["targets"])
    if all(map(supported, wanted)): # widest vectors, then most features
        check(f"{model} fat: the best runs", [t["in_use"] for t in m["targets"]] == [False, False, True], m["targets"])
    for i, t in enumerate(wanted):
        own = [k["hash"] for k in m["kernels"] if k["target"] == i]
        check(f"{model} fat {t}: kernels", own == [k["hash"] for k in each[t]["kernels"]], own)
    # v4 and v4+gfni pack alike: the second costs no weights
    v3, v4 = each[wanted[0]]["weight_bytes"], each[wanted[1]]["weight_bytes"]
    check(f"{model} fat: a packing is stored once", max(v3, v4) < m["weight_bytes"] <= v3 + v4, (v3, v4, m["weight_bytes"]))


def cache(model, path, dir):
    """The module has the same bytes without a cache, with an empty, a full, a damaged and an unusable one."""
    folder, out = os.path.join(dir, "cache"), [os.path.join(dir, x) for x in ("c0.so", "c1.so")]
    kernels = os.path.join(folder, "kernels")

    def build(what, so, want, *flags, where=folder):
        r = run("llmir-build", os.path.join(path, "model.gguf"), "-o", so, "-v", "--target", "cpu:x86-64-v3", *flags, env={"LLMIR_CACHE_DIR": where})
        n = re.search(r"kernels (\d+) distinct", r.stdout)
        line = next((l for l in r.stdout.splitlines() if "kernel cache" in l), "")
        check(f"{model} cache, {what}: {line}", n and want(int(n[1])) in line, r)
        check(f"{model} cache, {what}: same bytes", open(out[0], "rb").read() == open(so, "rb").read())

    build("none", out[0], lambda n: "no kernel cache: --no-cache", "--no-cache")
    build("empty", out[1], lambda n: f"0 found, {n} made")
    build("full", out[1], lambda n: f"{n} found, 0 made")
    names = sorted(os.listdir(kernels))
    for name, change in zip(names, (lambda b: b[:-1], lambda b: b"", lambda b: b[:99] + bytes([b[99] ^ 1]) + b[100:], lambda b: b"x" * len(b))):
        file = os.path.join(kernels, name)
        whole = open(file, "rb").read()
        open(file, "wb").write(change(whole))
    build("damaged", out[1], lambda n: f"{n - 4} found, 4 made")
    build("repaired", out[1], lambda n: f"{n} found, 0 made")
    build("a file", out[1], lambda n: "Not a directory", where=out[0])


with tempfile.TemporaryDirectory() as dir:
    os.environ["LLMIR_CACHE_DIR"] = os.path.join(dir, "shared") # not the user's
    for model in sorted(os.listdir(models)):
        path = os.path.join(models, model)
        if not os.path.exists(os.path.join(path, "model.gguf")):
            continue
        ref, so = Ref(path), os.path.join(dir, "model.so")
        for target in ("cpu", "cpu:x86-64-v3", "cpu:x86-64-v4"):
            if not supported(target):
                print("skipped:", target, "is not this machine's")
                continue
            for act, tolerance in (("f32", (1e-5, 1e-3)), ("int8", (0.06, 2.0))):
                r = run("llmir-build", os.path.join(path, "model.gguf"), "-o", so, "--target", target, "--activations", act)
                if r.returncode:
                    check(f"{model} {target} {act} builds", False)
                    continue
                name = f"{model} {target} {act}"
                compare(name, so, ref, tolerance, dir, "--kv", "f32", "-t", 2)
                if target != "cpu":
                    continue
                compare(name, so, ref, tolerance if act == "int8" else (3e-3, 0.2), dir, "--kv", "f16", "-t", 1)
                for block in (32, 256):
                    compare(name, so, ref, tolerance, dir, "--kv", "f32", "--kv-block", block, "-t", 3)
                one = run("llmir-run", so, "--tokens", "3,4,5", "-n", 0, "--logits", os.path.join(dir, "a"), "--all-logits", "-t", 1)
                run("llmir-run", so, "--tokens", "3,4,5", "-n", 0, "--logits", os.path.join(dir, "b"), "--all-logits", "-t", 3)
                if one.returncode == 0:
                    check(f"{name}: same bits for any -t", open(os.path.join(dir, "a"), "rb").read() == open(os.path.join(dir, "b"), "rb").read())
        ptx(model, path, so, ref, dir)
        last = model, path
        a, b = os.path.join(dir, "a.so"), os.path.join(dir, "b.so")
        run("llmir-build", os.path.join(path, "model.gguf"), "-o", a)
        subprocess.run([os.path.abspath(os.path.join(tools, "llmir-build")), os.path.abspath(os.path.join(path, "model.gguf")), "-o", "b.so"], cwd=dir,
                       capture_output=True, env={**os.environ, "TMPDIR": dir})
        check(f"{model}: same bytes in any directory", os.path.exists(b) and open(a, "rb").read() == open(b, "rb").read())

    fat(*last, dir) # of any model: nothing in them depends on it
    cache(*last, dir)

print("failures:", failures)
sys.exit(failures > 0)
