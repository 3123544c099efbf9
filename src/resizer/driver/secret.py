"""What is kept of a volume's secret: enough to tell the right one again, too little to learn it.

The map of the request is put in one order and derived with scrypt and a salt of the volume's own. A secret enters
this module and leaves it only as such a mark.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

import msgspec

from resizer.driver.volumes import SecretMark

_SALT_BYTES = 16


def _derive(secret: Mapping[str, str], salt: bytes) -> bytes:
    canonical = msgspec.json.encode(sorted(secret.items()))
    return hashlib.scrypt(canonical, salt=salt, n=4096, r=8, p=1, dklen=32)


def mark_secret(secret: Mapping[str, str]) -> SecretMark | None:
    """Return the mark to remember, None for an empty secret. Takes some 10 ms of CPU: call it in a thread."""
    if not secret:
        return None
    salt = secrets.token_bytes(_SALT_BYTES)
    return SecretMark(salt=salt.hex(), digest=_derive(secret, salt).hex())


def secret_matches(secret: Mapping[str, str], mark: SecretMark | None) -> bool:
    """Return whether `secret` is the one the mark was made of. Takes some 10 ms of CPU: call it in a thread."""
    if mark is None or not secret:
        return mark is None and not secret
    derived = _derive(secret, bytes.fromhex(mark.salt))
    return hmac.compare_digest(derived, bytes.fromhex(mark.digest))
