# ruff: noqa: INP001 -- a program, no package
"""Write docs/licences.md: the licence of every package that a running Resizer is made of.

`make licences`. In: requirements.lock, and the metadata of the installed packages. Out: one table, in the lock's order.
A package whose licence cannot be told, or is none of those that Apache-2.0 can be shipped with, ends it with 1: then
somebody has to look. What the lock holds for other systems only is not installed here and stands in `NOT_HERE`.
"""

import re
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

LOCK: Final = Path("requirements.lock")
DOCUMENT: Final = Path("docs/licences.md")
ALLOWED: Final = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
        "Python-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
"""SPDX names. MPL-2.0 asks that changes to its own files be published; we change none."""

SPOKEN: Final = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""What packages say in words, in lower case, and the SPDX name."""

NOT_HERE: Final = {"colorama": "BSD-3-Clause"}
"""Packages for Windows, which the image never holds."""

HEAD: Final = """\
# Licences

What a running Resizer is made of (`requirements.lock`), with the licence that each package's own metadata names.
Resizer itself is under Apache-2.0. Written by `make licences`; a test fails when this page is out of date, or when a
licence is unknown or cannot be shipped beside Apache-2.0. Tools for development are not listed: they are not shipped.

| package | version | licence |
| --- | --- | --- |
"""


class LicenceError(Exception):
    """A package that must be looked at; the text names it and why."""


def main(arguments: Sequence[str]) -> int:
    """Write the document; with --check only say whether it is current."""
    try:
        text = render()
    except LicenceError as error:
        print(f"licences: {error}", file=sys.stderr)  # noqa: T201 -- a program
        return 1
    if "--check" in arguments:
        return 0 if DOCUMENT.is_file() and DOCUMENT.read_text(encoding="utf-8") == text else 1
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def render() -> str:
    """Return the document. Raises LicenceError."""
    rows = []
    for requirement in read_lock(LOCK.read_text(encoding="utf-8")):
        version = str(requirement.specifier).removeprefix("==")
        rows.append(f"| {requirement.name} | {version} | {licence_of(requirement.name)} |\n")
    return HEAD + "".join(rows)


def read_lock(text: str) -> list[Requirement]:
    """Return the packages of a lock file, in its order."""
    lines = (line.rstrip("\\").strip() for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line))
    return [Requirement(line) for line in lines]


def licence_of(name: str) -> str:
    """Return a package's licence as an SPDX expression. Raises LicenceError for one that cannot be shipped."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        if name not in NOT_HERE:
            raise LicenceError(
                f"{name} is in the lock and not installed: run make setup, or add it to NOT_HERE"
            ) from None
        return judge(name, NOT_HERE[name])
    classifiers = [c.rpartition("::")[2].strip() for c in found.get_all("Classifier", []) if c.startswith("License ::")]
    spoken = found.get("License-Expression") or found.get("License") or " OR ".join(classifiers)
    return judge(name, SPOKEN.get(spoken.strip().lower(), spoken.strip()))


def judge(name: str, expression: str) -> str:
    """Return the expression if every licence in it is allowed (one of the two beside OR is enough)."""
    choices = re.split(r"\s+OR\s+", expression.replace("(", " ").replace(")", " ").strip())
    for choice in choices:
        parts = [SPOKEN.get(part.strip().lower(), part.strip()) for part in re.split(r"\s+AND\s+", choice)]
        if all(part in ALLOWED for part in parts):
            return expression
    raise LicenceError(
        f"{name}: {expression or 'no licence in its metadata'}: look at it, then change ALLOWED or SPOKEN"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
