package master_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// source is a node that others ask for content: it answers with what the leader has, or
// does otherwise.
type source struct {
	l     *master.Leader
	how   string
	asked chan struct{} // holds a token once it was
}

func (k source) Frame([]byte) error     { return volume.WrongHistory }
func (k source) Progress(wire.Progress) {}
func (k source) Durable(volume.Version) {}
func (k source) content(ctx context.Context, body []byte) ([]byte, error) {
	q, err := volume.DecodeContentRequest(body)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = volume.ServeContent(ctx, &q, k.l, &out, make([]byte, volume.MaxContentItem))
	return out.Bytes(), err
}

func (k source) Request(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	if kind != volume.RequestContent {
		return volume.Unsupported
	}
	select {
	case k.asked <- struct{}{}:
	default:
	}
	b, err := k.content(ctx, body)
	if err != nil {
		return err
	}
	switch k.how {
	case "liar":
		b[len(b)-1] ^= 1
	case "cut":
		b = b[:len(b)/2]
	case "mute":
		<-ctx.Done()
		return ctx.Err()
	case "behind":
		return volume.Errorf(volume.Unavailable, "not there yet")
	}
	_, err = w.Write(b)
	return err
}

// callSource is a session with a node that answers like that.
func callSource(t *testing.T, k *wire.Keys, r *rig, l *master.Leader, src source, id string) *wire.Session {
	t.Helper()
	e := newEnd(k, id, r, noEpoch)
	e.session = func(s *wire.Session) { s.Serve(context.Background(), src) }
	ln, err := wire.Listen(e.cfg, "127.0.0.1:0", e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	me := newEnd(k, "b", nil, noEpoch)
	me.hello = func() wire.Hello {
		return wire.Hello{Software: "test", Volume: testVolume, ChunkSize: volume.MinChunkSize}
	}
	s, err := wire.Dial(ctx, me.cfg, ln.Addr().String(), me)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), source{}) }()
	t.Cleanup(func() { s.Close(volume.Closed); <-served })
	return s
}

// TestSyncSources makes a copy with content from several nodes: what one of them
// falsifies, cuts off, has not, or never sends comes from the leader.
func TestSyncSources(t *testing.T) {
	for _, c := range []struct {
		how    []string
		helped bool // by the first
	}{
		{[]string{"honest"}, true},
		{[]string{"liar"}, false},
		{[]string{"cut"}, false},
		{[]string{"behind"}, false},
		{[]string{"mute"}, false},
		{[]string{"gone"}, false},
		{[]string{"honest", "liar", "mute", "cut"}, true},
	} {
		t.Run(fmt.Sprint(c.how), func(t *testing.T) {
			k, lr := testKeys(t), newRig(t)
			defer lr.abandon()
			l := lr.lead(1)
			rng := rand.NewChaCha8([32]byte{1})
			const files, size = 24, 1 << 20 // a batch each
			for i := range files {
				ino := mkFile(t, l, fmt.Sprint("f", i))
				data := make([]byte, size)
				rng.Read(data)
				mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: data})
			}
			from := map[string]uint64{}
			var mu sync.Mutex
			cp := openCopying(t, vfs.NewMem())
			cp.opt.From = func(id string, n uint64) { mu.Lock(); from[id] += n; mu.Unlock() }
			cp.opt.Patience = 300 * time.Millisecond
			cp.sync = slave.NewSync(cp.opt)
			var others []slave.Source
			var asked []chan struct{}
			for i, how := range c.how {
				src := source{l, how, make(chan struct{}, 1)}
				id := fmt.Sprint("c", i)
				s := callSource(t, k, lr, l, src, id)
				if how == "gone" {
					s.Close(volume.Closed)
					src.asked <- struct{}{}
				}
				others, asked = append(others, slave.Source{ID: id, Caller: s}), append(asked, src.asked)
			}
			fr := copyFrom(t, k, serveHost(t, k, lr, l), cp, others)
			for i, a := range asked {
				select {
				case <-a:
				default:
					t.Errorf("%s was never asked", c.how[i])
				}
			}
			equalTrees(t, "the copy", lr, fr)
			var sum uint64
			for _, n := range from {
				sum += n
			}
			if sum < files*size || from["a"] == 0 || (from["c0"] > 0) != c.helped {
				t.Errorf("content came from %v", from)
			}
			if err := errors.Join(fr.engine.Close(), fr.log.Close(), cp.store.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// copyFrom makes a copy over one session that lasts.
func copyFrom(t *testing.T, k *wire.Keys, addr string, c *copying, others []slave.Source) *rig {
	t.Helper()
	e := newEnd(k, "b", nil, noEpoch)
	e.hello = func() wire.Hello {
		return wire.Hello{Software: "test", Volume: testVolume, ChunkSize: volume.MinChunkSize}
	}
	s, err := wire.Dial(ctx, e.cfg, addr, e)
	if err != nil {
		t.Fatal(err)
	}
	session := slave.NewSession(s, c.sync, func(context.Context, uint16, []byte, *wire.AnswerWriter) error { return volume.Unsupported })
	r := &rig{t: t, mem: c.mem, store: c.store}
	done := errors.New("done")
	err = session.Serve(ctx, func(ctx context.Context) error {
		if err := c.sync.Run(ctx, slave.Source{ID: "a", Caller: s}, func() []slave.Source { return append([]slave.Source(nil), others...) }); err != nil {
			return err
		}
		_, err := c.sync.Finish(context.Background(), func(log *oplog.Log, e *index.Engine) *slave.Follower {
			r.log, r.engine = log, e
			r.tree = index.NewTree(e, chunkstore.NewContent(e, log, c.store))
			return slave.New(slave.Options{Tree: r.tree, Log: log, Log0: zerolog.Nop()})
		})
		return errors.Join(err, done)
	})
	if !errors.Is(err, done) || r.log == nil {
		t.Fatal(err)
	}
	return r
}
