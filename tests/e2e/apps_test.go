//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

// postgres runs PostgreSQL's programs as an ordinary user, since they refuse root.
type postgres struct {
	b      *bed
	bin    string // folder of its programs
	user   string
	socket string // folder of its socket
}

// newPostgres finds PostgreSQL, which CI installs.
func newPostgres(b *bed) *postgres {
	b.t.Helper()
	needRoot(b.t)
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	b.must(err)
	if len(found) == 0 {
		if os.Getenv("CI") != "" {
			b.t.Fatal("PostgreSQL is not installed: .ci/run installs it")
		}
		b.t.Skip("PostgreSQL is not installed (Debian: apt install postgresql)")
	}
	slices.Sort(found)
	p := &postgres{b: b, bin: filepath.Dir(found[len(found)-1]), user: "postgres"}
	if _, err := user.Lookup(p.user); err != nil {
		p.user = "nobody"
	}
	// A socket's path has to be short.
	p.socket, err = os.MkdirTemp("/tmp", "wdpg")
	b.must(err)
	b.t.Cleanup(func() { os.RemoveAll(p.socket) })
	b.must(os.Chmod(p.socket, 0o777))
	return p
}

// run runs a script as the user, with the programs in the path. $D is the folder of data.
func (p *postgres) run(data, script string) string {
	p.b.t.Helper()
	full := fmt.Sprintf(`set -e
		exec setpriv --reuid=%[1]s --regid="$(id -g %[1]s)" --clear-groups env PATH=%[2]s:"$PATH" PGHOST=%[3]s PGUSER=tester PGDATABASE=postgres D=%[4]q sh -ec %[5]s`,
		p.user, p.bin, p.socket, data, "'"+strings.ReplaceAll(script, "'", `'\''`)+"'")
	return p.b.ok(cluster.Shell("/", full, 5*time.Minute)).Stdout
}

// start starts the server and waits until it takes requests; it recovers first if it has to.
func (p *postgres) start(data string) {
	p.b.t.Helper()
	p.run(data, `pg_ctl -D "$D" -s -w -t 120 -l `+p.socket+`/log -o "-c listen_addresses= -c unix_socket_directories=`+p.socket+` -c max_wal_size=64MB" start`)
}

// stop stops it: fast, or immediate, which is as good as a crash.
func (p *postgres) stop(data, how string) {
	p.b.t.Helper()
	p.run(data, `pg_ctl -D "$D" -s -w -t 120 -m `+how+` stop`)
}

// consistent asks for what pgbench keeps true whatever happens, and how many
// transactions are there.
func (p *postgres) consistent(data string) string {
	p.b.t.Helper()
	out := p.run(data, `psql -qAt -c "select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches),
		(select sum(tbalance) from pgbench_tellers), (select coalesce(sum(delta), 0) from pgbench_history)" -c "select count(*) from pgbench_history"`)
	lines := strings.Fields(out)
	if len(lines) != 2 {
		p.b.t.Fatalf("psql answers %q", out)
	}
	sums := strings.Split(lines[0], "|")
	if slices.Sort(sums); len(slices.Compact(sums)) != 1 {
		p.b.t.Fatalf("the sums differ: %s", lines[0])
	}
	return lines[1]
}

// checked verifies the checksum of every page of a server that is stopped.
func (p *postgres) checked(data string) {
	p.b.t.Helper()
	p.run(data, `pg_checksums --check -D "$D" >/dev/null`)
}

// TestPostgres: a database on the leader's mount, through crashes of the server; its copies
// are equal; and what a follower exports while it is written is a database that starts.
func TestPostgres(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	p := newPostgres(b)
	data := b.in("pg")
	b.ok(cluster.Run("chown", p.user, data))
	b.ok(cluster.Run("chmod", "700", data))
	p.run(data, `initdb -D "$D" -U tester --auth=trust --data-checksums --locale=C >/dev/null`)
	p.start(data)
	p.run(data, "pgbench -q -i -s 1 2>/dev/null >/dev/null")
	seconds, crashes := 1, 1
	if !testing.Short() {
		seconds, crashes = 15, 4
	}
	for range crashes {
		// The clients find their server gone in the middle of it.
		p.run(data, fmt.Sprintf(`pgbench -n -c 4 -j 2 -T 60 >/dev/null 2>&1 & job=$!
			sleep %d; pg_ctl -D "$D" -s -w -m immediate stop; wait $job || true`, seconds))
		p.start(data)
		b.t.Log("transactions: ", p.consistent(data))
	}

	done := make(chan string, 1)
	go func() { done <- p.run(data, fmt.Sprintf("pgbench -n -c 2 -T %d | grep failed", 3*seconds)) }()
	time.Sleep(time.Second)
	exported := filepath.Join(b.Dir, "exported")
	res, _ := b.export(b.follower(), exported)
	if out := <-done; !strings.Contains(out, "failed transactions: 0 ") {
		t.Errorf("pgbench says %q", out)
	}
	b.t.Log("transactions: ", p.consistent(data))
	p.stop(data, "fast")
	p.checked(data)
	b.verified()
	b.equal()

	// What the leader's server left of itself there is not the copy's.
	copied := filepath.Join(exported, "pg")
	b.ok(cluster.Run("rm", "-f", filepath.Join(copied, "postmaster.pid")))
	p.start(copied)
	b.t.Logf("transactions at version %d: %s", res.Version, p.consistent(copied))
	p.stop(copied, "fast")
	p.checked(copied)
}

