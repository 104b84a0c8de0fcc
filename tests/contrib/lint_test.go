package contrib

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// scripts are all files of the source tree that begin with "#!/bin/sh", and the stand-in
// for rc.subr.
func scripts(t *testing.T) (list []string) {
	t.Helper()
	for _, top := range []string{"contrib", "tests"} {
		err := filepath.WalkDir(filepath.Join(repoDir, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if err == nil && (strings.HasPrefix(string(text), "#!/bin/sh\n") || strings.HasSuffix(path, "rc.subr")) {
				list = append(list, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// TestShellcheck: no script has anything to complain about.
func TestShellcheck(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Fatalf("%v: tests/need.sh shellcheck installs it", err)
	}
	list := scripts(t)
	for _, want := range []string{"contrib/rc.d/wolfdisk_master", "contrib/rc.d/wolfdisk_slave", "contrib/libexec/run", "contrib/mount.wolfdisk"} {
		found := false
		for _, path := range list {
			found = found || path == filepath.Join(repoDir, want)
		}
		if !found {
			t.Errorf("%s is not among the scripts", want)
		}
	}
	for _, path := range list {
		if out, err := exec.Command("shellcheck", "-s", "sh", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		if out, err := exec.Command("sh", "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode()&0o111 == 0 && !strings.HasSuffix(path, "rc.subr") {
			t.Errorf("%s cannot be executed: %v", path, err)
		}
	}
}
