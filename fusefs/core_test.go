package fusefs

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// fakeKernel records what it is told.
type fakeKernel struct {
	mu     sync.Mutex
	told   []string
	errs   map[string]error // by message, each used once
	block  map[string]chan bool
	epochs bool
}

func (f *fakeKernel) tell(msg string) error {
	f.mu.Lock()
	f.told = append(f.told, msg)
	err := f.errs[msg]
	delete(f.errs, msg)
	block := f.block[msg]
	f.mu.Unlock()
	if block != nil {
		<-block
	}
	return err
}

func (f *fakeKernel) invalEntry(dir volume.Ino, name string) error {
	return f.tell(fmt.Sprintf("entry %d %s", dir, name))
}

func (f *fakeKernel) invalInode(ino volume.Ino, off, n int64) error {
	return f.tell(fmt.Sprintf("inode %d %d %d", ino, off, n))
}

func (f *fakeKernel) incEpoch() error {
	if !f.epochs {
		return syscall.EINVAL
	}
	return f.tell("epoch")
}

// take returns what was told since the last time.
func (f *fakeKernel) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.Join(f.told, ", ")
	f.told = nil
	return s
}

func fakeCore(t *testing.T, vol volume.Volume, f *fakeKernel) (*core, *call) {
	t.Helper()
	k := newCore(context.Background(), vol, zerolog.New(zerolog.NewTestWriter(t)))
	k.attach(f, features{dontMask: true, posixACL: true, setxattrExt: true})
	f.take()
	t.Cleanup(k.notify.close)
	c := k.calls.get()
	c.begin(1, 0, 0, 1)
	return k, c
}

// told waits until the kernel has been told everything, and returns it.
func told(t *testing.T, k *core, f *fakeKernel) string {
	t.Helper()
	eventually(t, "notices are sent", func() bool { return k.notify.doneThrough(k.notify.pushed()) })
	return f.take()
}

var goldenAttr = volume.Attr{
	Ino: 0x0102030405, Mode: volume.ModeDir | 0o1777, Nlink: 3, UID: 1000, GID: 1001, Rdev: 0x0a0b0c,
	Size: 4097, Atime: volume.Time{Sec: -2, Nsec: 5e8}, Mtime: volume.Time{Sec: 1 << 33, Nsec: 999999999},
	Ctime: volume.Time{Sec: 1}, Btime: volume.Time{Sec: 7, Nsec: 8},
}

const goldenAttrHex = "0504030201000000" + "0110000000000000" + "0000000000000000" + // ino, size, blocks
	"feffffffffffffff" + "0000000002000000" + "0100000000000000" + // times: atime before 1970, mtime after 2106
	"0065cd1d" + "ffc99a3b" + "00000000" + // nanoseconds
	"ff430000" + "03000000" + "e8030000" + "e9030000" + "0c0b0a00" + "00100000" + "00000000" // mode with the sticky bit, ...

func TestGolden(t *testing.T) {
	entry := make([]byte, entryLen)
	putEntry(entry, &goldenAttr, true)
	stale := make([]byte, entryLen)
	putEntry(stale, &goldenAttr, false)
	none := bytes.Repeat([]byte{0xff}, entryLen)
	putNoEntry(none)
	attr := make([]byte, attrOutLen)
	putAttrOut(attr, &goldenAttr, true)
	fs := bytes.Repeat([]byte{0xff}, statfsLen)
	putStatFS(fs, &volume.StatFS{BlockSize: 4096, Blocks: 1, BlocksFree: 2, Avail: 3, Inodes: 4, InodesFree: 5})
	header := make([]byte, outHeaderLen)
	putOutHeader(header, 16, -2, 0x99)
	sx := bytes.Repeat([]byte{0xff}, statxOutLen)
	putStatx(sx, &goldenAttr)
	zero := func(n int) string { return strings.Repeat("00", n) }
	forever := "0000000001000000"
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"entry", entry, "0504030201000000" + zero(8) + forever + forever + zero(8) + goldenAttrHex},
		{"entry to be asked again", stale, "0504030201000000" + zero(8) + forever + zero(16) + goldenAttrHex},
		{"no entry", none, zero(16) + forever + zero(entryLen-24)},
		{"attr", attr, forever + zero(8) + goldenAttrHex},
		{"statfs", fs, "0100000000000000" + "0200000000000000" + "0300000000000000" + "0400000000000000" + "0500000000000000" +
			"00100000" + "ff000000" + "00100000" + zero(28)},
		{"header", header, "10000000" + "feffffff" + "9900000000000000"},
		{"statx", sx, forever + zero(24) + "ff0f0000" + "00100000" + zero(8) + "03000000" + "e8030000" + "e9030000" + "ff43" + zero(2) +
			"0504030201000000" + "0110000000000000" + zero(16) +
			"feffffffffffffff" + "0065cd1d" + zero(4) + "0700000000000000" + "08000000" + zero(4) +
			"0100000000000000" + zero(8) + "0000000002000000" + "ffc99a3b" + zero(4) +
			"0b0a0000" + "0c000000" + zero(statxOutLen-32-136)},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
	file := volume.Attr{Mode: volume.ModeFile, Size: 513}
	if blocks(&file) != 2 {
		t.Errorf("blocks of 513 bytes: %d", blocks(&file))
	}
	for size, want := range map[int64]uint64{0: 0, 1: 1, 512: 1, 513: 1, 1024: 1, 1025: 2, 1 << 40: 1<<31 - 1} {
		if got := blocks(&volume.Attr{Mode: volume.ModeFile, Size: size, Holes: true}); got != want {
			t.Errorf("blocks of %d bytes with holes: %d, want %d", size, got, want)
		}
	}
}

