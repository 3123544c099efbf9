"""Credentials taken out of texts that others wrote: a plugin's complaint, an error that quotes a proxy's address.

Called where such a text becomes a message of ours. What is known (the values of a kubeconfig's plugin) is taken out
wherever it stands; of the rest, what has the shape of a credential: the user part of a URL, what follows `Bearer` or
`Basic`, a JSON web token.
"""

import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "[redacted]"
_SHORTEST: Final = 4
"""Shorter values are ordinary words; hiding them would garble the message and hide nothing."""
_SHAPES: Final = (
    # RFC 3986, section 3.2.1; a password may hold anything but what ends the authority.
    (("://",), re.compile(r"://[^\s/?#@]{1,512}@"), f"://{HIDDEN}@"),
    (
        ("bearer", "basic"),
        re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{12,8192}", re.IGNORECASE | re.ASCII),
        rf"\1 {HIDDEN}",
    ),
    (("eyj",), re.compile(r"\beyJ[\w-]{8,8192}\.[\w-]{4,8192}(?:\.[\w-]{0,8192})?"), HIDDEN),
)


def without_credentials(text: str, *, known: Iterable[str] = ()) -> str:
    """Return the text with these values, and all that looks like a credential, taken out."""
    for value in sorted({value for value in known if len(value) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    lower = text.casefold()
    for words, shape, instead in _SHAPES:
        if any(word in lower for word in words):  # hardly ever: each event's message comes by here
            text = shape.sub(instead, text)
    return text
