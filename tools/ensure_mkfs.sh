#!/bin/sh
# Before `make demo` and `make bench`: as root on a machine with apt-get, install the package that makes the
# filesystem that is wanted, and say so. Called with their own arguments. In any other case nothing is done: the demo
# takes what is there and says which and why, or names the package, as the benchmark does.
set -eu

fs=xfs
backend=auto
while [ $# -gt 0 ]; do
    case $1 in
        --fs=*) fs=${1#--fs=} ;;
        --fs) fs=${2:-xfs}; [ $# -gt 1 ] && shift ;;
        --backend=*) backend=${1#--backend=} ;;
        --backend) backend=${2:-auto}; [ $# -gt 1 ] && shift ;;
        --help | -h) exit 0 ;;
    esac
    shift
done

if [ "$backend" = image ]; then fs=ext4; fi
case $fs in
    xfs | "") program=mkfs.xfs package=xfsprogs ;;
    btrfs) program=mkfs.btrfs package=btrfs-progs ;;
    ext4) program=mkfs.ext4 package=e2fsprogs ;;
    *) exit 0 ;; # the demo says which filesystems there are
esac

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
if command -v "$program" >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then exit 0; fi

echo "$program is missing: installing the Debian package $package (apt-get install $package)" >&2
export DEBIAN_FRONTEND=noninteractive
if apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1; then exit 0; fi
# A fresh machine has no lists of packages yet.
if apt-get update -qq >/dev/null 2>&1 &&
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1; then exit 0; fi
echo "$package could not be installed: going on with what is there" >&2
