#!/bin/sh
# The steps of the image's build stage; `download` also runs outside, where pip has its index configured.
#
#   install.sh download DIR    fetch every locked package, with its hash, unless DIR has them already
#   install.sh dependencies    install them into /opt/resizer, strip and compile
#   install.sh program         build Resizer's wheel, install it, and split both into /out/dependencies and /out/program
#   install.sh check           pip's own check of what was installed, and whether it can be imported on this base
#
# PIP is the pip to download with, PIP_TARGET_PYTHON the image's Python where it is not the one that pip runs on.
set -eu

VENV=/opt/resizer

# pip out of its wheel: the base need not have one.
pip_from_wheel() {
    for wheel in wheels/build/pip-*.whl; do python3 "$wheel/pip" --disable-pip-version-check "$@"; done
}

download() {
    if ls "$1"/run/*.whl >/dev/null 2>&1; then return; fi
    set -- "$1" -qq --disable-pip-version-check --only-binary :all: --require-hashes \
        ${PIP_TARGET_PYTHON:+--python-version "$PIP_TARGET_PYTHON"}
    folder=$1
    shift
    # The lock is the whole list: nothing is left to resolve (tools/make_venv.sh says what goes wrong otherwise).
    ${PIP:-python3 -m pip} download "$@" --no-deps --dest "$folder/run" -r requirements.lock
    # What builds our own wheel, pinned by the development lock; nothing of it gets into the image.
    ${PIP:-python3 -m pip} download "$@" --dest "$folder/build" -c requirements-dev.lock pip hatchling
}

# Tests, C sources and headers are of no use at run time.
strip_packages() {
    find "$VENV/lib" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
    find "$VENV/lib" -type f \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' \) -delete
}

# Compiled once, never checked against the source's date: the root is read-only, and dates change in transport.
# Left out is what a running controller does not import: the API models (49 MB compiled; imported only for
# kubeconfigs with exec plugins) and the lexers.
compile_packages() {
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(kubernetes_asyncio|pygments)/' "$1"
}

dependencies() {
    python3 -m venv --without-pip "$VENV"
    pip_from_wheel --python "$VENV/bin/python3" install -qq --no-compile --no-index --find-links wheels/run \
        --no-deps --require-hashes -r requirements.lock
    strip_packages
    compile_packages "$VENV/lib"
    # Which archives these packages came out of, for the SBOM.
    mkdir -p "$VENV/share/resizer"
    (cd wheels/run && sha256sum -- *.whl) >"$VENV/share/resizer/wheels.sha256"
    mkdir -p /out/dependencies/opt
    cp -a "$VENV" /out/dependencies/opt/
}

program() {
    python3 -m venv --without-pip /tmp/backend
    pip_from_wheel --python /tmp/backend/bin/python3 install -qq --no-index --find-links wheels/build pip hatchling
    /tmp/backend/bin/python3 -m pip wheel -qq --disable-pip-version-check --no-deps --no-build-isolation \
        --no-index --wheel-dir /tmp/program .
    pip_from_wheel --python "$VENV/bin/python3" install -qq --no-compile --no-index --no-deps /tmp/program/*.whl

    site=$(echo "$VENV"/lib/python3*/site-packages)
    mkdir -p "/out/program$site" "/out/program$VENV/bin" "/out/program$VENV/share/resizer" /out/program/usr/local/bin
    cp -a "$site/resizer" "$site"/resizer-*.dist-info "/out/program$site/"
    compile_packages "/out/program$site/resizer"
    cp -a "$VENV/bin/resizer" "$VENV/bin/kubectl-volume_resize" "/out/program$VENV/bin/"
    cp -a LICENSE config/default.yaml "/out/program$VENV/share/resizer/"
    ln -s "$VENV/bin/resizer" /out/program/usr/local/bin/resizer
    ln -s "$VENV/bin/kubectl-volume_resize" /out/program/usr/local/bin/kubectl-volume_resize
    ln -s "$VENV/bin/resizer" /out/program/csi-resizer
}

case $1 in
    download) download "$2" ;;
    dependencies) dependencies ;;
    program) program ;;
    check)
        pip_from_wheel --python "$VENV/bin/python3" check
        # A base may lack a shared library that a package needs: better known now.
        "$VENV/bin/python3" -c 'import resizer.app, resizer.cli.main'
        ;;
    *)
        echo "install.sh: $1 is no step: download, dependencies, program or check" >&2
        exit 2
        ;;
esac
