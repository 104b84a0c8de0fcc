package volumetest

import (
	"testing"

	"wolfdisk/volume"
)

// stream sends steps of a seed to a Model and returns them as text.
func stream(t *testing.T, m *Model, seed uint64, steps int) (list []string, done, refused map[volume.OpKind]int) {
	t.Helper()
	g := Random(seed, chunkRefs(m.opt.Chunks)...)
	done, refused = map[volume.OpKind]int{}, map[volume.OpKind]int{}
	for range steps {
		s := g.Next()
		list = append(list, s.String())
		var res volume.Result
		var err error
		switch {
		case s.Open != 0:
			err = m.Open(t.Context(), s.Open, false)
		case s.Close != 0:
			err = m.Close(t.Context(), s.Close)
		default:
			if res, err = m.Do(t.Context(), s.Req); err == nil {
				done[s.Req.Kind]++
			} else {
				refused[s.Req.Kind]++
			}
		}
		g.Done(s, res, err)
	}
	return list, done, refused
}

func TestGenRepeats(t *testing.T) {
	a, _, _ := stream(t, NewModel(Options{Chunks: testChunks()}), 7, 2000)
	b, _, _ := stream(t, NewModel(Options{Chunks: testChunks()}), 7, 2000)
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("step %d of one seed is %s and %s", i, a[i], b[i])
		}
	}
	c, _, _ := stream(t, NewModel(Options{Chunks: testChunks()}), 8, 50)
	if c[0] == a[0] && c[1] == a[1] && c[2] == a[2] {
		t.Error("two seeds make the same stream")
	}
}

// TestGenReaches: a stream does every kind of op, most with success and some with a
// refusal, and leads to every condition that is worth its while.
func TestGenReaches(t *testing.T) {
	m := NewModel(Options{Chunks: testChunks()})
	_, done, refused := stream(t, m, 3, 6000)
	kinds := map[volume.OpKind]int{}
	reached := map[string]int{}
	for _, op := range m.Ops(0) {
		kinds[op.Kind]++
		for what, is := range map[string]bool{
			"exchange":          op.Flags&volume.OpExchange != 0,
			"ends":              op.Flags&volume.OpEnds != 0,
			"drops caps":        op.Flags&volume.OpDropCaps != 0,
			"displaces":         op.Replaced != 0 && op.Flags&volume.OpExchange == 0,
			"displaces an open": op.Replaced != 0 && op.Flags == 0,
			"clears setuid":     op.Kind == volume.OpWrite && op.Mask&volume.SetMode != 0,
			"inherits an ACL":   op.Kind == volume.OpCreate && len(op.Xattrs) > 0,
			"inherits both":     op.Kind == volume.OpCreate && len(op.Xattrs) == 2,
			"sets mode by ACL":  op.Kind == volume.OpSetXattr && op.Mask&volume.SetMode != 0,
			"punches":           op.Alloc == punch,
			"writes far":        op.Kind == volume.OpWrite && op.Offset >= 1<<32,
		} {
			if is {
				reached[what]++
			}
		}
	}
	for k := volume.OpCreate; k <= volume.OpPublish; k++ {
		if kinds[k] < 10 {
			t.Errorf("%d %s ops", kinds[k], k)
		}
		if k != volume.OpTruncate && k != volume.OpEnd && (refused[k] == 0 || done[k] < 10) {
			t.Errorf("%s: %d done, %d refused", k, done[k], refused[k])
		}
	}
	for _, what := range []string{"exchange", "ends", "drops caps", "displaces", "displaces an open", "clears setuid", "inherits an ACL",
		"inherits both", "sets mode by ACL", "punches", "writes far"} {
		if reached[what] == 0 {
			t.Errorf("no op in the stream: %s", what)
		}
	}
}
