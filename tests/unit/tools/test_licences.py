import pytest
from tools import licences


def test_the_list_is_current_and_every_licence_is_known():
    """docs/licences.md says what is in the lock and installed; an unknown or unfit licence fails here, by name."""
    assert licences.DOCUMENT.read_text() == licences.render(), "run make licences and read what changed"


@pytest.mark.parametrize(
    "expression", ["MIT", "Apache-2.0 OR GPL-3.0-only", "(MIT AND BSD-3-Clause)", "MIT License", "Apache-2.0 AND MIT"]
)
def test_what_may_be_shipped(expression):
    """Permissive licences pass, alone, together, or as one of a choice."""
    assert licences.judge("x", expression) == expression


@pytest.mark.parametrize(
    "expression",
    ["", "GPL-3.0-or-later", "MIT AND GPL-2.0-only", "AGPL-3.0", "Proprietary", "LGPL-3.0-or-later", "UNKNOWN"],
)
def test_what_somebody_has_to_look_at(expression):
    """Copyleft beyond a file, proprietary and unknown licences are refused with the package's name."""
    with pytest.raises(licences.LicenceError, match=r"^left-pad: "):
        licences.judge("left-pad", expression)


def test_a_package_that_is_not_installed_is_no_silent_gap():
    """The lock's packages are all listed, or the run says which one is missing."""
    with pytest.raises(licences.LicenceError, match="no-such-package is in the lock and not installed"):
        licences.licence_of("no-such-package")


def test_the_lock_is_read_whole():
    """Markers, extras and hashes do not hide a package, comments are none."""
    text = (
        "aa==1 \\\n    --hash=sha256:00\n    # via b\nb-c[d]==2.0 ; sys_platform == 'win32' \\\n    --hash=sha256:11\n"
    )
    assert [(r.name, str(r.specifier)) for r in licences.read_lock(text)] == [("aa", "==1"), ("b-c", "==2.0")]
