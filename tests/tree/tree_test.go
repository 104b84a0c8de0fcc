//go:build linux

package tree_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/tree"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func describe(t *testing.T, dir string) tree.Tree {
	t.Helper()
	var out bytes.Buffer
	must(t, tree.Write(&out, dir))
	parsed, err := tree.Parse(&out)
	must(t, err)
	return parsed
}

// fill makes one object of every type that needs no privilege.
func fill(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(at("d"), 0o755))
	must(t, os.WriteFile(at("d/file"), []byte("content"), 0o640))
	must(t, os.WriteFile(at("d/odd \n\t\xff name"), nil, 0o600))
	must(t, os.Link(at("d/file"), at("hard")))
	must(t, os.Symlink("d/file", at("soft")))
	must(t, unix.Mkfifo(at("fifo"), 0o600))
	for _, name := range []string{"d/file", "d/odd \n\t\xff name", "d", "."} {
		must(t, os.Chtimes(at(name), time.Unix(1, 0), time.Unix(1000, 123456789)))
	}
}

func TestEqualTreesHaveNoDifferences(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	fill(t, a)
	fill(t, b)
	must(t, os.Mkdir(filepath.Join(b, ".wolfdisk"), 0o700))
	must(t, os.Chtimes(b, time.Unix(1, 0), time.Unix(1000, 123456789)))
	ta, tb := describe(t, a), describe(t, b)
	delete(ta["soft"], "mtime") // two symbolic links are never made at the same time
	delete(tb["soft"], "mtime")
	delete(ta["fifo"], "mtime")
	delete(tb["fifo"], "mtime")
	if diff := tree.Diff(ta, tb, tree.Plain); diff != nil {
		t.Fatalf("differences:\n%s", strings.Join(diff, "\n"))
	}
	if len(ta) != 7 {
		t.Fatalf("%d entries, want 7", len(ta))
	}
	if ta["hard"]["sha256"] == "" || ta["hard"]["sha256"] != ta["d/file"]["sha256"] {
		t.Fatal("the second name of a file has no or another hash")
	}
}

func TestEveryChangeIsSeen(t *testing.T) {
	tests := []struct {
		name, want string
		change     func(dir string) error
	}{
		{"content", "sha256", func(d string) error { return os.WriteFile(d+"/d/file", []byte("Content"), 0) }},
		{"size", "size", func(d string) error { return os.Truncate(d+"/d/file", 3) }},
		{"mode", "mode", func(d string) error { return os.Chmod(d+"/d", 0o700) }},
		{"mtime by a nanosecond", "mtime", func(d string) error {
			return os.Chtimes(d+"/d/file", time.Unix(1, 0), time.Unix(1000, 123456790))
		}},
		{"ctime", "ctime", func(d string) error { return os.Chmod(d+"/d/file", 0o640) }},
		{"nlink", "nlink", func(d string) error { return os.Remove(d + "/hard") }},
		{"missing", "only in the first", func(d string) error { return os.Remove(d + "/soft") }},
		{"extra", "only in the second", func(d string) error { return os.Mkdir(d+"/extra", 0o700) }},
		{"target", "target", func(d string) error {
			if err := os.Remove(d + "/soft"); err != nil {
				return err
			}
			return os.Symlink("elsewhere", d+"/soft")
		}},
		{"inode", "ino", func(d string) error {
			if err := os.WriteFile(d+"/new", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(d+"/new", d+"/fifo")
		}},
		{"type", "type", func(d string) error {
			if err := os.Remove(d + "/fifo"); err != nil {
				return err
			}
			return os.Mkdir(d+"/fifo", 0o600)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			before := describe(t, dir)
			time.Sleep(15 * time.Millisecond) // the kernel's clock for ctimes is coarse
			must(t, tt.change(dir))
			diff := strings.Join(tree.Diff(before, describe(t, dir), tree.Rules{}), "\n")
			if !strings.Contains(diff, tt.want) {
				t.Fatalf("no %q among the differences:\n%s", tt.want, diff)
			}
		})
	}
}

func TestXattrs(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	before := describe(t, dir)
	if err := unix.Setxattr(filepath.Join(dir, "d"), "user.k", []byte{0, 9, 255}, 0); err == unix.EOPNOTSUPP {
		t.Skip("no user xattrs here")
	} else {
		must(t, err)
	}
	after := describe(t, dir)
	if got := after["d"]["xattrs"]; got != `"user.k":0009ff` {
		t.Fatalf("xattrs %s", got)
	}
	if diff := tree.Diff(before, after, tree.Plain); len(diff) != 1 {
		t.Fatalf("differences: %q", diff)
	}
}

func TestParseRefusesGarbage(t *testing.T) {
	for _, in := range []string{"unquoted\ttype=file\n", "\"a\"\ttype\n", "\"a\"\ttype=file\n\"a\"\ttype=file\n"} {
		if _, err := tree.Parse(strings.NewReader(in)); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}