// message builds a request.
func message(opcode uint32, ino volume.Ino, body ...any) *request {
	r := &request{inHeader: inHeader{opcode: opcode, unique: 5, node: uint64(ino)}}
	for _, x := range body {
		switch v := x.(type) {
		case int:
			r.body = native.AppendUint32(r.body, uint32(v))
		case uint64:
			r.body = native.AppendUint64(r.body, v)
		case string:
			r.body = append(append(r.body, v...), 0)
		case []byte:
			r.body = append(r.body, v...)
		}
	}
	return r
}

// ask sends a request through the decoder and returns the message that answers it.
func ask(k *core, c *call, r *request) (errno syscall.Errno, body []byte) {
	p := reply{buf: make([]byte, 1<<17)}
	c.begin(r.unique, 0, 0, 1)
	k.dispatch(c, r, &p, new(direntBuf))
	c.end()
	msg := p.finish(r.unique)
	if native.Uint64(msg[8:]) != r.unique || int(native.Uint32(msg)) != len(msg) {
		panic("bad reply header")
	}
	return syscall.Errno(-int32(native.Uint32(msg[4:]))), msg[outHeaderLen:]
}

func TestMalformed(t *testing.T) {
	k, c := fakeCore(t, volumetest.NewModel(volumetest.Options{}), new(fakeKernel))
	k.log = zerolog.Nop()
	for op := range uint32(opcodeEnd) {
		switch op {
		case opForget, opBatchForget, opInterrupt: // have no reply
			continue
		}
		for n := range 100 {
			for _, fill := range []byte{0, 'x', 0xff} {
				ask(k, c, message(op, 1, bytes.Repeat([]byte{fill}, n)))
			}
		}
	}
	if errno, _ := ask(k, c, message(opLookup, 1, []byte("no nul"))); errno != syscall.EIO {
		t.Errorf("name without end: %v", errno)
	}
	if errno, _ := ask(k, c, message(opWrite, 1, uint64(0), uint64(0), 100, 0, uint64(0), 0, 0, []byte("short"))); errno != syscall.EIO {
		t.Errorf("write with less than it says: %v", errno)
	}
	if errno, _ := ask(k, c, message(999, 1)); errno != syscall.ENOSYS {
		t.Errorf("unknown opcode: %v", errno)
	}
	for _, op := range []uint32{opPoll, opAccess, opBmap, opGetlk, opSetlkw} {
		if errno, _ := ask(k, c, message(op, 1)); errno != syscall.ENOSYS {
			t.Errorf("%s: %v", opcodeNames[op], errno)
		}
	}
	if errno, _ := ask(k, c, message(opIoctl, 1)); errno != syscall.ENOTTY {
		t.Errorf("ioctl: %v", errno)
	}
	if errno, _ := ask(k, c, message(opFlush, 1)); errno != 0 {
		t.Errorf("flush: %v", errno)
	}
	if errno, _ := ask(k, c, message(opGetattr, 1<<30)); errno != syscall.ESTALE {
		t.Errorf("unknown inode: %v", errno)
	}
}

func FuzzDispatch(f *testing.F) {
	f.Add(uint32(opLookup), []byte("name\x00"))
	f.Add(uint32(opRename2), append(make([]byte, 16), "a\x00b\x00"...))
	f.Add(uint32(opSetxattr), append([]byte{3, 0, 0, 0}, make([]byte, 30)...))
	f.Fuzz(func(t *testing.T, op uint32, body []byte) {
		switch op {
		case opForget, opBatchForget, opInterrupt:
			return
		}
		k := newCore(context.Background(), volumetest.NewModel(volumetest.Options{}), zerolog.Nop())
		k.attach(new(fakeKernel), features{dontMask: true, setxattrExt: true})
		defer k.notify.close()
		ask(k, k.calls.get(), message(op, 1, body))
	})
}

