package hostdir

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// The intent file is mapped into memory, so noting an intent makes no system call, and
// what was noted outlives the process (not the machine). Layout, integers little endian:
//
//	   0  8   magic "WDINTENT"
//	   8  4   format, 1
//	  12  4   slots
//	  16  48  boot ID, padded with zeros
//	  64  8   XXH3-64 of bytes 0 to 63
//	1024  how far a frame of others is applied: see progress.go
//	4096  slots of 1,024 bytes each:
//	   0  4   state: 0 free, 1 in use; written last, atomically
//	   4  1   op kind
//	   5  1   length of name     6  1  length of new name
//	   8  8   inode   16 parent   24 new parent   32 replaced
//	  40  8   offset  48 length   56 size
//	  64  4   flags   68 mask     72 mode         76 alloc
//	  80  12  op time
//	  96  8   of an exchange: lower inode of the inode    104 of the replaced one, 0 if not known
//	 128  255 name  384  255 new name
//
// A slot is valid only if its state is 1: a process dies between instructions, and its
// stores up to there are seen by the next one.
const (
	intentName   = "intents"
	intentMagic  = "WDINTENT"
	intentFormat = 1
	intentSlots  = 64
	slotLen      = 1024
	slotsAt      = 4096
	intentLen    = slotsAt + intentSlots*slotLen
	bootLen      = 48
)

// Intent says what was being applied when the daemon died.
type Intent struct {
	Kind                             volume.OpKind
	Ino, Parent, NewParent, Replaced volume.Ino
	Name, NewName                    string
	Offset, Length, Size             int64
	Flags                            uint32
	Mask                             volume.SetMask
	Mode, Alloc                      uint32
	Time                             volume.Time
	// Lower and LowerReplaced are, of an exchange, the lower inode numbers of Ino and Replaced, 0
	// where not known: by their names they cannot be told from each other.
	Lower, LowerReplaced uint64
}

// intentFile hands out slots.
type intentFile struct {
	mem  []byte
	free chan int

	mu  sync.Mutex
	old []Intent // of the process before
	// oldSlots are kept from use until the old intents are done with.
	oldSlots []int
}

// openIntents maps the file in the state directory, making it if it is absent, and
// reads what an earlier process of this boot left.
func openIntents(stateDir string, dir int, boot string) (*intentFile, error) {
	fd, err := again2(func() (int, error) {
		return unix.Openat(dir, intentName, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return nil, volume.Wrap(err, "open "+stateDir+"/"+intentName)
	}
	f := os.NewFile(uintptr(fd), intentName)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, volume.Wrap(err, "stat "+stateDir+"/"+intentName)
	}
	if st.Size() != intentLen {
		// Written out, so that no store into the mapping can fail for want of space.
		if err := f.Truncate(0); err == nil {
			_, err = f.WriteAt(make([]byte, intentLen), 0)
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return nil, volume.Wrap(err, "write "+stateDir+"/"+intentName)
		}
	}
	mem, err := unix.Mmap(fd, 0, intentLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, volume.Wrap(err, "map "+stateDir+"/"+intentName)
	}
	n := &intentFile{mem: mem, free: make(chan int, intentSlots)}
	n.take(boot)
	return n, nil
}

// take reads the intents of an earlier process and makes the file this boot's.
func (n *intentFile) take(boot string) {
	var head [64]byte
	copy(head[:], intentMagic)
	binary.LittleEndian.PutUint32(head[8:], intentFormat)
	binary.LittleEndian.PutUint32(head[12:], intentSlots)
	copy(head[16:16+bootLen], boot)
	same := string(head[:]) == string(n.mem[:64]) && binary.LittleEndian.Uint64(n.mem[64:]) == xxh3.Hash(n.mem[:64])
	for i := range intentSlots {
		if same && n.state(i).Load() == 1 {
			if in, ok := readSlot(n.slot(i)); ok {
				n.old, n.oldSlots = append(n.old, in), append(n.oldSlots, i)
				continue
			}
		}
		n.state(i).Store(0)
		n.free <- i
	}
	if !same {
		for v := range volume.Version(2) {
			stateOf(n.progress(v)).Store(0)
		}
	}
	copy(n.mem[:64], head[:])
	binary.LittleEndian.PutUint64(n.mem[64:], xxh3.Hash(head[:]))
}

func (n *intentFile) slot(i int) []byte { return n.mem[slotsAt+i*slotLen:][:slotLen] }

func (n *intentFile) state(i int) *atomic.Uint32 {
	return stateOf(n.slot(i))
}

// stateOf is the state that a slot, or a place of progress.go, begins with.
func stateOf(b []byte) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&b[0])) }

