//go:build linux

package posix

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// test is one clause.
type test struct {
	name string
	run  func(*box)
	// mountOnly is why the clause is no other file system's to keep.
	mountOnly string
}

type table []test

// suite is the whole table, in the order in which it runs.
func suite() table {
	var all table
	for _, t := range []table{
		pathTable(), openTable, mkdirTable, mknodTable, linkTable, symlinkTable, unlinkTable, openUnlinkedTable,
		renameTable, renameFlagsTable, truncateTable, chmodTable, chownTable, timesTable, utimesTable,
		writeTable, appendTable, killprivTable, offsetTable, mmapTable, syncTable, rangeTable, copyTable,
		xattrTable, aclTable, permTable, stickyTable, lockTable, readdirTable, statfsTable, deepTable, limitTable, inodeTable,
	} {
		all = append(all, t...)
	}
	return all
}

const suiteTimeout = 3 * time.Minute

// runSuite runs the table in a folder: DIR plain|mount PATTERN. It says on its standard
// output what it begins and how that ended.
func runSuite(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want DIR plain|mount PATTERN, got %q", args)
	}
	unix.Umask(0o022)
	signal.Ignore(unix.SIGXFSZ, unix.SIGPIPE)
	for _, t := range suite() {
		if !strings.Contains(t.name, args[2]) {
			continue
		}
		if t.mountOnly != "" && args[1] == "plain" {
			fmt.Printf("skip %s %q\n", t.name, t.mountOnly)
			continue
		}
		fmt.Println("begin", t.name)
		began := time.Now()
		b := &box{dir: args[0] + "/" + strings.ReplaceAll(t.name, "/", "."), plain: args[1] == "plain"}
		if err := unix.Mkdir(b.dir, 0o755); err != nil {
			return fmt.Errorf("mkdir %s: %w", b.dir, err)
		}
		if err := runOne(t, b); err != nil {
			fmt.Printf("fail %s %q\n", t.name, err.Error())
		} else {
			fmt.Printf("ok %s \"%d ms\"\n", t.name, time.Since(began).Milliseconds())
		}
	}
	return nil
}

func runOne(t test, b *box) (err error) {
	defer func() {
		if r := recover(); r != nil {
			be, ok := r.(boxError)
			if !ok {
				panic(r)
			}
			err = be.error
		}
	}()
	t.run(b)
	return nil
}

// report makes a subtest of every case that a child ran.
func report(t *testing.T, r cluster.Result) {
	t.Helper()
	running, seen := "", 0
	sc := bufio.NewScanner(strings.NewReader(r.Stdout))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		what, rest, _ := strings.Cut(sc.Text(), " ")
		name, text, _ := strings.Cut(rest, " ")
		if what == "begin" {
			running = name
			continue
		}
		running = ""
		seen++
		t.Run(name, func(t *testing.T) {
			text, err := strconv.Unquote(text)
			switch {
			case what == "skip" && err == nil:
				t.Skip(text)
			case what == "ok" && err == nil:
				t.Log(text)
			default:
				t.Error(text)
			}
		})
	}
	if err := r.OK(); err != nil {
		t.Errorf("%s did not end: %v", running, err)
	}
	if seen == 0 {
		t.Error("no case ran")
	}
}

// only is a part of the names of the cases to run, for looking into one.
var only = os.Getenv("WDTEST_CASE")

// TestTableNames: names are unique and say operation and clause.
func TestTableNames(t *testing.T) {
	var names []string
	for _, c := range suite() {
		op, clause, ok := strings.Cut(c.name, "/")
		if !ok || op == "" || clause == "" || strings.ContainsAny(c.name, " _.") {
			t.Errorf("%q is not named op/clause-in-words", c.name)
		}
		if slices.Contains(names, c.name) {
			t.Errorf("%s occurs twice", c.name)
		}
		names = append(names, c.name)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: cases act as several users")
	}
}

// plainDir is a folder on ext4, if need be in an image of its own.
func plainDir(t *testing.T) string {
	t.Helper()
	dir, err := cluster.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.RemoveTemp(dir); err != nil {
			t.Error(err)
		}
	})
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.EXT4_SUPER_MAGIC {
		return dir
	}
	r := cluster.Shell(dir, `truncate -s 512M disk; mkfs.ext4 -q -I 256 disk; mkdir mnt; mount -o loop disk mnt; chmod 755 mnt`, time.Minute)
	if err := r.OK(); err != nil {
		t.Skip("no ext4 here, and no loop mounts: ", err)
	}
	return dir + "/mnt"
}

// TestPlain shows that the table is right.
func TestPlain(t *testing.T) {
	needRoot(t)
	t.Parallel()
	report(t, cluster.RunHelper(suiteTimeout, "suite", plainDir(t), "plain", only))
}
