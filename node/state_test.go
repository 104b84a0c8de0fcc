package node

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

func wantKind(t testing.TB, what string, err error, k volume.Kind) {
	t.Helper()
	if err == nil || volume.KindOf(err) != k {
		t.Errorf("%s: %v, want %v", what, err, k)
	}
}

var someState = State{
	Cluster: volume.ID{1}, NodeID: "node-1", Store: volume.ID{2}, Volume: volume.ID{3}, ChunkSize: 4 << 20,
	Promise: volume.Epoch{Number: 9, Leader: "node-2", Tag: 0xfffff}, Boot: "boot", Clean: true, Checkpoint: 77,
}

// damageSlot writes over the slot that holds the given sequence number.
func damageSlot(t *testing.T, path string, slot int64, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(with, slot*stateSlot+at); err != nil {
		t.Fatal(err)
	}
}

// made is a state file with two updates: checkpoints 1 and then 2; newest is the slot
// that holds the second.
func made(t *testing.T) (dir, path string, newest int64, store volume.ID) {
	t.Helper()
	dir = t.TempDir()
	s, fresh, err := openState(dir)
	if err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	for v := range volume.Version(2) {
		if err := s.Update(func(st *State) { *st = State{Store: st.Store, NodeID: "n", Checkpoint: v + 1} }); err != nil {
			t.Fatal(err)
		}
	}
	newest, store = int64(s.seq%2), s.Get().Store
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, "state"), newest, store
}

func TestStateFile(t *testing.T) {
	dir, path, newest, store := made(t)
	want := func(what string, v volume.Version) {
		t.Helper()
		s, fresh, err := openState(dir)
		if err != nil || fresh {
			t.Fatal(what, fresh, err)
		}
		defer s.Close()
		if st := s.Get(); st.Checkpoint != v || st.Store != store {
			t.Errorf("%s: %+v, want checkpoint %d", what, st, v)
		}
	}
	want("intact", 2)
	if store.IsZero() {
		t.Error("no store ID")
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error("mode", fi.Mode(), err)
	}
	intact, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// A write that was torn anywhere leaves the state before it.
	for _, at := range []int64{0, 8, 12, 20, 24, 60} {
		damageSlot(t, path, newest, at, []byte{0xde, 0xad})
		want("torn", 1)
		// What is written then goes over the torn slot.
		s, _, err := openState(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(func(st *State) { st.Checkpoint = 5 }); err != nil {
			t.Fatal(err)
		}
		s.Close()
		want("written again", 5)
		if err := os.WriteFile(path, intact, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Half a file.
	if err := os.Truncate(path, stateSlot+100); err != nil {
		t.Fatal(err)
	}
	want("cut short", map[int64]volume.Version{0: 2, 1: 1}[newest])
	// Both slots.
	for slot := range int64(2) {
		damageSlot(t, path, slot, 30, []byte{0xde, 0xad})
	}
	_, _, err = openState(dir)
	wantKind(t, "both damaged", err, volume.Corrupt)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	_, _, err = openState(dir)
	wantKind(t, "empty", err, volume.Corrupt)
}

// A state that a later program wrote is not read as an older one of ours: that could
// forget a promise.
func TestStateOfLaterProgram(t *testing.T) {
	dir, path, newest, _ := made(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	slot := b[newest*stateSlot : (newest+1)*stateSlot]
	binary.LittleEndian.PutUint32(slot[8:], stateFormat+1)
	n := int(binary.LittleEndian.Uint32(slot[20:])) + 24
	binary.LittleEndian.PutUint64(slot[n:], xxh3.Hash(slot[:n]))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = openState(dir)
	wantKind(t, "unknown format", err, volume.WrongVersion)
}

func TestStateUpdateFails(t *testing.T) {
	s, _, err := openState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := s.Get()
	if err := s.Update(func(st *State) { st.Promise.Number = 3 }); err == nil || s.Get() != before {
		t.Errorf("%v, %+v", err, s.Get())
	}
	if err := s.Update(func(*State) {}); err != nil {
		t.Error("nothing to write:", err)
	}
}

func TestStateCodec(t *testing.T) {
	buf := make([]byte, stateSlot)
	encodeState(buf, 1<<63, &someState)
	seq, st, err := decodeState(buf)
	if err != nil || seq != 1<<63 || st != someState {
		t.Errorf("%d, %+v, %v", seq, st, err)
	}
	for n := range stateSlot {
		if _, _, err := decodeState(buf[:n]); err == nil && !bytes.Equal(buf[n:], make([]byte, stateSlot-n)) {
			t.Fatalf("%d bytes are enough", n)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	buf := make([]byte, stateSlot)
	encodeState(buf, 5, &someState)
	f.Add(buf, true)
	f.Add(buf[:30], false)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		b = append([]byte(nil), b...)
		if mend && len(b) > 32 { // so that damage is found behind the checksum
			copy(b, stateMagic)
			binary.LittleEndian.PutUint32(b[8:], stateFormat)
			n := len(b) - 8
			binary.LittleEndian.PutUint32(b[20:], uint32(n-24))
			binary.LittleEndian.PutUint64(b[n:], xxh3.Hash(b[:n]))
		}
		seq, st, err := decodeState(b)
		if err != nil {
			return
		}
		again := make([]byte, stateSlot)
		encodeState(again, seq, &st)
		if seq2, st2, err := decodeState(again); err != nil || seq2 != seq || st2 != st {
			t.Errorf("%+v becomes %+v, %v", st, st2, err)
		}
	})
}