func (n *intentFile) close() error { return unix.Munmap(n.mem) }

// Slot is a claimed place in the intent file.
type Slot struct {
	file *intentFile
	at   int
}

// Begin notes an op before it is applied. It makes no system call, and waits only if
// 64 ops are under way. Done is called once the op is in the log, or an
// error says that nothing has changed; if an op was applied but can be neither recorded
// nor undone the slot is left as it is, for the next start.
func (d *Dir) Begin(op *volume.Op, view volume.View) Slot {
	s := Slot{d.intents, <-d.intents.free}
	b := s.file.slot(s.at)
	writeSlot(b, op)
	var lower, replaced uint64
	if op.Flags&volume.OpExchange != 0 {
		lower, replaced = d.lowerIno(op.Ino, view), d.lowerIno(op.Replaced, view)
	}
	binary.LittleEndian.PutUint64(b[96:], lower)
	binary.LittleEndian.PutUint64(b[104:], replaced)
	s.file.state(s.at).Store(1)
	return s
}

// lowerIno is the lower inode number in an inode's record, 0 if that cannot be had.
func (d *Dir) lowerIno(ino volume.Ino, view volume.View) uint64 {
	if rec, err := d.recordOf(ino, view); err == nil && rec != nil {
		return rec.ino
	}
	return 0
}

// Done frees the slot.
func (s Slot) Done() {
	s.file.state(s.at).Store(0)
	s.file.free <- s.at
}

// Intents returns what an earlier process of this boot was applying when it died, in
// no particular order. They are kept, also over another crash, until
// ClearIntents.
func (d *Dir) Intents() []Intent {
	d.intents.mu.Lock()
	defer d.intents.mu.Unlock()
	return append([]Intent(nil), d.intents.old...)
}

// ClearIntents says that what Inspect proposed for every intent is in the log.
func (d *Dir) ClearIntents() {
	n := d.intents
	n.mu.Lock()
	slots := n.oldSlots
	n.old, n.oldSlots = nil, nil
	n.mu.Unlock()
	for _, i := range slots {
		Slot{n, i}.Done()
	}
}

func writeSlot(b []byte, op *volume.Op) {
	le := binary.LittleEndian
	off, length, _ := op.ContentRange()
	b[4], b[5], b[6] = byte(op.Kind), byte(len(op.Name)), byte(len(op.NewName))
	le.PutUint64(b[8:], uint64(op.Ino))
	le.PutUint64(b[16:], uint64(op.Parent))
	le.PutUint64(b[24:], uint64(op.NewParent))
	le.PutUint64(b[32:], uint64(op.Replaced))
	le.PutUint64(b[40:], uint64(off))
	le.PutUint64(b[48:], uint64(length))
	le.PutUint64(b[56:], uint64(op.Size))
	le.PutUint32(b[64:], op.Flags)
	le.PutUint32(b[68:], uint32(op.Mask))
	le.PutUint32(b[72:], op.Mode)
	le.PutUint32(b[76:], op.Alloc)
	le.PutUint64(b[80:], uint64(op.Time.Sec))
	le.PutUint32(b[88:], op.Time.Nsec)
	copy(b[128:128+255], op.Name)
	copy(b[384:384+255], op.NewName)
}

// readSlot decodes a slot in use; ok is false for what no writer of ours leaves.
func readSlot(b []byte) (in Intent, ok bool) {
	le := binary.LittleEndian
	in = Intent{
		Kind: volume.OpKind(b[4]),
		Name: string(b[128 : 128+int(b[5])]), NewName: string(b[384 : 384+int(b[6])]),
		Ino: volume.Ino(le.Uint64(b[8:])), Parent: volume.Ino(le.Uint64(b[16:])),
		NewParent: volume.Ino(le.Uint64(b[24:])), Replaced: volume.Ino(le.Uint64(b[32:])),
		Offset: int64(le.Uint64(b[40:])), Length: int64(le.Uint64(b[48:])), Size: int64(le.Uint64(b[56:])),
		Flags: le.Uint32(b[64:]), Mask: volume.SetMask(le.Uint32(b[68:])), Mode: le.Uint32(b[72:]), Alloc: le.Uint32(b[76:]),
		Time:  volume.Time{Sec: int64(le.Uint64(b[80:])), Nsec: le.Uint32(b[88:])},
		Lower: le.Uint64(b[96:]), LowerReplaced: le.Uint64(b[104:]),
	}
	ok = in.Offset >= 0 && in.Length >= 0 && in.Size >= 0 && in.Offset <= volume.MaxFileSize-in.Length && in.Time.Nsec < 1e9
	return in, ok
}
