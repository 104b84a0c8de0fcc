package volume

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// answering is a volume whose Do is a function.
type answering struct {
	Volume
	do func(ctx context.Context, req *Request) (Result, error)
}

func (a answering) Do(ctx context.Context, req *Request) (Result, error) { return a.do(ctx, req) }

// over calls a volume as a session would.
func over(v Volume) func(context.Context, uint16, []byte, int) ([]byte, error) {
	return func(ctx context.Context, kind uint16, body []byte, max int) ([]byte, error) {
		if kind != RequestForward {
			return nil, Unsupported
		}
		b, err := ServeForward(ctx, body, v)
		if len(b) > max {
			return nil, TooBig
		}
		return b, err
	}
}

func forwarded() *Request {
	return &Request{Kind: OpUnlink, Parent: 1, Name: "a", Caller: Caller{UID: 7, Front: FrontFUSE, PID: 9, Client: "node-2", Seq: 5}}
}

func TestForward(t *testing.T) {
	want := Result{Version: 9, Attr: Attr{Ino: 4, Mode: ModeFile | 0o644}, N: 3, Offset: 8}
	var got Request
	v := answering{do: func(_ context.Context, req *Request) (Result, error) { got = *req; return want, nil }}
	req := forwarded()
	res, err := Forward(t.Context(), over(v), req)
	if err != nil || res != want {
		t.Fatalf("%+v, %v", res, err)
	}
	// The front stays what it was.
	if got.Caller != (Caller{UID: 7, Front: FrontFUSE, Client: "node-2", Seq: 5}) || got.Name != "a" || got.Kind != OpUnlink {
		t.Errorf("the volume was asked for %+v", got)
	}
}

// Every kind of error arrives as it was said, and is no reason to ask again but for those
// of a node that cannot lead.
func TestForwardErrors(t *testing.T) {
	for k := range kindCount {
		for _, sent := range []error{k, Errorf(k, "unlink %q: so it is", "a")} {
			v := answering{do: func(context.Context, *Request) (Result, error) { return Result{}, sent }}
			res, err := Forward(t.Context(), over(v), forwarded())
			if KindOf(err) != k || res != (Result{}) || ErrnoOf(err) != k.Errno() || err.Error() != sent.Error() {
				t.Errorf("%v: %+v, %v", sent, res, err)
			}
			var u *Unanswered
			if errors.As(err, &u) {
				t.Errorf("%v: it was answered", sent)
			}
			leaves := k == ReadOnly || k == Fenced || k == Closed || k == Fault
			if Repeatable(err) != leaves {
				t.Errorf("%v: to be repeated %t, want %t", sent, Repeatable(err), leaves)
			}
		}
	}
	if Repeatable(nil) {
		t.Error("a success is to be repeated")
	}
	for _, sent := range []error{syscall.ENOSPC, Errorf(Exists, "%s", strings.Repeat("ä", 2000)), Errorf(IO, "\x1b[31m\xff\x00")} {
		v := answering{do: func(context.Context, *Request) (Result, error) { return Result{}, sent }}
		_, err := Forward(t.Context(), over(v), forwarded())
		if KindOf(err) != KindOf(sent) || len(err.Error()) > maxForwardText || strings.ContainsAny(err.Error(), "\x00\x1b\xff") {
			t.Errorf("%.20v: %v", sent, err)
		}
	}
}

// Whatever happens on the way leaves open whether the request was done.
func TestForwardUnanswered(t *testing.T) {
	lost := func(context.Context, uint16, []byte, int) ([]byte, error) { return nil, Errorf(Unavailable, "lost") }
	_, err := Forward(t.Context(), lost, forwarded())
	if !Repeatable(err) || KindOf(err) != Unavailable {
		t.Errorf("%v", err)
	}
	for _, answer := range [][]byte{nil, {0}, {1}, {2, 0}, {0, 0xc0}, append([]byte{1, 1}, make([]byte, maxForwardText+1)...)} {
		bad := func(context.Context, uint16, []byte, int) ([]byte, error) { return answer, nil }
		if _, err := Forward(t.Context(), bad, forwarded()); !Repeatable(err) || KindOf(err) != BadFormat {
			t.Errorf("answer % x: %v", answer[:min(len(answer), 4)], err)
		}
	}
	unknown := func(context.Context, uint16, []byte, int) ([]byte, error) { return []byte{1, 255, 'x'}, nil }
	if _, err := Forward(t.Context(), unknown, forwarded()); KindOf(err) != Unknown || Repeatable(err) {
		t.Errorf("an unknown kind: %v", err)
	}
	// A caller that has gone gets no answer that would only be about its going.
	ctx, cancel := context.WithCancel(t.Context())
	v := answering{do: func(ctx context.Context, _ *Request) (Result, error) { cancel(); return Result{}, Interrupted }}
	if _, err := Forward(ctx, over(v), forwarded()); !Repeatable(err) {
		t.Errorf("the caller has gone: %v", err)
	}
	done := answering{do: func(context.Context, *Request) (Result, error) { t.Error("done for nobody"); return Result{}, nil }}
	if _, err := Forward(ctx, over(done), forwarded()); !Repeatable(err) {
		t.Errorf("the caller has gone before: %v", err)
	}
}

// What is malformed is refused on both sides, and never reaches the volume.
func TestForwardRefuses(t *testing.T) {
	v := answering{do: func(context.Context, *Request) (Result, error) { t.Error("asked"); return Result{}, nil }}
	for what, change := range map[string]func(*Request){
		"client": func(r *Request) { r.Caller.Client = "" }, "number": func(r *Request) { r.Caller.Seq = 0 },
		"name": func(r *Request) { r.Name = "" }, "kind": func(r *Request) { r.Kind = OpReign },
	} {
		r := forwarded()
		change(r)
		if _, err := Forward(t.Context(), over(v), r); err == nil || Repeatable(err) {
			t.Errorf("%s: %v", what, err)
		}
		if r.Kind == OpReign {
			continue
		}
		b, err := ServeForward(t.Context(), handMade(*r), v)
		if err != nil || len(b) < 2 || b[0] != forwardFailed {
			t.Errorf("%s: answer % x, %v", what, b, err)
		}
	}
	b, err := ServeForward(t.Context(), []byte{0xc0}, v)
	if err != nil || len(b) < 2 || Kind(b[1]) != BadFormat {
		t.Errorf("garbage: answer % x, %v", b, err)
	}
}
