#!/bin/sh
# Create the virtual environment named by $1 and install the locked packages and the project into it.
# Bare Debian has python3 without the venv module: as root it is installed, otherwise the line to run is printed.
set -eu
venv=$1
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $python is older than 3.11 ($("$python" -V 2>&1)); set PYTHON to a newer one, as in: make setup PYTHON=python3.12" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: $python has no venv module; installing the Debian package python3-venv"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    else
        echo "setup: $python has no venv module. As root, run: apt-get install python3-venv   (or your system's equivalent)" >&2
        exit 1
    fi
fi
echo "setup: creating $venv with $("$python" -V)"
rm -rf "$venv"
"$python" -m venv "$venv"
# The lock is the whole list, so pip resolves nothing (--no-deps): an older pip that does so fails on the day a package
# that another one asks for with an extra ("coverage[toml]") has a release newer than the locked one.
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
"$venv/bin/python" -m pip check -q --disable-pip-version-check >&2
# Where Python is told to write no compiled files (PYTHONDONTWRITEBYTECODE) each start would compile all modules anew.
"$venv/bin/python" -m compileall -q src