// Listings are cut between entries, at any size of buffer, and go on where they were.
func TestReaddirCuts(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	k, c := fakeCore(t, m, new(fakeKernel))
	for i := range 50 {
		if errno := k.mkdir(c, 1, strings.Repeat("d", 1+i*5), 0o755, 0); errno != 0 {
			t.Fatal(errno)
		}
		k.undo(c)
	}
	for _, plus := range []bool{false, true} {
		op := uint32(opReaddir)
		if plus {
			op = opReaddirplus
		}
		for size := 280 + entryLen; size < 3000; size += 37 {
			var off uint64
			var names []string
			for {
				errno, b := ask(k, c, message(op, 1, uint64(0), off, size, 0, uint64(0), 0, 0))
				if errno != 0 || len(b) > size {
					t.Fatalf("size %d: %v, %d bytes", size, errno, len(b))
				}
				if len(b) == 0 {
					break
				}
				for len(b) > 0 {
					var node uint64
					if plus {
						node = native.Uint64(b)
						b = b[entryLen:]
					}
					ino, n, typ := native.Uint64(b), int(native.Uint32(b[16:])), native.Uint32(b[20:])
					off = native.Uint64(b[8:])
					name := string(b[direntLen : direntLen+n])
					names = append(names, name)
					b = b[(direntLen+n+7)&^7:]
					if dots := name == "." || name == ".."; typ != 4 || plus && (dots && node != 0 || !dots && node != ino) {
						t.Fatalf("%s: type %d, node %d, ino %d", name, typ, node, ino)
					}
				}
			}
			if len(names) != 52 || names[0] != "." || names[1] != ".." || names[51] != strings.Repeat("d", 246) {
				t.Fatalf("plus %v size %d: %d names", plus, size, len(names))
			}
			if plus {
				for ino := volume.Ino(2); ino < 52; ino++ {
					if ok, _ := k.nodes.forget(ino, 1); !ok || k.nodes.known(ino) {
						t.Fatalf("size %d: inode %d is not counted once", size, ino)
					}
				}
			}
		}
	}
}

// A write, an append and a copy across the largest size take what fits, and the next one is EFBIG.
func TestLargestSize(t *testing.T) {
	const limit = volume.MaxNewSize
	f := &fakeKernel{}
	k, c := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	made := func(name string) volume.Ino {
		t.Helper()
		if errno := k.create(c, volume.RootIno, name, syscall.O_RDWR, 0o644, 0, false); errno != 0 {
			t.Fatal(errno)
		}
		return c.attr.Ino
	}
	from, a, b := made("from"), made("a"), made("b")
	if n, errno := k.writeFile(c, from, []byte("0123456789"), 0, 0, 0); n != 10 || errno != 0 {
		t.Fatal(n, errno)
	}
	end := func(ino volume.Ino, want string) {
		t.Helper()
		p := make([]byte, 10)
		if n, errno := k.read(c, ino, p, limit-4); errno != 0 || string(p[:n]) != want {
			t.Errorf("the end is %q, %v", p[:n], errno)
		}
	}
	f.take()
	if n, errno := k.writeFile(c, a, []byte("12345"), limit-4, 0, 0); n != 4 || errno != 0 {
		t.Error("write:", n, errno)
	}
	if s := told(t, k, f); s != "" {
		t.Errorf("the kernel knows how much was taken, and was told %q", s)
	}
	if n, errno := k.writeFile(c, a, []byte("5"), limit, 0, 0); n != 0 || errno != syscall.EFBIG {
		t.Error("write at the end:", n, errno)
	}
	end(a, "1234")
	for _, flags := range []uint32{0, writeLockOwner} {
		c.req = volume.Request{Kind: volume.OpSetAttr, Ino: a, Set: volume.SetSize, Size: limit - 2}
		if _, err := k.do(c); err != nil {
			t.Fatal(err)
		}
		if n, errno := k.writeFile(c, a, []byte("abcd"), limit-2, syscall.O_APPEND, flags); n != 2 || errno != 0 {
			t.Error("append:", n, errno)
		}
		if n, errno := k.writeFile(c, a, []byte("cd"), limit, syscall.O_APPEND, flags); n != 0 || errno != syscall.EFBIG {
			t.Error("append at the end:", n, errno)
		}
		end(a, "12ab")
	}
	if n, errno := k.copyRange(c, from, 0, b, limit-4, 10, make([]byte, 3)); n != 4 || errno != 0 {
		t.Error("copy:", n, errno)
	}
	if n, errno := k.copyRange(c, from, 4, b, limit, 6, make([]byte, 3)); n != 0 || errno != syscall.EFBIG {
		t.Error("copy at the end:", n, errno)
	}
	end(b, "0123")
}

