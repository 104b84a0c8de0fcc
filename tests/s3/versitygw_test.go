package s3

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// tester finds the program whose tests are run; WDTEST_VERSITYGW names it.
func tester(t *testing.T) string {
	t.Helper()
	name := os.Getenv("WDTEST_VERSITYGW")
	if name == "" {
		return find(t, "versitygw")
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		t.Fatalf("WDTEST_VERSITYGW: %v", err)
	}
	return path
}

// lines are those of a file that are not empty and no comments, by their first word.
func lines(t *testing.T, name string) (words []string, rest map[string]string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	rest = map[string]string{}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		word, tail, _ := strings.Cut(line, " ")
		if _, twice := rest[word]; twice {
			t.Errorf("%s names %s twice", name, word)
		}
		words = append(words, word)
		rest[word] = strings.TrimSpace(tail)
	}
	return words, rest
}

// leastPass is what must pass in the long form, whatever the list of expected failures
// says, so that it cannot grow unnoticed. versitygw itself passes 412.
const leastPass = 381

// shortPart is which part of the tests the short form runs: one in so many.
const shortPart = 9

// TestVersitygwLists holds the two lists to one another, also where the program is not
// installed: every failure that is expected is of a test that is run, and has a reason.
func TestVersitygwLists(t *testing.T) {
	names, _ := lines(t, "versitygw.txt")
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	failing, reasons := lines(t, "versitygw-expected.txt")
	for _, name := range failing {
		if !known[name] {
			t.Errorf("%s is expected to fail and never run", name)
		}
		if len(reasons[name]) < 10 {
			t.Errorf("%s is expected to fail for no reason", name)
		}
	}
	if n := len(names) - len(failing); n < leastPass {
		t.Errorf("%d of %d tests are expected to pass; at least %d have to", n, len(names), leastPass)
	}
}

// TestVersitygw runs versitygw's tests, one by one: exactly those may fail that are
// expected to. Its tests use the same names of buckets every time, and leave them behind
// when they fail, so the volume is emptied after each.
func TestVersitygw(t *testing.T) {
	program := tester(t)
	names, _ := lines(t, "versitygw.txt")
	_, expected := lines(t, "versitygw-expected.txt")
	r := newRig(t, "chunks")
	r.stop()
	r.region = "us-east-1"
	r.start()
	r.keys.Store(&sig.Key{Access: "wolfmain", Secret: "wolfmainsecret"})
	passed, ran := 0, 0
	for i, name := range names {
		if testing.Short() && i%shortPart != 0 {
			continue
		}
		ran++
		why, fails := expected[name]
		out, err := r.tester(program, name)
		switch {
		case err != nil && !fails:
			t.Errorf("%s: %v\n%s", name, err, out)
		case err == nil && fails:
			t.Errorf("%s passes: take it out of the failures that are expected (%s)", name, why)
		}
		if err == nil {
			passed++
		}
		r.empty()
	}
	t.Logf("%d of %d tests pass", passed, ran)
	if !testing.Short() && passed < leastPass {
		t.Errorf("%d tests pass; at least %d have to", passed, leastPass)
	}
}

// tester runs one test of the program.
func (r *rig) tester(program, name string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "test", "-a", "wolfmain", "-s", "wolfmainsecret", "-e", r.url, name)
	cmd.Dir = r.t.TempDir()
	cmd.Env = []string{"HOME=" + cmd.Dir, "TMPDIR=" + cmd.Dir, "NO_PROXY=127.0.0.1"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil && !strings.Contains(out.String(), "PASS") {
		err = errors.New("the tester knows no such test")
	}
	return out.String(), err
}

// empty removes all that is in the volume.
func (r *rig) empty() {
	r.t.Helper()
	r.emptyDir(volume.RootIno)
	if err := r.srv.Tidy(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) emptyDir(dir volume.Ino) {
	r.t.Helper()
	var list []volume.DirEntry
	err := r.lead.ReadNames(r.t.Context(), dir, "", func(e volume.DirEntry) bool {
		list = append(list, e)
		return true
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range list {
		kind := volume.OpUnlink
		if e.Type == volume.ModeDir {
			r.emptyDir(e.Ino)
			kind = volume.OpRmdir
		}
		if _, err := r.lead.Do(r.t.Context(), &volume.Request{Kind: kind, Caller: volume.Caller{Front: volume.FrontFUSE}, Parent: dir, Name: e.Name}); err != nil {
			r.t.Fatalf("%s: %v", e.Name, err)
		}
	}
}
