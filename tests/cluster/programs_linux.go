package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Programs is the folder of the product's programs: $WDTEST_BIN, or one into which they
// are built now. To be called in the directory of a package two levels below the source
// tree, as tests are; remove undoes it.
func Programs() (dir string, remove func(), err error) {
	if dir = os.Getenv("WDTEST_BIN"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "wolfdisk-master")); err != nil {
			return "", nil, fmt.Errorf("WDTEST_BIN: %w (make build)", err)
		}
		return dir, func() {}, nil
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp("", "wolfdisk-bin-"); err != nil {
		return "", nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/wolfdisk", "./cmd/wolfdisk-master", "./cmd/wolfdisk-slave", "./cmd/wolfdiskctl")
	cmd.Dir = filepath.Dir(filepath.Dir(wd))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return dir, remove, nil
}

// FuseProblem is why nothing can be mounted here; empty if it can.
func FuseProblem() string {
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
