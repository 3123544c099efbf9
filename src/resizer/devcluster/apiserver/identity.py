"""Who is asking: bearer tokens, anonymous users, impersonation.

Tokens are opaque and kept in memory. A ServiceAccount's token names the account as a real one does, with its three
groups. Nothing here decides what a user may do; that is `rbac`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

import msgspec

from resizer.devcluster.apiserver.failure import unauthorized

ADMIN_GROUP = "system:masters"
AUTHENTICATED = "system:authenticated"


class User(msgspec.Struct, frozen=True):
    """A name and its groups."""

    name: str
    groups: tuple[str, ...] = ()


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str) -> User:
    """Return the user that a ServiceAccount is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


class Tokens:
    """The bearer tokens that are valid now. `clock` is monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._users: dict[str, tuple[User, float | None]] = {}

    def issue(self, user: User, *, token: str = "", lifetime_s: float | None = None) -> str:
        """Make a token for a user, or register the one that is given."""
        token = token or secrets.token_urlsafe(32)
        end = None if lifetime_s is None else self._clock() + lifetime_s
        self._users[token] = (user, end)
        return token

    def revoke(self, token: str) -> None:
        """Make a token worthless at once."""
        self._users.pop(token, None)

    def user(self, headers: Mapping[str, str]) -> User:
        """Find who sent a request; raise 401 for a token that is unknown or has expired."""
        sent = headers.get("Authorization")
        if sent is None:
            return ANONYMOUS
        scheme, _, token = sent.partition(" ")
        found = self._users.get(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise unauthorized()
        user, end = found
        if end is not None and self._clock() >= end:
            del self._users[token.strip()]
            raise unauthorized()
        return user


def impersonated(headers: Mapping[str, str], groups: Sequence[str]) -> User | None:
    """Return the user whom the sender wants to be, if anyone."""
    name = headers.get("Impersonate-User")
    if not name:
        return None
    if groups:
        return User(name, (*groups, AUTHENTICATED))
    parts = name.split(":")
    if name.startswith("system:serviceaccount:") and len(parts) == 4:
        return service_account(parts[2], parts[3])
    return User(name, (AUTHENTICATED,))
