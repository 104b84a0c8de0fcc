package admin

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

func versions(t *testing.T, c *Client, q OpsQuery) ([]uint64, error) {
	t.Helper()
	var list []uint64
	err := c.Ops(within(t, 10*time.Second), q, func(l OpLine) error {
		list = append(list, l.Version)
		return nil
	})
	return list, err
}

func TestOps(t *testing.T) {
	f := newFake()
	f.add(5)
	c := dial(t, start(t, Options{Source: f}))
	tests := []struct {
		q    OpsQuery
		want []uint64
	}{
		{OpsQuery{}, []uint64{1, 2, 3, 4, 5}},
		{OpsQuery{From: 4}, []uint64{4, 5}},
		{OpsQuery{From: 2, Limit: 2}, []uint64{2, 3}},
		{OpsQuery{From: 6}, nil},
		{OpsQuery{From: 4, Limit: 2, Follow: true}, []uint64{4, 5}},
	}
	for _, tt := range tests {
		if got, err := versions(t, c, tt.q); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v: %v, %v; want %v", tt.q, got, err, tt.want)
		}
	}
}

func TestOpsErrors(t *testing.T) {
	f := newFake()
	f.opsErr = volume.Errorf(volume.TooOld, "op 1 is no longer in the log")
	s := start(t, Options{Source: f})
	c := dial(t, s)
	for _, follow := range []bool{false, true} {
		_, err := versions(t, c, OpsQuery{From: 1, Follow: follow})
		if volume.KindOf(err) != volume.TooOld || !strings.Contains(err.Error(), "op 1 is no longer in the log (WD-1231): ask from a later version") {
			t.Errorf("at once: %v", err)
		}
	}
	if code, _, text := request(t, s, "GET", "/v1/oplog?from=1", nil); code != 410 || !strings.HasPrefix(text, `{"code":"WD-1231"`) {
		t.Errorf("%d %s", code, text)
	}
	f.add(3)
	f.set(func() { f.opsErr = volume.Errorf(volume.Corrupt, "segment 1 is damaged") })
	got, err := versions(t, c, OpsQuery{})
	if len(got) != 3 || volume.KindOf(err) != volume.Corrupt {
		t.Errorf("in the middle: %v, %v", got, err)
	}
	mine := errors.New("mine")
	if err := c.Ops(within(t, 5*time.Second), OpsQuery{}, func(OpLine) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("the reader's own error: %v", err)
	}
}

func TestFollow(t *testing.T) {
	f := newFake()
	f.add(2)
	s := start(t, Options{Source: f})
	ctx, cancel := context.WithCancel(within(t, 20*time.Second))
	lines := make(chan OpLine)
	done := make(chan error, 1)
	go func() {
		done <- dial(t, s).Ops(ctx, OpsQuery{Follow: true}, func(l OpLine) error { lines <- l; return nil })
	}()
	next := func(want uint64) {
		t.Helper()
		select {
		case l := <-lines:
			if l.Version != want {
				t.Fatalf("version %d, want %d", l.Version, want)
			}
		case err := <-done:
			t.Fatalf("ended: %v", err)
		}
	}
	next(1)
	next(2)
	for i := uint64(3); i < 6; i++ {
		f.add(1)
		next(i)
	}
	f.add(1000)
	for i := uint64(6); i < 1006; i++ {
		next(i)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); len(s.streams) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the daemon did not notice that the reader left")
		}
	}
}

func TestTooManyStreams(t *testing.T) {
	f := newFake()
	s := start(t, Options{Source: f})
	ctx, cancel := context.WithCancel(within(t, 20*time.Second))
	defer cancel()
	done := make(chan error, maxStreams)
	for range maxStreams {
		go func() {
			done <- Dial(s.opts.StateDir).Ops(ctx, OpsQuery{Follow: true}, func(OpLine) error { return nil })
		}()
	}
	for len(s.streams) < maxStreams {
		time.Sleep(time.Millisecond)
	}
	_, err := versions(t, dial(t, s), OpsQuery{})
	var e *Error
	if !errors.As(err, &e) || e.Code != codeBusy {
		t.Errorf("one too many: %v", err)
	}
	if _, err := dial(t, s).Status(ctx); err != nil {
		t.Errorf("streams must not keep out others: %v", err)
	}
	cancel()
	for range maxStreams {
		<-done
	}
}

