package hostdir

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// child is the process that is killed. It applies random ops to the directory of its
// parent, whose index it follows by making the same one from the same seed, and prints
// each op once it would be in the log, before it frees the slot.
func child() int {
	seed, _ := strconv.ParseUint(os.Getenv("HOSTDIR_SEED"), 10, 64)
	r := &rig{t: &testing.T{}, path: os.Getenv("HOSTDIR_CHILD"), state: os.Getenv("HOSTDIR_STATE"), index: newFakeIndex(), next: 1,
		now: volume.Time{Sec: 1_600_000_000}, opt: func(*Options) {}}
	d, err := Open(Options{Path: r.path, StateDir: r.state, Volume: testVolume, Store: testStore, Log: zerolog.Nop(), MaxFDs: 64})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	r.dir = d
	attr, err := d.RootAttr()
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	r.index.inodes[volume.RootIno].attr = attr
	g := newRandom(r, seed)
	enc := volume.NewEncoder()
	for {
		op := g.op()
		if op == nil {
			continue
		}
		r.now.Sec++
		op.Time = r.now
		slot := d.Begin(op, r.index)
		a, err := d.Apply(ctx, op, r.index)
		if err != nil {
			fmt.Println("error", op.Kind, err)
			return 1
		}
		if op.Kind == volume.OpWrite {
			op.Data = op.Data[:a.N]
		}
		enc.Reset()
		b, err := enc.Add(op)
		if err != nil {
			fmt.Println("error", err)
			return 1
		}
		fmt.Println("op", base64.StdEncoding.EncodeToString(b))
		r.index.apply(op, a.Lower)
		slot.Done()
	}
}

// TestKilled kills a child with SIGKILL at a random moment and demands that the intents
// bring directory and log together.
func TestKilled(t *testing.T) {
	inspected := 0
	for round := range seeds(25, 400) {
		r := newRig(t)
		r.dir.Close()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HOSTDIR_CHILD="+r.path, "HOSTDIR_STATE="+r.state, fmt.Sprintf("HOSTDIR_SEED=%d", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ops, in := make(chan string, 1<<16), bufio.NewScanner(out)
		in.Buffer(nil, 1<<20)
		begun := make(chan struct{})
		go func() {
			defer close(ops)
			any := in.Scan()
			close(begun)
			for ; any; any = in.Scan() {
				ops <- in.Text()
			}
		}()
		<-begun // a busy machine takes its time to start it
		time.Sleep(time.Duration(rand.IntN(30000)) * time.Microsecond)
		cmd.Process.Kill()
		touched := NewTouched()
		for line := range ops {
			kind, rest, _ := strings.Cut(line, " ")
			b, err := base64.StdEncoding.DecodeString(rest)
			if kind != "op" || err != nil {
				if kind == "error" {
					t.Fatalf("child: %s", line)
				}
				continue
			}
			var op volume.Op
			if _, err := volume.NewDecoder(b).Next(&op); err != nil {
				break // the pipe was cut in the middle of a line
			}
			r.index.apply(&op, nil)
			touched.Add(&op)
			r.now = op.Time
		}
		cmd.Wait()
		r.next = 1 << 20
		r.open(false)
		if err := r.dir.Relearn(ctx, r.index, touched); err != nil {
			t.Fatal(err)
		}
		r.index.store(r.dir.PendingLower())
		for range 2 { // as if it crashed again before the intents were cleared
			for _, in := range r.dir.Intents() {
				inspected++
				err := r.dir.Inspect(ctx, in, r.index, func(op *volume.Op, lower []volume.LowerRecord) error {
					r.now.Sec++
					o := *op
					o.Time, o.Data = r.now, append([]byte(nil), op.Data...)
					r.index.apply(&o, lower)
					return nil
				})
				if err != nil {
					t.Fatalf("round %d: %+v: %v", round, in, err)
				}
			}
			r.dir.Close()
			r.open(false)
			if err := r.dir.Relearn(ctx, r.index, touched); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.dir.Tidy(ctx, r.index); err != nil {
			t.Fatal(err)
		}
		r.dir.ClearIntents()
		for ino, n := range r.index.inodes { // the child's index had other times for what was not logged
			r.dir.dirty.mark(ino, n.attr.Ctime)
		}
		r.compare()
		if len(r.dir.Intents()) != 0 || r.dir.Stats().Kept != 0 {
			t.Fatalf("round %d: intents %v, kept %d", round, r.dir.Intents(), r.dir.Stats().Kept)
		}
		r.dir.Close()
		r.dir = nil
	}
	if inspected == 0 {
		t.Fatal("no kill hit an op")
	}
	t.Logf("%d intents inspected", inspected)
}

// TestIntentSteps leaves every op applied but not logged, and applied and logged but
// not freed, in a fresh process.
func TestIntentSteps(t *testing.T) {
	for seed := range seeds(2, 20) {
		r := newRig(t)
		g := newRandom(r, seed)
		for i := range 250 {
			op := g.op()
			if op == nil {
				continue
			}
			r.now.Sec++
			op.Time = r.now
			r.dir.Begin(op, r.index)
			a, err := r.dir.Apply(ctx, op, r.index)
			if err != nil {
				t.Fatal(err)
			}
			if logged := g.IntN(3) == 0; logged {
				r.index.apply(op, a.Lower)
				r.log = append(r.log, op)
			}
			r.crash()
			for _, in := range r.dir.Intents() {
				err := r.dir.Inspect(ctx, in, r.index, func(op *volume.Op, lower []volume.LowerRecord) error {
					r.now.Sec++
					o := *op
					o.Time, o.Data = r.now, append([]byte(nil), op.Data...)
					r.index.apply(&o, lower)
					r.log = append(r.log, &o)
					return nil
				})
				if err != nil {
					t.Fatalf("op %d: %+v: %v", i, in, err)
				}
			}
			if err := r.dir.Tidy(ctx, r.index); err != nil {
				t.Fatal(err)
			}
			r.dir.ClearIntents()
			for ino, n := range r.index.inodes {
				r.dir.dirty.mark(ino, n.attr.Ctime)
			}
			r.compare()
			if r.dir.Stats().Kept != 0 {
				t.Fatalf("op %d: %s: something was kept", i, op.Kind)
			}
		}
	}
}

// TestIntentsOfAnotherBoot are of no use after a power loss.
func TestIntentsOfAnotherBoot(t *testing.T) {
	r := newRig(t, farBoot("one"))
	r.dir.Begin(&volume.Op{Kind: volume.OpWrite, Ino: 2, Offset: 5, Data: []byte("abc")}, r.index)
	r.dir.Close()
	r.open(false)
	in := r.dir.Intents()
	if len(in) != 1 || in[0].Kind != volume.OpWrite || in[0].Offset != 5 || in[0].Length != 3 {
		t.Fatalf("same boot: %+v", in)
	}
	r.dir.Close()
	r.opt = farBoot("two")
	r.open(false)
	if in := r.dir.Intents(); len(in) != 0 {
		t.Fatalf("other boot: %+v", in)
	}
}
