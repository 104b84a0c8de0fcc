//go:build linux

package e2e

import (
	"fmt"
	"os"
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
		"stamps":   runStamps,
		"contents": runContents,
		"held":     runHeld,
		"kept":     runKept,
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
	wd, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	repoDir = filepath.Dir(filepath.Dir(wd))
	dir, remove, err := cluster.Programs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer remove()
	binDir = dir
	if noFuse = cluster.FuseProblem(); noFuse != "" && os.Getenv("WOLFDISK_REQUIRE_FUSE") != "" {
		fmt.Fprintln(os.Stderr, "FUSE is not usable:", noFuse)
		return 1
	}
	return m.Run()
}
