"""The chart as the tests see it: rendered by real helm, once for each set of values. Without helm they are skipped."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from tools.render_manifests import CHART, ROOT, find_helm, run_helm

Document = dict[str, Any]
SETS = sorted((CHART / "ci").glob("*.values.yaml"))
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator: no schema of them is at hand."""
OLDEST = 32
VERSIONS = [f"1.{minor}" for minor in range(OLDEST, int(kubernetes_validate.latest_version().split(".")[1]) + 1)]
NEEDS_HELM = pytest.mark.skipif(
    not find_helm(), reason="helm is neither $HELM nor on PATH nor in the environment (sh tools/ensure_helm.sh)"
)
# Each call reads a megabyte of schema: once for each version is enough.
utils.schema_contents = functools.cache(utils.schema_contents)
IMAGE = 'image.repository="registry.example.com/resizer"'
DRIVER = 'drivers=[{"name": "a", "container": {"image": "registry.example.com/a"}}]'


def value_set(name: str) -> Path:
    """One of the chart's own sets."""
    return CHART / "ci" / f"{name}.values.yaml"


@functools.cache
def rendered(values: Path | None = None, *more: str, namespace: str = "storage") -> tuple[Document, ...]:
    """What the chart makes of a set, with `key=JSON` changes after it. Raises HelmError."""
    arguments = ["template", "resizer", str(CHART), f"--namespace={namespace}"]
    arguments += [f"--values={values}"] if values else []
    arguments += [f"--set-json={change}" for change in more]
    return tuple(document for document in yaml.safe_load_all(run_helm(*arguments)) if document)


def of_kind(documents: tuple[Document, ...], kind: str) -> list[Document]:
    """Those of one kind."""
    return [document for document in documents if document["kind"] == kind]


def mistakes(documents: list[Document], versions: list[str]) -> list[str]:
    """What kubernetes-validate, strict, says against them: each document, each version, one line."""
    found = []
    for text in sorted({json.dumps(document, sort_keys=True) for document in documents}):
        document = json.loads(text)
        if document["kind"] in CUSTOM:
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                found.append(f"{version} {document['kind']} {document['metadata']['name']}: {error}")
    return found


def read_all(path: str) -> tuple[Document, ...]:
    """The documents of a committed file."""
    return tuple(document for document in yaml.safe_load_all((ROOT / path).read_text()) if document)


def controllers(documents: tuple[Document, ...]) -> Iterator[tuple[Document, Document, Document]]:
    """Each Deployment, its pod's spec, and our own container in it."""
    for deployment in of_kind(documents, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        [ours] = [c for c in pod["containers"] if c["image"].startswith("registry.example.com/resizer")]
        yield deployment, pod, ours
