package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAttributes: what a folder has it keeps, and a folder whose files have only their
// names and content has lost it.
func TestAttributes(t *testing.T) {
	for _, a := range attributes {
		t.Run(a.name, func(t *testing.T) {
			dir, bare, empty := t.TempDir(), t.TempDir(), t.TempDir()
			if err := a.make(dir); errors.Is(err, fs.ErrPermission) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) == 0 {
				t.Fatalf("made %v, %v", entries, err)
			}
			for _, e := range entries {
				content := []byte("text\n")
				if e.Name() == "sparse" {
					content = make([]byte, holeEnd+3)
				}
				if e.Name() == "mode" { // the one whose mode says something
					err = os.WriteFile(filepath.Join(bare, e.Name()), content, 0o666)
				} else {
					err = os.WriteFile(filepath.Join(bare, e.Name()), content, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !a.kept(dir, dir) {
				t.Error("lost where it was made")
			}
			if a.kept(dir, empty) {
				t.Error("kept in an empty folder")
			}
			if a.kept(dir, bare) && a.name != "names with any byte" {
				t.Error("kept where only names and content are")
			}
		})
	}
}

func TestFirstEqual(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "name")
	if err := os.WriteFile(name, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := listing(dir)
	if err != nil || len(want) != 1 {
		t.Fatalf("%v, %v", want, err)
	}
	// That it was there counts, although it becomes known later, when it has gone again.
	known := make(chan struct{})
	go func() {
		time.Sleep(200 * time.Millisecond)
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
		close(known)
	}()
	equal := func(got map[string]string) bool { return maps.Equal(got, want) }
	if took, err := firstEqual(dir, time.Now(), known, equal); err != nil || took > 0.15 {
		t.Errorf("after %v s, %v", took, err)
	}
	// What is not there yet is waited for.
	began := time.Now()
	go func() {
		time.Sleep(300 * time.Millisecond)
		if err := os.WriteFile(name, []byte("1"), 0o600); err != nil {
			t.Error(err)
		}
	}()
	took, err := firstEqual(dir, began, known, func(got map[string]string) bool { return len(got) == 1 })
	if err != nil || took < 0.25 {
		t.Errorf("after %v s, %v", took, err)
	}
}

func TestListingSeesChanges(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	at := time.Unix(1000, 0)
	write := func(text string, mtime time.Time) map[string]string {
		if err := errors.Join(os.WriteFile(name, []byte(text), 0o600), os.Chtimes(name, at, mtime)); err != nil {
			t.Fatal(err)
		}
		got, err := listing(dir)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := write("a", at)
	if maps.Equal(first, write("ab", at)) || maps.Equal(first, write("a", at.Add(time.Second))) || !maps.Equal(first, write("b", at)) {
		t.Error("size or time do not count, or more than they do")
	}
	if err := os.Mkdir(filepath.Join(dir, ".wolfdisk"), 0o700); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(first, write("a", at)) {
		t.Error("the reserved folder counts")
	}
}

func TestCellFormats(t *testing.T) {
	for v, want := range map[float64]string{0: "< 1 ms", 0.0042: "4.2 ms", 0.25: "250 ms", 1.26: "1.3 s", 42.4: "42 s"} {
		if got := seconds(v); got != want {
			t.Errorf("%v s: %q, want %q", v, got, want)
		}
	}
	for v, want := range map[int64]string{512: "0.5 KiB", 197 << 10: "197 KiB", 16 << 20: "16 MiB"} {
		if got := size(v); got != want {
			t.Errorf("%d bytes: %q, want %q", v, got, want)
		}
	}
	if got := probedCell(-1, "(read-only file system)"); got != "no (read-only file system)" {
		t.Errorf("%q", got)
	}
	if got := probedCell(42, "(old)"); got != "42 s" {
		t.Errorf("%q", got)
	}
}