// TestSQLiteKilled: writers of one SQLite database are killed at any moment; it stays whole,
// and whatever they were told is there.
func TestSQLiteKilled(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	rounds := 4
	if !testing.Short() {
		rounds = 40
	}
	for _, mode := range []string{"delete", "wal"} {
		dir := b.in("killed-" + mode)
		b.ok(cluster.Shell(dir, "sqlite3 db 'pragma journal_mode="+mode+"; create table t (id integer primary key, w text, v blob)' >/dev/null", time.Minute))
		for round := range rounds {
			// A line of told is written after the insert has returned.
			b.ok(cluster.Shell(dir, fmt.Sprintf(`
				groups=; trap 'kill -9 $groups 2>/dev/null || true' EXIT
				for w in 1 2 3; do
					setsid sh -c 'n=0; while :; do
						n=$((n + 1))
						sqlite3 -bail -cmd ".timeout 60000" db "insert into t (w, v) values ('\''%[1]d-$0-$n'\'', randomblob(3000))" && echo "%[1]d-$0-$n" >>told.$0
					done' $w & groups="$groups -$!"
				done
				sleep 0.%[2]d
				kill -9 $groups; wait 2>/dev/null || true
				sqlite3 -cmd '.timeout 60000' db 'pragma integrity_check' | grep -x ok
				cat told.* | sort -u >all; sqlite3 -cmd '.timeout 60000' db 'select w from t' | sort >there
				test -z "$(comm -23 all there)"`, round, 4+round%6), 2*time.Minute))
		}
		out := b.ok(cluster.Shell(dir, "wc -l <all; wc -l <there", time.Minute)).Stdout
		b.t.Logf("%s: told and there: %s", mode, strings.Join(strings.Fields(out), ", "))
	}
	b.verified()
	b.equal()
}

// TestBuild: a compiler and make at work on the mount, several jobs at once.
func TestBuild(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	dir := b.in("build")
	b.ok(cluster.Shell(dir, `
		for i in $(seq 1 40); do
			printf '#include "all.h"\nint f%d(int x) { return x + %d; }\n' $i $i >f$i.c
			echo "int f$i(int);" >>all.h
		done
		{ echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) { int x = 0;'
		  for i in $(seq 1 40); do echo "x = f$i(x);"; done
		  echo 'printf("%d", x); puts(""); return 0; }'; } >main.c
		sources=$(ls ./*.c)
		for s in $sources; do gcc -O1 -c "$s" & if test $(($(jobs -p | wc -l))) -ge 4; then wait; fi; done; wait
		ar rcs liball.a f*.o; gcc -o program main.o liball.a
		test "$(./program)" = 820
		strip -o stripped program; test "$(./stripped)" = 820
		rm ./*.o; mv program renamed; ./renamed >out; cmp out - <<-.
			820
		.`, 3*time.Minute))
	if !testing.Short() {
		// A part of the standard library is built too, with the cache there.
		b.ok(cluster.Cmd{Args: []string{"sh", "-ec", fmt.Sprintf(`cd %[1]q; mkdir cache tmp hello; cd hello
			printf 'module hello\n\ngo 1.24\n' >go.mod
			printf 'package main\nimport ("fmt"; "net/http")\nfunc main() { fmt.Println(http.StatusText(200)) }\n' >main.go
			GOCACHE=%[1]q/cache GOTMPDIR=%[1]q/tmp GOFLAGS=-mod=mod go build -o hello .
			test "$(./hello)" = OK`, dir)}, Timeout: 10 * time.Minute}.Run())
	}
	b.verified()
	b.equal()
}
