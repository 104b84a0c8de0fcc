package master_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// TestEncodedOnce: with three followers, one of which joins late, each op is encoded and
// compressed once, by the leader's log; what the followers hold are the same frames,
// byte for byte.
func TestEncodedOnce(t *testing.T) {
	k := testKeys(t)
	lr := newRig(t)
	defer lr.abandon()
	l := lr.lead(1)
	side := serveFeeds(t, k, lr, l)
	c, cancel := context.WithCancel(ctx)
	var ended sync.WaitGroup
	defer ended.Wait()
	defer cancel()
	var rigs []*rig
	var followers []*slave.Follower
	join := func(id string) {
		r := newRig(t)
		f := slave.New(slave.Options{Tree: r.tree, Log: r.log, Log0: zerolog.Nop()})
		e := newEnd(k, id, r, noEpoch)
		s, err := wire.Dial(c, e.cfg, side.addr, e)
		if err != nil {
			t.Fatal(err)
		}
		ended.Go(func() { f.Follow(c, s) })
		rigs, followers = append(rigs, r), append(followers, f)
	}
	defer func() {
		cancel()
		ended.Wait()
		for _, r := range rigs {
			r.abandon()
		}
	}()
	join("b")
	join("cc")
	work := func(name string) {
		ino := mkFile(t, l, name)
		for i := range 40 {
			data := bytes.Repeat(fmt.Appendf(nil, "%s %d ", name, i), 4000)
			mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: int64(i) << 16, Data: data})
		}
	}
	work("before")
	join("ddd")
	work("after")
	last := lr.log.Last().Version
	for i, f := range followers {
		waitFor(t, fmt.Sprint("follower ", i), func() bool { _, a, _ := f.Progress(); return a == last })
	}
	if got := lr.log.Encoded(); got != uint64(last) {
		t.Errorf("the leader encoded %d ops for %d", got, last)
	}
	want := frames(t, lr)
	for i, r := range rigs {
		if got := r.log.Encoded(); got != 0 {
			t.Errorf("follower %d encoded %d ops", i, got)
		}
		if !bytes.Equal(frames(t, r), want) {
			t.Errorf("follower %d holds other bytes than the leader", i)
		}
	}
}

// frames are the bytes of all frames of a log.
func frames(t *testing.T, r *rig) []byte {
	t.Helper()
	rd, err := r.log.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	var all []byte
	for {
		f, ok, err := rd.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, f.Bytes...)
	}
}
