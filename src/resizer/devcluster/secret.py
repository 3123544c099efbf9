"""Secrets for driver calls: which one a storage class means, and reading it. Nothing read here is kept or shown."""

import base64
import binascii

from resizer.devcluster.client import SECRETS, Client, Document, NotFoundError
from resizer.model.errors import DriverError

PREFIX = "csi.storage.k8s.io/"
Ref = dict[str, str]


def secret_ref(parameters: dict[str, str], role: str, *, claim: Document, volume: str) -> Ref | None:
    """Return the secret of that role ("provisioner-secret") in a class's parameters, with its templates filled."""
    name, namespace = parameters.get(f"{PREFIX}{role}-name"), parameters.get(f"{PREFIX}{role}-namespace")
    if not name or not namespace:
        return None
    meta = claim["metadata"]
    values = {"${pv.name}": volume, "${pvc.namespace}": meta["namespace"], "${pvc.name}": meta["name"]}
    for pattern, value in values.items():
        name, namespace = name.replace(pattern, value), namespace.replace(pattern, value)
    return {"name": name, "namespace": namespace}


async def read_secret(client: Client, ref: Ref | None) -> dict[str, str]:
    """Return the secret's content; empty for no reference. Raises DriverError when it cannot be had."""
    if ref is None:
        return {}
    try:
        doc = await client.get(SECRETS, ref["name"], namespace=ref["namespace"])
    except NotFoundError as error:
        raise DriverError("INVALID_ARGUMENT", f"secret {ref['namespace']}/{ref['name']} is not there") from error
    try:
        return {key: base64.b64decode(value, validate=True).decode() for key, value in doc.get("data", {}).items()}
    except (binascii.Error, UnicodeDecodeError):
        # From None: the exception shows the bytes that it could not read.
        raise DriverError("INVALID_ARGUMENT", f"secret {ref['namespace']}/{ref['name']} is not text") from None
