#!/bin/sh
# Build the image with buildah and no image registry: the base is a Debian root made by mmdebstrap, the packages are
# downloaded by this machine's pip, with its configuration, and go into the build as wheels.
#
# Then: the sizes, the SBOM, and the smoke run.
#
#   tools/build_image.sh [IMAGE]       default localhost/resizer:VERSION; needs root, Debian's buildah and mmdebstrap
#
# BASE=...      another base (from a registry you reach, with Python 3.11 or as PIP_TARGET_PYTHON says)
# SUITE=...     another Debian release for the base        PYTHON=...   the Python whose pip downloads
# OUT=...       folder for the OCI archive and the SBOM; build/image
#
# Where it cannot work (no root, no apt) it says so in one line and ends with 0: CI of any kind may call it.
set -eu
cd "$(dirname "$0")/.."

SUITE=${SUITE:-bookworm}
PYTHON=${PYTHON:-.venv/bin/python}
OUT=${OUT:-build/image}
export PIP_TARGET_PYTHON="${PIP_TARGET_PYTHON:-3.11}"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=${1:-localhost/resizer:$version}

skip() {
    echo "image: skipped: $1"
    exit 0
}

ensure_tools() {
    missing=
    for tool in buildah mmdebstrap; do command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"; done
    if [ -z "$missing" ]; then return; fi
    command -v apt-get >/dev/null 2>&1 || skip "needs$missing, and there is no apt-get to install it"
    echo "image: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 - two package names, two words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# The kernel's overlay filesystem is not there inside every container: then layers are plain copies.
choose_storage() {
    if [ -n "${STORAGE_DRIVER:-}" ]; then return; fi
    if probe=$(buildah from scratch 2>/dev/null) && buildah mount "$probe" >/dev/null 2>&1; then
        buildah rm "$probe" >/dev/null
    else
        buildah rm "${probe:-none}" >/dev/null 2>&1 || true
        export STORAGE_DRIVER=vfs
    fi
}

# A small Debian root: no apt, no documentation but the licences, no translations, no time zones (tzdata is a wheel).
# perl, debconf and openssl are there for the packages' own installation only, and go at its end.
make_base() {
    mmdebstrap --quiet --mode=root --variant=custom \
        --include=base-files,base-passwd,coreutils,dash,debianutils,diffutils,dpkg,findutils,grep,libc-bin,perl-base \
        --include=ca-certificates,libstdc++6,python3,sed \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
        --customize-hook='chroot "$1" dpkg --purge --force-depends --force-remove-essential openssl debconf perl-base' \
        "$SUITE" "$work/base.tar" 2>"$work/base.log" || {
        cat "$work/base.log" >&2
        return 1
    }
}

import_base() {
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/base.tar" / >/dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "$base" >/dev/null
}

[ "$(id -u)" = 0 ] || skip "needs root (buildah's chroot isolation and mmdebstrap)"
ensure_tools
choose_storage
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

base=${BASE:-localhost/resizer-base:$SUITE-$(date -u +%Y%m%d)-$(cksum <tools/build_image.sh | cut -d' ' -f1)}
base_job=
if [ -z "${BASE:-}" ] && ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    echo "image: making the base, Debian $SUITE"
    make_base &
    base_job=$!
fi

# What the Containerfile copies, and nothing else: the work tree stays as it is.
echo "image: downloading the locked packages"
mkdir -p "$work/context/deploy/image"
cp -a pyproject.toml README.md LICENSE requirements.lock requirements-dev.lock src config "$work/context/"
cp -a deploy/image/install.sh deploy/image/wheels "$work/context/deploy/image/"
find "$work/context" -name __pycache__ -exec rm -rf {} +
PIP="$PYTHON -m pip" sh deploy/image/install.sh download "$work/context/deploy/image/wheels"

if [ -n "$base_job" ]; then
    wait "$base_job"
    import_base
fi

echo "image: building $image on $base"
buildah bud --quiet --isolation chroot --layers --pull-never --file deploy/image/Containerfile --tag "$image" \
    --build-arg "BASE=$base" --build-arg "VERSION=$version" \
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    --build-arg "SOURCE=${SOURCE:-unknown}" "$work/context" >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}
mkdir -p "$OUT"
rm -f "$OUT/resizer.oci.tar"
buildah push --quiet "$image" "oci-archive:$OUT/resizer.oci.tar:$version"
"$PYTHON" -m tools.image.size "$OUT/resizer.oci.tar"
"$PYTHON" -m tools.image.sbom "$OUT/resizer.oci.tar" "$OUT/resizer.cdx.json"
"$PYTHON" -m tools.image.smoke "$OUT/resizer.oci.tar"