func TestNodesCount(t *testing.T) {
	n := newNodes()
	var wg sync.WaitGroup
	const workers, rounds = 8, 2000
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range rounds {
				ino := volume.Ino(2 + i%50)
				n.add(ino, 2)
				n.sentMode(ino, volume.ModeFile|volume.ModeSetUID)
				n.open(ino, w%2 == 1)
				if !n.known(ino) {
					t.Error("counted, not known")
				}
				if w%2 == 0 {
					n.remember(volume.Attr{Ino: ino, Size: 9})
				}
				forget := func() bool { ok, _ := n.forget(ino, 1); return ok }
				if !n.release(ino) || !forget() || !forget() {
					t.Error("lost a count")
				}
			}
		}()
	}
	wg.Wait()
	if known, opens := n.count(); known != 1 || opens != 0 {
		t.Errorf("%d known, %d open", known, opens)
	}
	if _, ok := n.remembered(2); ok {
		t.Error("attributes are remembered after the last FORGET")
	}
	if ok, _ := n.forget(2, 1); ok || n.release(2) {
		t.Error("took back what was not there")
	}
	n.add(3, 1)
	n.sentMode(3, volume.ModeFile|volume.ModeSetUID|volume.ModeSetGID)
	for _, tt := range []struct {
		mode uint32
		want bool
	}{{0o6755, false}, {0o2755, true}, {0o2755, false}, {0o755, true}, {0o755, false}} {
		if got := n.lostPriv(3, volume.ModeFile|tt.mode); got != tt.want {
			t.Errorf("mode %o: lost %v", tt.mode, got)
		}
	}
}

// An inode that ended while the kernel still holds it.
func TestRemembered(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	k, c := fakeCore(t, m, new(fakeKernel))
	if errno := k.mkdir(c, 1, "d", 0o700, 0); errno != 0 {
		t.Fatal(errno)
	}
	ino := c.attr.Ino
	if errno := k.rmdir(c, 1, "d"); errno != 0 {
		t.Fatal(errno)
	}
	if errno := k.getattr(c, ino); errno != 0 || c.attr.Nlink != 0 || c.attr.Mode != volume.ModeDir|0o700 {
		t.Errorf("%v %+v", errno, c.attr)
	}
	k.forget(uint64(ino), 1)
	if errno := k.getattr(c, ino); errno != syscall.ESTALE {
		t.Errorf("after FORGET: %v", errno)
	}
}

// A request allocates nothing of its own.
func TestNoAllocations(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	k, c := fakeCore(t, steady{m}, new(fakeKernel))
	buf, d := make([]byte, 1<<17), new(direntBuf)
	for _, r := range []*request{
		message(opGetattr, 1, 0, 0, uint64(0)),
		message(opRead, 1, uint64(0), uint64(0), 4096, 0, uint64(0), 0, 0),
		message(opWrite, 1, uint64(0), uint64(0), 5, 0, uint64(0), 0, 0, []byte("hello")),
		message(opFsync, 1, uint64(0), 0, 0),
		message(opSetattr, 1, fattrMode, 0, make([]byte, 80)),
	} {
		body := r.body
		n := testing.AllocsPerRun(100, func() {
			r.body = body
			p := reply{buf: buf}
			c.begin(7, 0, 0, 1)
			k.dispatch(c, r, &p, d)
			c.end()
			if p.finish(7); p.errno != 0 {
				t.Fatal(p.errno)
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations", opcodeNames[r.opcode], n)
		}
	}
}

// steady answers without work.
type steady struct{ *volumetest.Model }

var steadyAttr = volume.Attr{Ino: 1, Mode: volume.ModeFile | 0o644, Nlink: 1, Size: 1 << 20}

func (steady) GetAttr(context.Context, volume.Ino) (volume.Attr, error) { return steadyAttr, nil }
func (steady) Sync(context.Context, volume.Ino, bool) error             { return nil }
func (steady) ReadAt(_ context.Context, _ volume.Ino, p []byte, _ int64) (int, error) {
	return len(p), nil
}
func (steady) Do(_ context.Context, r *volume.Request) (volume.Result, error) {
	return volume.Result{Version: 9, Attr: steadyAttr, N: len(r.Data), Offset: r.Offset}, nil
}

// eventually waits for what happens elsewhere.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
