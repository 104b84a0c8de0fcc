//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

// TestMountKeys: each key of [mount] changes what it says, and nothing else. What a row
// prints is what users 0 and 2000 meet.
func TestMountKeys(t *testing.T) {
	t.Parallel()
	needRoot(t)
	b := newBed(t)
	b.must(b.Start(readyTimeout))
	b.shell(`echo content >file; cp "$(command -v id)" id; chown 1000 id; chmod 4755 id; mknod null c 1 3; chmod 666 null; chmod 755 .`)
	b.must(b.Leader.Stop())
	const script = `
		cd "$0"
		try() { "$@" >/dev/null 2>&1 && echo yes || echo no; }
		user() { setpriv --reuid 2000 --regid 2000 --clear-groups "$@"; }
		echo read $(try cat file) $(try user cat file)
		echo write $(try touch file) $(try touch new && rm -f new)
		echo suid $(user ./id -u || :)
		echo dev $(try sh -c 'echo x >null') $(try user sh -c 'echo x >null')`
	for _, c := range []struct{ name, env, want string }{
		{"defaults", "WOLFDISK_MOUNT_DIR=", "read yes yes, write yes yes, suid 2000, dev no no"},
		{"read_only", "WOLFDISK_MOUNT_READ_ONLY=true", "read yes yes, write no no, suid 2000, dev no no"},
		{"allow_other", "WOLFDISK_MOUNT_ALLOW_OTHER=false", "read yes no, write yes yes, suid, dev no no"},
		{"suid", "WOLFDISK_MOUNT_SUID=true", "read yes yes, write yes yes, suid 1000, dev no no"},
		{"dev", "WOLFDISK_MOUNT_DEV=true", "read yes yes, write yes yes, suid 2000, dev yes yes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b.on(t)
			before := b.Leader.Env
			defer func() { b.Leader.Env = before }()
			if !strings.HasSuffix(c.env, "=") {
				b.Leader.Env = append(append([]string{}, before...), c.env)
			}
			b.must(b.Leader.StartReady(readyTimeout))
			r := b.ok(cluster.Run("sh", "-euc", script, b.Leader.Mount))
			if got := strings.ReplaceAll(strings.TrimSpace(r.Stdout), "\n", ", "); got != c.want {
				t.Errorf("%s:\n got %s\nwant %s\n%s", c.env, got, c.want, r.Stderr)
			}
			b.must(b.Leader.Stop())
		})
	}
}

// TestUnprivileged: an ordinary user runs a leader and a follower over files of his own,
// without allow_other, and nobody else gets in, not even root. /dev/fuse is as it is on
// most machines, where everybody may open it.
func TestUnprivileged(t *testing.T) {
	needRoot(t)
	needFuse(t)
	dir, err := os.MkdirTemp("", "wolfdisk-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	leader, err := cluster.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	follower, err := cluster.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	r := cluster.Cmd{
		Args:    []string{"unshare", "--mount", "--propagation", "private", "sh", "-euc", unprivileged, dir, binDir, leader, follower},
		Timeout: 2 * time.Minute,
	}.Run()
	if err := r.OK(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, r.Stdout, r.Stderr)
	}
	for _, name := range []string{"old", "made/deep/file", "hard"} {
		if _, err := os.Lstat(filepath.Join(dir, "data", name)); err != nil {
			t.Errorf("after the stop: %v", err)
		}
	}
}

const unprivileged = `
	dir=$0 bin=$1 leader=$2 follower=$3
	chmod 755 "$dir"
	mkdir "$dir/data" "$dir/mirror" "$dir/home" "$dir/dev"
	mount -t tmpfs -o mode=755 none "$dir/dev" # where devices work, unlike on some /tmp
	mknod "$dir/dev/fuse" c 10 229
	chmod 666 "$dir/dev/fuse"
	mount --bind "$dir/dev/fuse" /dev/fuse
	echo old >"$dir/data/old"
	chown -R 1000:1000 "$dir/data" "$dir/mirror" "$dir/home"
	exec 2>&1
	user() {
		setpriv --reuid 1000 --regid 1000 --clear-groups env -i PATH="$PATH" HOME="$dir/home" \
			WOLFDISK_MOUNT_ALLOW_OTHER=false WOLFDISK_LOG_LEVEL=warn WOLFDISK_MOUNT_DRIVER=bazil "$@"
	}
	user "$bin/wolfdisk-master" -m "$dir/data" --id a --state-dir "$dir/home/a" --bind "$leader" & a=$!
	user "$bin/wolfdiskctl" --state-dir "$dir/home/a" --timeout 30s status --wait >/dev/null || {
		sleep 2; user "$bin/wolfdiskctl" --state-dir "$dir/home/a" --timeout 30s status --wait >/dev/null; }
	user "$bin/wolfdisk-slave" -m "$dir/mirror" --id b --state-dir "$dir/home/b" --bind "$follower" -c "$leader" & b=$!
	trap 'kill $a $b 2>/dev/null || :' EXIT
	user sh -euc '
		cd "$0/data"
		[ "$(cat old)" = old ]
		mkdir -p made/deep; echo content >made/deep/file; ln made/deep/file hard; ln -s old link; mkfifo pipe
		touch -d 1950-01-01T00:00:00 old; chmod 4711 hard; chmod 0 made/deep/file; mv link soft; seq 20000 >numbers; truncate -s 10 numbers
		for refused in "chown 0 old" "chgrp 4242 old" "mknod node c 1 3"; do
			if $refused 2>/dev/null; then echo "$refused: not refused"; exit 1; fi
		done' "$dir"
	if ls "$dir/data" 2>/dev/null; then echo "root got in"; exit 1; fi
	sleep 1
	user "$bin/wolfdiskctl" --state-dir "$dir/home/b" --timeout 30s status --wait --max-lag 0 >/dev/null
	user "$bin/wolfdiskctl" --state-dir "$dir/home/a" --timeout 30s verify
	user sh -euc '
		cd "$0"
		for of in data mirror; do
			(cd $of && find . -printf "%P %y %i %m %U %G %n %T@ %l\n" | sort) >home/$of
		done
		cmp home/data home/mirror
		if touch mirror/new 2>/dev/null; then echo "the follower takes changes"; exit 1; fi' "$dir"
	user "$bin/wolfdiskctl" --state-dir "$dir/home/b" stop
	user "$bin/wolfdiskctl" --state-dir "$dir/home/a" stop
	trap - EXIT
	wait $a
	wait $b
	[ "$(stat -c '%u %a %Y' "$dir/data/hard")" = "1000 0 $(stat -c %Y "$dir/data/made/deep/file")" ]
	[ "$(stat -c %Y "$dir/data/old")" -lt 0 ]`
