package contrib

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	repoDir string // the source tree
	binDir  string // of the programs
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "daemon" {
		standInDaemon(os.Args[1:])
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	wd, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	repoDir = filepath.Dir(filepath.Dir(wd))
	if binDir = os.Getenv("WDTEST_BIN"); binDir == "" {
		if binDir, err = os.MkdirTemp("", "wolfdisk-bin-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(binDir)
		cmd := exec.Command("go", "build", "-o", binDir+"/", "./cmd/wolfdisk", "./cmd/wolfdisk-master", "./cmd/wolfdisk-slave", "./cmd/wolfdiskctl")
		cmd.Dir = repoDir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
			return 1
		}
	}
	if _, err := os.Stat(filepath.Join(binDir, "wolfdisk-master")); err != nil {
		fmt.Fprintf(os.Stderr, "WDTEST_BIN: %v (make build)\n", err)
		return 1
	}
	// The daemons refuse variables of this prefix that they do not know.
	requireFuse = os.Getenv("WOLFDISK_REQUIRE_FUSE") != ""
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "WOLFDISK_") {
			os.Unsetenv(name)
		}
	}
	// A shell cannot catch a signal that was ignored when it began, as below nohup(1). What is caught
	// here, and dropped, children begin with as usual.
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	return m.Run()
}

// requireFuse says that a machine which cannot mount is to fail the tests.
var requireFuse bool

// contribPath is a file below contrib.
func contribPath(name string) string { return filepath.Join(repoDir, "contrib", name) }

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
