import hashlib
import io
import json
import os
import re
import subprocess
import tarfile

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tools.image import sbom
from tools.image.archive import ArchiveError, read_image, unpack
from tools.image.size import table

from tests.unit.deploy.metric_query import ROOT

CONTAINERFILE = (ROOT / "deploy" / "image" / "Containerfile").read_text()
SITE = "opt/resizer/lib/python3.11/site-packages"


def tar_of(files: dict[str, str]) -> bytes:
    """A tar stream of these files, owned by whoever runs the test."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as stream:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.gid = len(text), os.getuid(), os.getgid()
            stream.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


def archive_of(path, *layers: dict[str, str]):
    """An OCI archive with these layers, written to the path."""
    blobs: dict[str, str] = {}

    def add(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data.decode()
        return f"sha256:{digest}"

    digests = [add(tar_of(layer)) for layer in layers]
    config = add(json.dumps({"config": {"Env": ["A=b"]}}).encode())
    manifest = {"config": {"digest": config}, "layers": [{"digest": digest} for digest in digests]}
    blobs["index.json"] = json.dumps({"manifests": [{"digest": add(json.dumps(manifest).encode())}]})
    path.write_bytes(tar_of(blobs))
    return path


def installed(name: str, version: str, *metadata: str) -> dict[str, str]:
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *metadata]
    return {f"{SITE}/{name}-{version}.dist-info/METADATA": "\n".join(lines) + "\n"}


def write_root(folder, files: dict[str, str]):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def root(tmp_path):
    """A root with our program, two packages, and two Debian packages of which one is removed."""
    dpkg = (
        "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n\n"
        "Package: perl-base\nStatus: deinstall ok config-files\nVersion: 5.36\nArchitecture: amd64\n"
    )
    files = {
        **installed("resizer", "0.1.0", "License-Expression: Apache-2.0"),
        **installed("uvloop", "0.23.0", "Classifier: License :: OSI Approved :: MIT License"),
        **installed("odd_name", "1.0"),
        "opt/resizer/share/resizer/wheels.sha256": f"{'a' * 64}  uvloop-0.23.0-cp311-cp311-linux.whl\n",
        "var/lib/dpkg/status": dpkg,
        "usr/share/doc/libc6/copyright": "Format: x\nLicense: LGPL-2.1\nLicense: BSD-3\n",
    }
    return write_root(tmp_path / "root", files)


def test_the_sbom_lists_what_is_installed_with_licences_and_hashes(root):
    """Every installed package of both kinds and no removed one; licence and hash where they are known."""
    document = json.loads(sbom.document(root, fingerprint="f"))
    parts = {part["purl"]: part for part in document["components"]}
    assert set(parts) == {"pkg:pypi/uvloop@0.23.0", "pkg:pypi/odd-name@1.0", "pkg:deb/debian/libc6@2.36-9?arch=amd64"}
    assert document["metadata"]["component"]["purl"] == "pkg:pypi/resizer@0.1.0"
    uvloop = parts["pkg:pypi/uvloop@0.23.0"]
    assert uvloop["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert uvloop["licenses"] == [{"license": {"name": "MIT License"}}]
    assert "licenses" not in parts["pkg:pypi/odd-name@1.0"]
    assert "hashes" not in parts["pkg:pypi/odd-name@1.0"]
    assert parts["pkg:deb/debian/libc6@2.36-9?arch=amd64"]["licenses"] == [{"license": {"name": "BSD-3 and LGPL-2.1"}}]


def test_the_sbom_is_valid_and_the_same_for_the_same_image(root):
    """CycloneDX's own schema takes it; nothing of the moment of writing is in it; another image has another serial."""
    first, again = (sbom.document(root, fingerprint="f") for _ in range(2))
    assert first == again
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
    serials = {json.loads(text)["serialNumber"] for text in (first, sbom.document(root, fingerprint="g"))}
    assert len(serials) == 2


def test_an_upper_layer_replaces_and_removes(tmp_path):
    """The root that the smoke run and the SBOM see is the one a node would see."""
    archive = archive_of(
        tmp_path / "image.tar", {"kept": "1", "d/gone": "1", "changed": "1"}, {"d/.wh.gone": "", "changed": "22"}
    )
    root = tmp_path / "root"
    root.mkdir()
    unpack(read_image(archive), root)
    found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    assert found == {"kept": "1", "changed": "22"}


def test_sizes_are_told_by_layer_and_package(tmp_path):
    """Each layer has a line with what weighs most in it, and the last line is their sum."""
    mib = "x" * 1024 * 1024
    archive = archive_of(tmp_path / "image.tar", {"usr/lib/a": mib}, {f"{SITE}/grpc/b": mib * 2, "opt/c/d": mib})
    lines = table(read_image(archive)).splitlines()
    assert lines[1].split()[1:] == ["1.0", "usr/lib", "1.0"]
    assert lines[2].split()[1:] == ["3.0", "grpc", "2.0,", "opt/c", "1.0"]
    assert lines[3].split()[1:] == ["4.0", "all"]


def test_what_is_no_archive_is_refused_in_words(tmp_path):
    """A missing file names the next step; another file is named with the cause."""
    with pytest.raises(ArchiveError, match="make image"):
        read_image(tmp_path / "absent.tar")
    (tmp_path / "other.tar").write_text("no tar")
    with pytest.raises(ArchiveError, match="no OCI archive"):
        read_image(tmp_path / "other.tar")


def test_the_build_context_has_what_the_containerfile_copies():
    """Every COPY from the context exists and is let through by the ignore file, which lets nothing else through."""
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+)$", CONTAINERFILE, re.MULTILINE) for word in line.split()[:-1]
    }
    ignore = (ROOT / "deploy" / "image" / "Containerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    assert "*" in ignore
    assert all((ROOT / path).exists() for path in copied)


def test_the_image_starts_as_the_peers_does():
    """The entry point takes flags, no arguments mean `run`, the user is left to the manifest, the peer's name works."""
    assert 'ENTRYPOINT ["/usr/local/bin/resizer"]' in CONTAINERFILE
    assert 'CMD ["run"]' in CONTAINERFILE
    assert not re.search(r"^USER ", CONTAINERFILE, re.MULTILINE)
    assert "/out/program/csi-resizer" in (ROOT / "deploy" / "image" / "install.sh").read_text()


def test_nothing_is_installed_without_its_hash():
    """Every download and every installation of a dependency asks for hashes; no index address stands in the build."""
    script = (ROOT / "deploy" / "image" / "install.sh").read_text()
    assert "--only-binary :all: --require-hashes" in script
    assert re.search(r"--require-hashes -r requirements\.lock", script)
    assert not re.search(r"index-url|https?://", script + CONTAINERFILE)


def test_a_build_that_cannot_work_here_is_skipped_in_one_line(tmp_path):
    """Without root the build says so, does nothing and succeeds: CI of any kind may call it."""
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", str(ROOT / "tools" / "build_image.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"image: skipped: needs root .*\n", done.stdout)
