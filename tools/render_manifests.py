"""Render the committed manifests from the Helm chart: what `make manifests` runs. The chart is the one source.

    deploy/install.yaml               everything, with a Namespace of its own and no custom resources
    deploy/examples/node-agent.yaml   the node agent alone, beside a driver in kube-system

Helm's own labels are left out: nobody who applies these files uses Helm. Alerts and dashboards are not copied at all:
the chart's `files/` links to deploy/prometheus and deploy/grafana. Needs helm, as $HELM, on PATH or in .venv/bin.
"""

# ruff: noqa: INP001 -- a script, not part of a package
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = ROOT / "deploy/helm/resizer"
VALUES: Final = ROOT / "deploy/helm"

HEADERS: Final = {
    "deploy/install.yaml": """\
# Resizer for `kubectl apply`. Rendered from deploy/helm/resizer by `make manifests`: change the chart, not this file.
#
# Two texts stand for what only you know, and have to be replaced first (docs/install.md):
#   registry.example.com/resizer:0.1.0         the image that you have built and pushed: none is published
#   /var/lib/kubelet/plugins/csi.example.com   the folder on the node that has your driver's controller socket
# Its lease lies in kube-system. If external-resizer runs for that driver in another namespace, replace that, too.
""",
    "deploy/examples/node-agent.yaml": """\
# The node agent, for clusters whose kubelets are not to be nudged (docs/node-agent.md). The pipeline beside it runs
# with --node-mode=agent. Rendered from deploy/helm/resizer by `make manifests`: change the chart, not this file.
#
# Nothing here may read a secret: a driver whose volumes name a nodeExpandSecretRef needs a Role of its own, in that
# secret's namespace only.
#
# No image is published: build one from your checkout, push it to a registry of yours, and put its name in the place of
# registry.example.com/resizer:0.1.0.
""",
}
ARGUMENTS: Final = {
    "deploy/install.yaml": ["--namespace=resizer", "--values=install.values.yaml"],
    "deploy/examples/node-agent.yaml": [
        "--namespace=kube-system",
        "--values=node-agent.values.yaml",
        "--show-only=templates/node-agent.yaml",
    ],
}


class HelmError(Exception):
    """Helm is missing or refused: one text for the person who renders."""


def find_helm() -> str:
    """Return helm's path: $HELM, else on PATH, else beside this interpreter; empty when there is none."""
    beside = Path(sys.executable).parent / "helm"
    return os.environ.get("HELM") or shutil.which("helm") or (str(beside) if os.access(beside, os.X_OK) else "")


def run_helm(*arguments: str) -> str:
    """Run helm in deploy/helm and return what it prints. Raises HelmError with its own words."""
    helm = find_helm()
    if not helm:
        raise HelmError("helm is missing: set HELM, put it on PATH, or run sh tools/ensure_helm.sh")
    done = subprocess.run([helm, *arguments], cwd=VALUES, capture_output=True, text=True, check=False)  # noqa: S603 - helm, as the caller asked
    if done.returncode:
        raise HelmError((done.stderr + done.stdout).strip())
    return done.stdout


def render(path: str) -> str:
    """Return the text of one of the committed manifests."""
    text = run_helm("template", "resizer", str(CHART), *ARGUMENTS[path])
    return HEADERS[path] + "\n".join(_without_helm(text)) + "\n"


def _without_helm(text: str) -> list[str]:
    """Keep the lines that mean something to who applies the file; one `---` between two documents."""
    lines: list[str] = []
    for line in text.rstrip().splitlines():
        if line.startswith("# Source:") or line.strip().startswith(("helm.sh/chart:", "app.kubernetes.io/managed-by:")):
            continue
        if line == "---":
            while lines and not lines[-1].strip():
                lines.pop()
            if lines and lines[-1] == "---":
                continue
        lines.append(line.rstrip())
    return lines


if __name__ == "__main__":
    try:
        for name in HEADERS:
            (ROOT / name).write_text(render(name))
    except HelmError as error:
        sys.exit(f"manifests: {error}")
