#!/bin/sh
# Installs what is missing of the Debian packages that provide the given programs or
# files, when it may; otherwise says how and exits with 69.
#
#   tests/need.sh fuse3 gcc ...
set -eu

# what of a package must be there for it to count as installed
probe() {
	case $1 in
	fuse3) command -v fusermount3 ;;
	libc6-dev) test -e /usr/include/stdlib.h ;;
	attr) command -v setfattr ;;
	acl) command -v setfacl ;;
	e2fsprogs) command -v mkfs.ext4 ;;
	iproute2) command -v ip ;;
	util-linux) command -v unshare && command -v nsenter && command -v setpriv ;;
	procps) command -v ps && command -v pgrep ;;
	glusterfs-server) command -v glusterd ;;
	glusterfs-client) command -v glusterfs ;;
	postgresql) ls /usr/lib/postgresql/*/bin/initdb ;;
	awscli) command -v aws ;;
	nodejs) command -v node ;;
	python3-boto3) python3 -c 'import boto3' ;;
	ca-certificates) test -e /etc/ssl/certs/ca-certificates.crt ;;
	*) command -v "$1" ;;
	esac >/dev/null 2>&1
}

missing=
for package in "$@"; do
	probe "$package" || missing="$missing $package"
done
test -n "$missing" || exit 0

install="apt-get update && apt-get install -y --no-install-recommends$missing"
if test "$(id -u)" != 0; then
	echo "Missing:$missing. As root: $install" >&2
	exit 69
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "Missing:$missing. Install them with this system's package manager; on Debian: $install" >&2
	exit 69
fi
echo "Missing:$missing. Installing."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # one word each
if ! { apt-get -o DPkg::Lock::Timeout=120 update && apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
	tail -n 20 "$log" >&2
	echo "Could not install$missing. By hand: $install" >&2
	exit 69
fi
for package in $missing; do
	if ! probe "$package"; then
		echo "Package $package was installed, but what is needed of it is not there." >&2
		exit 69
	fi
done
