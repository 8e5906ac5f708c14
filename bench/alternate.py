#!/usr/bin/env python3
"""Runs several benchmark commands in turn, so that a machine whose speed drifts is fair to all of them.

    bench/alternate.py [-r ROUNDS] NAME='COMMAND' NAME='COMMAND' ...

A command prints one result a line: JSON with "test" and "t/s" (llmir-bench -o jsonl), JSON of llama-bench
(n_prompt, n_gen, avg_ts), or `TEST best X ...`. The table gives best and median tokens per second of each test, and
how many times the last command's best the others are. For example

    bench/alternate.py -r 5 ours='build/tools/llmir-bench m.so -p 512 -n 128 -r 1 -t 2 -o jsonl' \\
                            llama='llama-bench -m m.gguf -p 512 -n 128 -r 1 -t 2 -o jsonl'
"""
import json, os, re, shlex, statistics, subprocess, sys


def results(text):
    for line in text.splitlines():
        if line.startswith("{"):
            j = json.loads(line)
            test = j.get("test") or (f"pp{j['n_prompt']}" if j.get("n_prompt") else f"tg{j['n_gen']}") + (f"@d{j['n_depth']}" if j.get("n_depth") else "")
            yield test, float(j.get("t/s") or j["avg_ts"])
        elif m := re.match(r"(\S+) best ([\d.]+)", line):
            yield m[1].replace("@", "@d") if "@d" not in m[1] else m[1], float(m[2])


def main():
    args, rounds = sys.argv[1:], 5
    if args[:1] == ["-r"]:
        rounds, args = int(args[1]), args[2:]
    if not args or any("=" not in a for a in args):
        sys.exit(__doc__)
    commands = [a.split("=", 1) for a in args]
    seen = {name: {} for name, _ in commands}
    for i in range(rounds):
        for name, command in commands:
            r = subprocess.run(shlex.split(command), capture_output=True, text=True)
            if r.returncode:
                sys.exit(f"{name}: exit {r.returncode}: {r.stderr.strip()[-400:]}")
            for test, speed in results(r.stdout):
                seen[name].setdefault(test, []).append(speed)
        print(f"round {i + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    names = [n for n, _ in commands]
    base = seen[names[-1]]
    print("| test | " + " | ".join(f"{n} best / median" for n in names) + " | " + " | ".join(f"{n} : {names[-1]}" for n in names[:-1]) + " |")
    print("|---" * (2 * len(names)) + "|")
    for test in seen[names[0]]:
        cells = [f"{max(v):.1f} / {statistics.median(v):.1f}" if (v := seen[n].get(test)) else "-" for n in names]
        ratios = [f"{max(seen[n][test]) / max(base[test]):.2f}" if test in seen[n] and test in base else "-" for n in names[:-1]]
        print("| " + " | ".join([test, *cells, *ratios]) + " |")


main()
