//go:build linux

package posix

import (
	"fmt"
	"os"
	"testing"

	"wolfdisk/tests/cluster"
)

var (
	binDir string // of the programs
	noFuse string // why mounts are not possible here; empty if they are
)

func TestMain(m *testing.M) {
	cluster.Dispatch(cluster.Helpers(map[string]cluster.Helper{
		"suite":    runSuite,
		"layout":   runLayout,
		"refuse":   runRefuse,
		"reading":  runReading,
		"holes":    runHoles,
		"removed":  runRemoved,
		"file":     runFile,
		"tree":     runTree,
		"crowd":    runCrowd,
		"fill":     runFill,
		"count":    runCount,
		"change":   runChange,
		"look":     runLook,
		"sparse":   runSparse,
		"forget":   runForget,
		"scribble": runScribble,
	}))
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if _, err := cluster.CleanStale(); err != nil {
		fmt.Fprintln(os.Stderr, "left over from an earlier run:", err)
		return 1
	}
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
