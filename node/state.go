package node

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// State is what a node knows about itself and has promised. It is kept in the file
// "state": two slots of 4 KiB, each with a sequence number and a checksum, written
// in turn, so that one fdatasync makes a change durable and a torn write leaves the
// slot before it.
//
//	slot: magic "WOLFSTAT" | format u32 | sequence u64 | length u32 | body | xxh3-64 of all before
//	body: cluster ID | node ID | store ID | volume ID | chunk size u64 | promise | boot ID | flags u8 | checkpoint u64
//	flags: 1 clean stop, 2 adoption under way
//
// Integers are little-endian; strings have a length of one byte.
type State struct {
	Cluster   volume.ID
	NodeID    string
	Store     volume.ID // made with the state directory, so a wiped node is recognised
	Volume    volume.ID // zero until the volume is made or adopted
	ChunkSize int64
	Promise   volume.Epoch // the highest epoch this node agreed to obey
	Boot      string       // the boot in which the daemon last ran
	Clean     bool         // it stopped cleanly
	// Checkpoint is a version whose effects on the real directory are on disk: after
	// a power loss what came later is redone.
	Checkpoint volume.Version
	// Adopting says that the index is being made from a full directory: while the log
	// is empty it is incomplete, and is made anew.
	Adopting bool
}

const (
	stateMagic  = "WOLFSTAT"
	stateFormat = 1
	stateSlot   = 4096

	stateClean    = 1
	stateAdopting = 2
)

// stateFile is the open file; all methods may be called concurrently.
type stateFile struct {
	mu  sync.Mutex // held over writing
	f   *os.File
	seq uint64
	now atomic.Pointer[State] // what is on disk
}

// openState opens or makes the state file in dir. fresh says that it was made.
func openState(dir string) (s *stateFile, fresh bool, err error) {
	path := filepath.Join(dir, "state")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		s, err := makeState(dir, path)
		return s, true, err
	}
	if err != nil {
		return nil, false, volume.Wrap(err, "open state")
	}
	s = &stateFile{f: f}
	if err := s.read(path); err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return s, false, nil
}

func makeState(dir, path string) (*stateFile, error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, volume.Wrap(err, "make state")
	}
	s := &stateFile{f: f}
	var st State
	rand.Read(st.Store[:])
	s.now.Store(&st)
	err = errors.Join(f.Truncate(2*stateSlot), s.write(st), s.write(st), f.Sync())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(volume.Wrap(err, "make state"), f.Close())
	}
	return s, nil
}

// replaceFile makes a file hold b, durably: it has all of b or what it had before.
func replaceFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *stateFile) read(path string) error {
	found := false
	var unknown error
	for slot := range 2 {
		buf := make([]byte, stateSlot)
		if n, err := s.f.ReadAt(buf, int64(slot)*stateSlot); err != nil && err != io.EOF {
			return volume.Wrap(err, "read state")
		} else if n < stateSlot {
			continue
		}
		seq, st, err := decodeState(buf)
		if err != nil {
			if volume.KindOf(err) == volume.WrongVersion {
				unknown = err
			}
			continue
		}
		if !found || seq > s.seq {
			s.seq, found = seq, true
			s.now.Store(&st)
		}
	}
	switch {
	case unknown != nil:
		return volume.Wrap(unknown, "state file "+path)
	case !found:
		return volume.Errorf(volume.Corrupt, "state file %s is damaged in both slots: restore it from a backup, or move the state directory away and let this node sync anew", path)
	}
	return nil
}

// Get is the state that is on disk. It waits for nothing: the election asks, and a disk that takes its
// time is not to make this node look dead.
func (s *stateFile) Get() State {
	return *s.now.Load()
}

// Update changes the state and returns when the change is durable. After an error
// nothing is known about the disk, and the node must not go on promising.
func (s *stateFile) Update(change func(*State)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.Get()
	change(&next)
	if next == s.Get() {
		return nil
	}
	if err := s.write(next); err != nil {
		return volume.Wrap(err, "write state")
	}
	s.now.Store(&next)
	return nil
}

func (s *stateFile) write(st State) error {
	buf := make([]byte, stateSlot)
	encodeState(buf, s.seq+1, &st)
	if _, err := s.f.WriteAt(buf, int64((s.seq+1)%2)*stateSlot); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	s.seq++
	return nil
}

func (s *stateFile) Close() error { return s.f.Close() }

func encodeState(slot []byte, seq uint64, st *State) {
	le := binary.LittleEndian
	str := func(b []byte, v string) []byte { return append(append(b, byte(len(v))), v...) }
	body := append([]byte{}, st.Cluster[:]...)
	body = str(body, st.NodeID)
	body = append(append(body, st.Store[:]...), st.Volume[:]...)
	body = le.AppendUint64(body, uint64(st.ChunkSize))
	body = le.AppendUint64(body, st.Promise.Number)
	body = str(body, st.Promise.Leader)
	body = le.AppendUint32(body, st.Promise.Tag)
	body = str(body, st.Boot)
	flags := byte(0)
	if st.Clean {
		flags = stateClean
	}
	if st.Adopting {
		flags |= stateAdopting
	}
	body = append(body, flags)
	body = le.AppendUint64(body, uint64(st.Checkpoint))

	b := append(slot[:0], stateMagic...)
	b = le.AppendUint32(b, stateFormat)
	b = le.AppendUint64(b, seq)
	b = le.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	le.AppendUint64(b, xxh3.Hash(b))
}

func decodeState(slot []byte) (seq uint64, st State, err error) {
	const head = len(stateMagic) + 4 + 8 + 4
	le := binary.LittleEndian
	bad := func(what string) error { return volume.Errorf(volume.Corrupt, "state slot: %s", what) }
	if len(slot) < head || string(slot[:len(stateMagic)]) != stateMagic {
		return 0, st, bad("no magic")
	}
	n := int(le.Uint32(slot[20:]))
	if n > len(slot)-head-8 {
		return 0, st, bad("length")
	}
	if le.Uint64(slot[head+n:]) != xxh3.Hash(slot[:head+n]) {
		return 0, st, bad("checksum")
	}
	if f := le.Uint32(slot[8:]); f != stateFormat {
		return 0, st, volume.Errorf(volume.WrongVersion, "format %d, this program knows %d", f, stateFormat)
	}
	seq = le.Uint64(slot[12:])
	r := stateReader{b: slot[head : head+n]}
	r.id(&st.Cluster)
	st.NodeID = r.str()
	r.id(&st.Store)
	r.id(&st.Volume)
	st.ChunkSize = int64(r.u64())
	st.Promise.Number = r.u64()
	st.Promise.Leader = r.str()
	st.Promise.Tag = le.Uint32(r.take(4))
	st.Boot = r.str()
	flags := r.take(1)[0]
	if flags&^(stateClean|stateAdopting) != 0 {
		return 0, st, bad("unknown flags")
	}
	st.Clean, st.Adopting = flags&stateClean != 0, flags&stateAdopting != 0
	st.Checkpoint = volume.Version(r.u64())
	if r.short {
		return 0, st, bad("cut short")
	}
	return seq, st, nil
}

// stateReader cuts fields off a body; behind its end it gives zeros and notes that.
type stateReader struct {
	b     []byte
	short bool
}

func (r *stateReader) take(n int) []byte {
	if n > len(r.b) {
		r.short, r.b = true, make([]byte, n)
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *stateReader) id(p *volume.ID) { copy(p[:], r.take(len(p))) }
func (r *stateReader) u64() uint64     { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *stateReader) str() string     { return string(r.take(int(r.take(1)[0]))) }
