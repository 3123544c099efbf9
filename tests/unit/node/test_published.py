import hashlib
import json
import os
import shutil

import pytest

from resizer.model.objects import Volume
from resizer.node.published import find_published

DRIVER, HANDLE = "d.csi", "vol-1"
NOTE = {"driverName": DRIVER, "volumeHandle": HANDLE, "specVolID": "pv-1"}


def volume(name="pv-1", *, mode="Filesystem", handle=HANDLE):
    return Volume(name, "u1", "7", driver=DRIVER, handle=handle, volume_mode=mode)


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "kubelet"
    (made / "pods").mkdir(parents=True)
    return made


def publish(root, uid="pod-1", *, name="pv-1", note=None):
    folder = root / "pods" / uid / "volumes/kubernetes.io~csi" / name
    (folder / "mount").mkdir(parents=True)
    (folder / "vol_data.json").write_text(json.dumps(NOTE if note is None else note))
    return folder


def publish_device(root, uid="pod-1", *, name="pv-1"):
    devices = root / "plugins/kubernetes.io/csi/volumeDevices"
    place = devices / "publish" / name / uid
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    data = devices / name / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / "vol_data.json").write_text(json.dumps(NOTE))
    return place


def test_every_pod_that_has_the_volume_is_found(root):
    """Two pods of one claim; other volumes, pods without it and stray files do not count."""
    publish(root, "pod-1")
    publish(root, "pod-2")
    publish(root, "pod-3", name="pv-2")
    (root / "pods/pod-4").mkdir()
    (root / "pods/stray").write_text("")
    found = find_published(root, volume())
    staging = root / f"plugins/kubernetes.io/csi/{DRIVER}" / hashlib.sha256(HANDLE.encode()).hexdigest() / "globalmount"
    assert [(one.pod_uid, one.path, one.staging_path) for one in found.places] == [
        (uid, str(root / f"pods/{uid}/volumes/kubernetes.io~csi/pv-1/mount"), str(staging))
        for uid in ("pod-1", "pod-2")
    ]
    assert found.problems == ()


def test_a_device_is_found_where_the_kubelet_publishes_it(root):
    """Block volumes: published path, staging path and note lie below volumeDevices."""
    place = publish_device(root)
    (one,) = find_published(root, volume(mode="Block")).places
    assert (one.path, one.pod_uid) == (str(place), "pod-1")
    assert one.staging_path == str(root / "plugins/kubernetes.io/csi/volumeDevices/staging/pv-1")


def test_nothing_published_is_no_problem(root):
    """No pod has it: nothing is found, and nothing is wrong."""
    assert find_published(root, volume()) == find_published(root, volume(mode="Block"))
    assert find_published(root, volume()).problems == ()


@pytest.mark.parametrize("name", ["..", ".", "../../etc", "a/b", "", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(root, name):
    """No name of an object may become a path."""
    found = find_published(root, volume(name))
    assert found.places == ()
    assert "is no name of a folder" in found.problems[0]


def test_a_handle_never_becomes_a_path(root):
    """The staging path holds the handle's digest, whatever the handle is."""
    publish(root, note={**NOTE, "volumeHandle": "../../../etc"})
    (one,) = find_published(root, volume(handle="../../../etc")).places
    assert ".." not in one.staging_path


@pytest.mark.parametrize("where", ["mount", "pv-1", "volumes", "pod-1"])
def test_a_link_out_of_the_directory_is_refused(root, tmp_path, where):
    """Wherever on the way it lies: the driver, which is root, is never led out of the kubelet's directory."""
    folder = publish(root)
    path = next(p for p in (folder / "mount", *(folder / "mount").parents) if p.name == where)
    outside = tmp_path / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)
    found = find_published(root, volume())
    assert found.places == ()
    assert "leads out of the kubelet's directory" in found.problems[0]


def test_a_link_within_the_directory_is_refused_too(root):
    """A pod's folder that is another pod's."""
    publish(root, "pod-1")
    (root / "pods/pod-2").symlink_to(root / "pods/pod-1")
    found = find_published(root, volume())
    assert [one.pod_uid for one in found.places] == ["pod-1"]
    assert "a link on the way leads elsewhere" in found.problems[0]


def test_the_directory_itself_may_be_a_link(root, tmp_path):
    """/var/lib/kubelet is a link on some hosts: the driver is given the real paths."""
    publish(root)
    link = tmp_path / "link"
    link.symlink_to(root)
    (one,) = find_published(link, volume()).places
    assert one.path.startswith(f"{root}/")


def test_a_device_that_is_a_link_is_refused(root):
    """A published device is a node, not a link to somewhere."""
    place = publish_device(root)
    place.unlink()
    place.symlink_to("/dev/null")
    assert "refused" in find_published(root, volume(mode="Block")).problems[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"driverName": "d.c', "cannot be read"),
        (b"", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"driverName": 7}', "cannot be read"),
        (b'{"driverName": "other.csi", "volumeHandle": "vol-1"}', "names driver 'other.csi', the volume is of d.csi"),
        (b'{"driverName": "d.csi", "volumeHandle": "vol-2"}', "names volume 'vol-2', not 'vol-1'"),
        (b"{}", "names driver ''"),
        (b'{"x": "' + b"y" * 100_000, "cannot be read"),
    ],
    ids=["cut", "empty", "no text", "a list", "odd type", "driver", "handle", "nothing", "huge"],
)
def test_a_note_that_is_not_this_volumes_is_explained(root, content, words):
    """The note's path, what is wrong with it, and no place; the pod beside it is found all the same."""
    folder = publish(root, "pod-1")
    publish(root, "pod-2")
    (folder / "vol_data.json").write_bytes(content)
    found = find_published(root, volume())
    assert [one.pod_uid for one in found.places] == ["pod-2"]
    (problem,) = found.problems
    assert words in problem
    assert str(folder / "vol_data.json") in problem
    assert len(problem) < 1000


def link(path):
    path.symlink_to("/etc/hostname")


def test_a_note_that_is_missing_or_no_file_is_explained(root):
    """Missing, a folder, a link, a pipe: none of them is waited for or followed."""
    for uid, spoil in (("a", None), ("b", os.mkdir), ("c", link), ("d", os.mkfifo)):
        note = publish(root, uid) / "vol_data.json"
        note.unlink()
        if spoil is not None:
            spoil(note)
    found = find_published(root, volume())
    assert found.places == ()
    assert len(found.problems) == 4


def test_a_directory_that_is_not_there_is_explained(tmp_path):
    """The host's directory is not mounted into the agent's pod."""
    found = find_published(tmp_path / "nope", volume())
    assert "cannot be read: No such file or directory" in found.problems[0]
