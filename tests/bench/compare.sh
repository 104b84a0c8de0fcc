#!/bin/sh
# Measures WolfDisk beside lsyncd and GlusterFS, and prints the table of README.md.
#
#   tests/bench/compare.sh [--short] [--readme]
#
#   --short   small sizes: does it run, not how fast
#   --readme  put the table into README.md
#
# It needs root. Missing Debian packages are installed, their services are not started.
# All mounts, network devices and processes live in namespaces that end with this script,
# however it ends; the rest is one folder below ${TMPDIR:-/tmp}. The caches of the machine
# are dropped (/proc/sys/vm/drop_caches).
set -eu
cd "$(dirname "$0")/../.."

short=''
document=''
bin=${WDTEST_BIN:-bin}
for word in "$@"; do
	case $word in
	--short) short=--short ;;
	--readme) document=--document=README.md ;;
	*)
		sed -n 's/^# \{0,1\}//; 2,12p' "$0" >&2
		exit 64
		;;
	esac
done
if test "$(id -u)" != 0; then
	echo "compare.sh: it mounts and makes network namespaces: run it as root" >&2
	exit 69
fi

dir=''
child=''
policy=''
# shellcheck disable=SC2317,SC2329 # called by the trap
clean() {
	trap - EXIT
	# unshare takes everything inside with it.
	if test -n "$child"; then
		kill -9 "$child" 2>/dev/null || :
		wait "$child" 2>/dev/null || :
	fi
	test -z "$policy" || rm -f "$policy"
	if test -n "$dir"; then
		rm -rf --one-file-system "$dir"
	fi
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Packages start what they install unless this says no.
if ! test -e /usr/sbin/policy-rc.d; then
	policy=/usr/sbin/policy-rc.d
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
tests/need.sh fuse3 fio tar attr acl rsync util-linux iproute2 lsyncd glusterfs-server glusterfs-client
if test -n "$policy"; then
	rm -f "$policy"
	policy=''
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/wdcompare.XXXXXX")
chmod 755 "$dir"
# In the background, so that a signal to this script is acted on at once.
# shellcheck disable=SC2086 # no word, or one
unshare --mount --net --pid --fork --kill-child --mount-proc \
	"$bin/test/bench" --bin "$bin" --compare "$dir" --json dist/compare.json $short $document &
child=$!
code=0
wait "$child" || code=$?
child=''
exit $code
