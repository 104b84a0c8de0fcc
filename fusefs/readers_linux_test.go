package fusefs

import (
	"context"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// However many requests hang there is a reader for the next; and when they have gone one
// client soon has one reader again.
func TestReadersComeAndGo(t *testing.T) {
	h := newHub()
	const hanging = 12
	for i := range hanging { // the kernel locks a directory while something is made in it
		h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: 1, Name: fmt.Sprint("p", i), Mode: volume.ModeDir | 0o755})
	}
	r := mountHub(t, h, Options{Driver: DriverBazil})
	a := startAgent(t, r.dir, 0)
	entered, release := make(chan bool), make(chan bool)
	hang := func(context.Context, *volume.Request) error {
		entered <- true
		<-release
		return nil
	}
	h.before.Store(&hang)
	var done []func() result
	for i := range hanging {
		done = append(done, startAgent(t, r.dir, 0).start(cmd{Op: "mkdir", Path: fmt.Sprintf("p%d/d", i), Mode: 0o755}))
		<-entered
	}
	a.do(cmd{Op: "statfs", Path: "."}) // is not answered by the kernel
	if st := r.srv.Stats(); st.Readers <= hanging || st.Busy < hanging {
		t.Errorf("%d readers, %d busy, while %d requests hang", st.Readers, st.Busy, hanging)
	}
	h.before.Store(nil)
	close(release)
	for _, wait := range done {
		if res := wait(); res.Errno != "" {
			t.Error(res.Errno)
		}
	}
	eventually(t, "one reader is left", func() bool {
		for i := range 100 {
			a.put(fmt.Sprint("p1/f", i%7), "x")
		}
		return r.srv.Stats().Readers == 1
	})
}

// Readers are too few if each request was there before it was asked for, and they are of
// different threads.
func TestCrowd(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	msg := func(pid uint32) []byte {
		m := make([]byte, inHeaderLen)
		native.PutUint32(m[32:], pid)
		return m
	}
	round := func(c *crowd, pid uint32) bool {
		c.look(int(in.Fd()))
		return c.met(msg(pid))
	}
	var one, two crowd
	for i := range uint32(20) {
		if round(&two, 1+i%2) {
			t.Fatal("nothing waits, and it is a crowd")
		}
	}
	if _, err := out.WriteString("waits"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if round(&one, 7) {
			t.Fatal("one thread is a crowd")
		}
	}
	for i := range uint32(crowdRun) {
		if got, want := round(&two, 1+i%2), i == crowdRun-1; got != want {
			t.Errorf("request %d: %v", i, got)
		}
	}
	round(&two, 1)
	if _, err := unix.Read(int(in.Fd()), make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	round(&two, 2)
	if two.run != 0 {
		t.Error("a request that was waited for is counted")
	}
}

// Before what takes long another reader is started: what reads or syncs the disk.
func TestExpect(t *testing.T) {
	for _, tt := range []struct {
		op             uint32
		msg            []byte
		onClose        bool
		answered, long bool
	}{
		{op: opForget}, {op: opBatchForget}, {op: opInterrupt},
		{op: opLookup, answered: true},
		{op: opFsync, answered: true, long: true},
		{op: opRead, answered: true, long: true},
		{op: opFlush, answered: true},
		{op: opFlush, onClose: true, answered: true, long: true},
		{op: opWrite, answered: true},
		{op: opLookup, msg: []byte("short")},
	} {
		msg := tt.msg
		if msg == nil {
			msg = make([]byte, inHeaderLen)
		}
		if len(msg) >= inHeaderLen {
			native.PutUint32(msg[4:], tt.op)
		}
		d := &bazil{opt: &Options{SyncOnClose: tt.onClose}}
		if answered, long := d.expect(msg); answered != tt.answered || long != tt.long {
			t.Errorf("%s of %d bytes: answered %v, long %v", opcodeNames[tt.op], len(msg), answered, long)
		}
	}
}
