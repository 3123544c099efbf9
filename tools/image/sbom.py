"""List what is in the image: `python -m tools.image.sbom ARCHIVE OUT`, as CycloneDX 1.6 JSON.

In: an OCI archive (tools/image/archive.py). Read are the packages that are really installed in its root: Python's, by
their metadata in site-packages, each with the hash of the archive it came out of (the build notes these), and Debian's,
by dpkg's own list. No index is asked and no lock file is believed. The same image gives the same file, byte for byte.
"""

import json
import re
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PathDistribution, distributions
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from tools.image.archive import ArchiveError, read_image, unpack

PROGRAM: Final = "resizer"
_LICENSES: Final = LicenseFactory()
_CLASSIFIER: Final = "License :: "


def python_components(root: Path) -> Iterator[Component]:
    """Yield a component for each distribution in any site-packages or dist-packages below the root."""
    hashes = dict(_archive_hashes(root))
    for folder in sorted({*root.glob("opt/*/lib/python3*/site-packages"), *root.glob("usr/lib/python3*/*-packages"),
                          *root.glob("usr/local/lib/python3*/*-packages")}):  # fmt: skip
        for found in sorted(distributions(path=[str(folder)]), key=lambda each: _normal(each.name)):
            name, digest = _normal(found.name), hashes.get((_normal(found.name), found.version))
            yield Component(
                type=ComponentType.APPLICATION if name == PROGRAM else ComponentType.LIBRARY,
                name=name,
                version=found.version,
                purl=PackageURL("pypi", name=name, version=found.version),
                bom_ref=f"pypi/{name}@{found.version}",
                licenses=_repository(python_license(found)),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else None,
            )


def python_license(found: Distribution | PathDistribution) -> str:
    """Return the licence a distribution declares: as an SPDX expression, else its classifiers, else the free text."""
    metadata = found.metadata
    (expression,) = metadata.get_all("License-Expression") or ("",)
    if expression:
        return str(expression)
    names = [
        value.rpartition(" :: ")[2]
        for value in metadata.get_all("Classifier") or ()
        if value.startswith(_CLASSIFIER) and value != "License :: OSI Approved"
    ]
    text = "".join(metadata.get_all("License") or ()).strip()
    # Some put the whole licence into that field: that is no name.
    return " and ".join(names) or (text if 0 < len(text) < 80 and "\n" not in text else "")


def debian_components(root: Path) -> Iterator[Component]:
    """Yield a component for each package that dpkg has installed."""
    status = root / "var/lib/dpkg/status"
    for paragraph in status.read_text().split("\n\n") if status.exists() else ():
        fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") != "install ok installed":
            continue
        name, version = fields["Package"], fields["Version"]
        purl = PackageURL("deb", "debian", name, version, qualifiers={"arch": fields["Architecture"]})
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=purl,
            bom_ref=f"deb/{name}@{version}",
            licenses=_repository(_debian_license(root, name)),
        )


def python_itself(root: Path) -> Iterator[Component]:
    """Yield the interpreter where it is no Debian package, as in the python images."""
    for header in sorted(root.glob("usr/local/include/python3*/patchlevel.h")):
        if found := re.search(r'#define PY_VERSION\s+"([^"]+)"', header.read_text()):
            purl = PackageURL("generic", name="python", version=found[1])
            licenses = _repository("PSF-2.0")
            yield Component(name="python", version=found[1], purl=purl, bom_ref="python", licenses=licenses)


def _debian_license(root: Path, package: str) -> str:
    """Return the licences that a machine-readable copyright file names; "" where it is prose."""
    path = root / "usr/share/doc" / package / "copyright"
    text = path.read_text(errors="replace") if path.is_file() else ""
    if "Format:" not in text[:400]:
        return ""
    return " and ".join(sorted({name.strip() for name in re.findall(r"^License: *(\S.*)$", text, re.MULTILINE)}))


def _repository(license_: str) -> LicenseRepository | None:
    """Return the licence as an SPDX id or expression where it is one, else by its name."""
    return LicenseRepository([_LICENSES.make_from_string(license_)]) if license_ else None


def _archive_hashes(root: Path) -> Iterator[tuple[tuple[str, str], str]]:
    for path in root.glob("opt/*/share/resizer/wheels.sha256"):
        for line in path.read_text().splitlines():
            digest, file = line.split(maxsplit=1)
            name, version = file.split("-")[:2]
            yield (_normal(name), version), digest


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def document(root: Path, *, fingerprint: str) -> str:
    """Return the SBOM of this root; the fingerprint of the image makes its serial number."""
    parts: Iterable[Component] = [*python_components(root), *python_itself(root), *debian_components(root)]
    (program,) = (part for part in parts if part.name == PROGRAM)
    bom = Bom(components=(part for part in parts if part is not program))
    bom.metadata.component = program
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, fingerprint)
    bom.register_dependency(program, bom.components)
    written = json.loads(JsonV1Dot6(bom).output_as_string())
    # The time of writing is no property of the image.
    del written["metadata"]["timestamp"]
    return json.dumps(written, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write the SBOM and say how many packages it lists."""
    archive, out = Path(arguments[0]), Path(arguments[1])
    with tempfile.TemporaryDirectory(prefix="resizer-sbom-") as folder:
        root = Path(folder)
        try:
            image = read_image(archive)
        except ArchiveError as error:
            print(f"sbom: {error}", file=sys.stderr)  # noqa: T201 - the command's answer
            return 1
        unpack(image, root)
        text = document(root, fingerprint="".join(layer.digest for layer in image.layers))
    out.write_text(text)
    print(f"sbom: {text.count(chr(34) + 'purl' + chr(34))} packages in {out}")  # noqa: T201 - likewise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
