//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"wolfdisk/tests/cluster"
)

var (
	binDir  string // of the programs
	noFuse  string // why mounts are not possible here; empty if they are
	repoDir string // the source tree
)

func TestMain(m *testing.M) {
	cluster.Dispatch(cluster.Helpers(map[string]cluster.Helper{
		"op":       runOp,
		"mix":      runMix,
		"readonly": runReadOnly,
		"big":      runBig,
		"many":     runMany,
		"appender": runAppender,
		"synced":   checkSynced,
		"chain":    runChain,
	}))
	os.Exit(run(m))
}

func run(m *testing.M) int {
	cleaned, err := cluster.CleanStale()
	if err != nil {
		fmt.Fprintf(os.Stderr, "left over from an earlier run: %v\n", err)
		return 1
	}
	for _, dir := range cleaned {
		fmt.Fprintf(os.Stderr, "removed %s, left over from an earlier run\n", dir)
	}
	remove, err := findPrograms()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer remove()
	if noFuse = fuseProblem(); noFuse != "" && os.Getenv("WOLFDISK_REQUIRE_FUSE") != "" {
		fmt.Fprintln(os.Stderr, "FUSE is not usable:", noFuse)
		return 1
	}
	return m.Run()
}

func findPrograms() (remove func(), err error) {
	wd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	repoDir = filepath.Dir(filepath.Dir(wd))
	if binDir = os.Getenv("WDTEST_BIN"); binDir != "" {
		if _, err := os.Stat(filepath.Join(binDir, "wolfdisk-master")); err != nil {
			return nil, fmt.Errorf("WDTEST_BIN: %w (make build)", err)
		}
		return func() {}, nil
	}
	if binDir, err = os.MkdirTemp("", "wolfdisk-bin-"); err != nil {
		return nil, err
	}
	remove = func() { os.RemoveAll(binDir) }
	cmd := exec.Command("go", "build", "-o", binDir+"/", "./cmd/wolfdisk", "./cmd/wolfdisk-master", "./cmd/wolfdisk-slave", "./cmd/wolfdiskctl")
	cmd.Dir = repoDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		remove()
		return nil, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return remove, nil
}

func fuseProblem() string {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	if err := f.Close(); err != nil {
		return err.Error()
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return err.Error()
	}
	return ""
}
