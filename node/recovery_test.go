package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"wolfdisk/volume"
)

func TestRecoveryFile(t *testing.T) {
	dir := t.TempDir()
	r, err := openRecovery(dir)
	if err != nil || r.pending() {
		t.Fatalf("of a new node: %+v, %v", r, err)
	}
	if err := r.end(); err != nil {
		t.Error("end of none:", err)
	}
	r.Suspects = []volume.Ino{7, volume.MakeIno(1<<20-1, 9)}
	for _, stage := range []recoveryStage{recoveryLost, recoveryFound, recoveryDone} {
		if err := r.reach(stage); err != nil {
			t.Fatal(err)
		}
		back, err := openRecovery(dir)
		if err != nil || back.Stage != stage || !back.pending() || !slices.Equal(back.Suspects, r.Suspects) {
			t.Errorf("stage %d came back as %+v, %v", stage, back, err)
		}
	}
	if err := r.end(); err != nil || r.pending() || len(r.Suspects) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if back, err := openRecovery(dir); err != nil || back.pending() {
		t.Errorf("after the end: %+v, %v", back, err)
	}
}

func TestRecoveryFileDamaged(t *testing.T) {
	for _, text := range []string{"", "{", "null", `{"stage":0}`, `{"stage":5}`, `{"stage":-1}`, `{"stage":2,"suspects":["x"]}`, `{"stage":2}x`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, recoveryName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := openRecovery(dir); volume.KindOf(err) != volume.Corrupt {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	// What cannot be stored is not reached.
	r := &recovery{dir: filepath.Join(t.TempDir(), "absent")}
	if err := r.reach(recoveryLost); err == nil || r.pending() {
		t.Errorf("%+v, %v", r, err)
	}
}
