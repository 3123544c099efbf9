"""Whom a kubeconfig's user impersonates (`as`, `as-uid`, `as-groups`, `as-user-extra`), as the headers of each request.

Left out, every request would be made with the rights of whoever impersonates.

Source: Kubernetes authentication, "User impersonation"; client-go transport (how names of extra fields are escaped).
"""

from typing import Any
from urllib.parse import quote

from resizer.kube.credentials import CredentialsError


def find_impersonation(user: dict[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    """Return the headers, none if nobody is impersonated. Raises CredentialsError, with `where` in its text."""
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not isinstance(groups, list) or not isinstance(extra, dict) or not all(map(_is_list, extra.values())):
        raise CredentialsError(f"{where}: as-groups is no list, or as-user-extra no mapping of lists")
    headers = [("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid"))]
    headers += [("Impersonate-Group", group) for group in groups]
    headers += [
        (f"Impersonate-Extra-{quote(str(key).lower(), safe='')}", value) for key in extra for value in extra[key]
    ]
    given = tuple((header, str(value)) for header, value in headers if value)
    if given and not user.get("as"):
        raise CredentialsError(f"{where}: it names a group or more to impersonate, but no user (as)")
    if not all(value.isprintable() and value.isascii() for _, value in given):
        raise CredentialsError(f"{where}: whom to impersonate cannot be written into a header")
    return given


def _is_list(value: object) -> bool:
    return isinstance(value, list)