// A daemon that dies in the middle of a stream must not look like the end of it.
func TestBrokenStream(t *testing.T) {
	dir := stateDir(t)
	l, err := net.Listen("unix", SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			conn.Read(buf)
			conn.Write([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "e\r\n{\"version\":1}\n\r\n"))
			conn.Close()
		}
	}()
	got, err := versions(t, Dial(dir), OpsQuery{})
	if len(got) != 1 || err == nil || exit.Of(err) != exit.Failed {
		t.Errorf("%v, %v", got, err)
	}
}

func TestOpLineOf(t *testing.T) {
	at := volume.Time{Sec: 1700000000, Nsec: 5}
	tests := []struct {
		name string
		op   volume.Op
		want OpLine
	}{
		{"create", volume.Op{Kind: volume.OpCreate, Version: 7, Time: at, Ino: 9, Parent: 1, Name: "a", Mode: volume.ModeFile | 0o644, Caller: volume.Caller{UID: 1000, GID: 100, Front: volume.FrontFUSE}},
			OpLine{Version: 7, Kind: "create", Ino: 9, Parent: 1, Name: "a", Mode: "100644", UID: 1000, GID: 100, Front: "fuse"}},
		{"write", volume.Op{Kind: volume.OpWrite, Version: 8, Time: at, Ino: 9, Offset: 0, Data: make([]byte, 10)},
			OpLine{Version: 8, Kind: "write", Ino: 9, Offset: new(int64(0)), Length: new(int64(10)), Front: "node"}},
		{"truncate", volume.Op{Kind: volume.OpTruncate, Version: 8, Time: at, Ino: 9}, OpLine{Version: 8, Kind: "truncate", Ino: 9, Size: new(int64(0)), Front: "node"}},
		{"rename", volume.Op{Kind: volume.OpRename, Version: 8, Time: at, Ino: 9, Parent: 1, Name: "a", NewParent: 2, NewName: "b\xff", Replaced: 5, Flags: volume.OpExchange},
			OpLine{Version: 8, Kind: "rename", Ino: 9, Parent: 1, Name: "a", NewParent: 2, NewName: `"b\xff"`, RawNewName: []byte("b\xff"), Replaced: 5, Front: "node", Detail: "exchange"}},
		{"punch", volume.Op{Kind: volume.OpFallocate, Version: 8, Time: at, Ino: 9, Alloc: volume.FallocPunchHole | volume.FallocKeepSize, Offset: 4096, Length: 1},
			OpLine{Version: 8, Kind: "fallocate", Ino: 9, Offset: new(int64(4096)), Length: new(int64(1)), Front: "node", Detail: "punch hole"}},
		{"chunks", volume.Op{Kind: volume.OpCopyChunks, Version: 8, Time: at, Ino: 9, Offset: 5, Chunks: []volume.ChunkRef{{Length: 3}, {Length: 4}}},
			OpLine{Version: 8, Kind: "copychunks", Ino: 9, Offset: new(int64(5)), Length: new(int64(7)), Front: "node"}},
		{"reign", volume.Op{Kind: volume.OpReign, Version: 1, Time: at, Epoch: volume.Epoch{Number: 2, Leader: "n1", Tag: 3}},
			OpLine{Version: 1, Kind: "reign", Front: "node", Detail: "epoch 2/n1/00003"}},
		{"member", volume.Op{Kind: volume.OpMember, Version: 1, Time: at, Member: volume.Member{ID: "n2", Role: volume.RoleFollower, Removed: true}},
			OpLine{Version: 1, Kind: "member", Front: "node", Detail: "member n2, follower, removed"}},
	}
	for _, tt := range tests {
		tt.want.Time = "2023-11-14T22:13:20.000000005Z"
		if got := OpLineOf(&tt.op); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
	for sec, want := range map[int64]string{
		-1: "1969-12-31T23:59:59.000000000Z", 1 << 60: "@1152921504606846976.000000000", -1 << 60: "@-1152921504606846976.000000000",
	} {
		if got := timeText(volume.Time{Sec: sec}); got != want {
			t.Errorf("%d is %s, want %s", sec, got, want)
		}
	}
}
