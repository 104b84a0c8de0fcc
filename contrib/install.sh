#!/bin/sh
# Puts WolfDisk in place: "make install" from the source tree, or this script from an
# unpacked package, as root. Nothing of a configuration that is there is touched, and no
# service is started or enabled.
#
#   contrib/install.sh [--prefix DIR] [--sbindir DIR] [--destdir DIR] [--bin DIR] [--system NAME]
#
#   --prefix    /usr/local   programs, documents, units, rc.d scripts
#   --sbindir   /sbin        where mount(8) looks for its helpers (Linux)
#   --destdir                folder that stands for /, for packagers
#   --bin                    where the programs lie; the folder above this one, or its bin
#   --system    of uname -s  Linux or FreeBSD
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local sbindir=/sbin destdir='' bin='' system=$(uname -s)
while test $# -gt 0; do
	if test $# = 1; then
		echo "install.sh: $1: has no value, or is no option" >&2
		exit 64
	fi
	case $1 in
	--prefix) prefix=$2 ;;
	--sbindir) sbindir=$2 ;;
	--destdir) destdir=$2 ;;
	--bin) bin=$2 ;;
	--system) system=$2 ;;
	*)
		echo "install.sh: $1: no such option" >&2
		exit 64
		;;
	esac
	shift 2
done
for dir in "$prefix" "$sbindir"; do
	case $dir in
	*[!A-Za-z0-9/._+-]* | "" | [!/]*)
		echo "install.sh: $dir: must be an absolute path without anything special" >&2
		exit 64
		;;
	esac
done
case $system in
Linux | FreeBSD) ;;
*)
	echo "install.sh: nothing is known of $system: only Linux and FreeBSD" >&2
	exit 69
	;;
esac
if test -z "$bin"; then
	bin=$here/..
	test -x "$bin/wolfdisk" || bin=$here/../bin
fi

# put MODE FILE TARGET: copies, with the prefix in place of the one that is written there.
put() {
	mkdir -p "$destdir$(dirname "$3")"
	sed "s|/usr/local|$prefix|g" "$2" >"$destdir$3.new"
	chmod "$1" "$destdir$3.new"
	mv -f "$destdir$3.new" "$destdir$3"
	echo "$3"
}

mkdir -p "$destdir$prefix/bin"
for program in wolfdisk wolfdisk-master wolfdisk-slave wolfdiskctl; do
	# by a new name, so that one that runs can be replaced
	cp "$bin/$program" "$destdir$prefix/bin/$program.new"
	chmod 755 "$destdir$prefix/bin/$program.new"
	mv -f "$destdir$prefix/bin/$program.new" "$destdir$prefix/bin/$program"
	echo "$prefix/bin/$program"
done
for page in "$here"/../README.md "$here"/../docs/*.md; do
	put 644 "$page" "$prefix/share/doc/wolfdisk/$(basename "$page")"
done
case $system in
Linux)
	for unit in "$here"/systemd/*.service; do
		put 644 "$unit" "$prefix/lib/systemd/system/$(basename "$unit")"
	done
	put 755 "$here/mount.wolfdisk" "$sbindir/mount.wolfdisk"
	test -e "$destdir/etc/default/wolfdisk" || put 644 "$here/default/wolfdisk" /etc/default/wolfdisk
	;;
FreeBSD)
	for script in "$here"/rc.d/*; do
		put 755 "$script" "$prefix/etc/rc.d/$(basename "$script")"
	done
	put 755 "$here/libexec/run" "$prefix/libexec/wolfdisk/run"
	;;
esac
