#!/bin/sh
# Before `make demo-mysql`: as root on a machine with apt-get, install what the experiment uses and is missing
# (MariaDB, sysbench, Prometheus, a mkfs), and say so. Called with the demo's own arguments. Nothing that is installed
# here is started, now or at the next boot; what was there before is left alone. Where it cannot be installed one line
# says so, and the demo goes on with SQLite and the same two loads, or without Prometheus.
set -eu

wants_mariadb=yes
previous=
for argument in "$@"; do
    case $previous$argument in
        --help | -h) exit 0 ;;
        --database=sqlite | --databasesqlite) wants_mariadb=no ;;
    esac
    previous=
    if [ "$argument" = --database ]; then previous=$argument; fi
done

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
missing=
want() { # program, package
    if ! command -v "$1" >/dev/null 2>&1; then missing="$missing $2"; fi
}
want mkfs.xfs xfsprogs
want prometheus prometheus
if [ $wants_mariadb = yes ]; then
    want mariadbd mariadb-server
    want mariadb mariadb-client
    want sysbench sysbench
fi
missing=${missing# }
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing here: $missing (installing needs root and apt-get): the demo goes on with what there is" >&2
    exit 0
fi

# Debian's packages start their services unless this file forbids it. One that is there already is kept.
policy=/usr/sbin/policy-rc.d
ours=
if [ ! -e "$policy" ]; then
    ours=$policy
    trap 'rm -f "$ours"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "missing here: $missing: installing (apt-get install)" >&2
export DEBIAN_FRONTEND=noninteractive
install() { # $missing is a list of words
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing </dev/null >/dev/null 2>&1
}
# A fresh machine has no lists of packages yet.
if ! install && ! { apt-get update -qq >/dev/null 2>&1 && install; }; then
    echo "not all of it could be installed (try: apt-get install $missing): the demo goes on with what there is" >&2
    exit 0
fi
if command -v systemctl >/dev/null 2>&1; then
    for package in $missing; do
        case $package in
            mariadb-server) systemctl disable mariadb >/dev/null 2>&1 || true ;;
            prometheus) systemctl disable prometheus prometheus-node-exporter >/dev/null 2>&1 || true ;;
        esac
    done
fi
