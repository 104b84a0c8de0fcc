package node

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"wolfdisk/volume"
)

// recoveryStage is how far a node is in bringing its directory back after a power loss.
type recoveryStage int

const (
	recoveryNone  recoveryStage = iota // nothing to do
	recoveryLost                       // the machine went down
	recoveryFound                      // it is known which files were changed last
	recoveryDone                       // the log is redone; what is left is to be turned into ops
	recoveryEdits                      // no power was lost: edits found at a start are being turned into ops
)

// recovery is the file "recovery" in the state directory, there from the first start after a power
// loss, or over edits made while stopped, until directory and index agree again, over any number of
// starts: the boot ID alone tells only the first of them. It is JSON, published by rename.
type recovery struct {
	dir string
	recoveryState
}

type recoveryState struct {
	Stage recoveryStage `json:"stage"`
	// Suspects are inodes whose content may be other than the index says.
	Suspects []volume.Ino `json:"suspects"`
}

const recoveryName = "recovery"

func openRecovery(dir string) (*recovery, error) {
	r := &recovery{dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, recoveryName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, volume.Wrap(err, "read the state of the recovery")
	}
	if err := json.Unmarshal(b, &r.recoveryState); err != nil || r.Stage <= recoveryNone || r.Stage > recoveryEdits {
		return nil, volume.Errorf(volume.Corrupt, "%s is damaged: remove it to recover from the beginning, as after a power loss of now", filepath.Join(dir, recoveryName))
	}
	return r, nil
}

// pending reports whether directory and index may not agree yet.
func (r *recovery) pending() bool { return r != nil && r.Stage != recoveryNone }

// lost reports whether that is because of a power loss, so that the log may have lost
// ops and the directory effects of ops.
func (r *recovery) lost() bool { return r.pending() && r.Stage != recoveryEdits }

// reach stores that a stage is reached.
func (r *recovery) reach(stage recoveryStage) error {
	next := r.recoveryState
	next.Stage = stage
	b, err := json.Marshal(next)
	if err != nil {
		return volume.Wrap(err, "store the state of the recovery")
	}
	if err := replaceFile(filepath.Join(r.dir, recoveryName), b); err != nil {
		return volume.Wrap(err, "store the state of the recovery")
	}
	r.Stage = stage
	return nil
}

// end removes the file: directory and index agree, and both are on disk.
func (r *recovery) end() error {
	err := os.Remove(filepath.Join(r.dir, recoveryName))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = syncDir(r.dir)
	}
	if err == nil {
		r.recoveryState = recoveryState{}
	}
	return volume.Wrap(err, "end the recovery")
}
