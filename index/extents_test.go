package index

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"wolfdisk/volume"
)

// source is where one byte of a file comes from: the version of the op that wrote it
// and its place in that op's data, or a chunk and the place in that. Zero is a hole.
type source struct {
	version volume.Version
	chunk   byte
	at      int64
}

// byteMap is a file, byte by byte, and which of its blocks are data, as a real directory has it.
type byteMap struct {
	b      []source
	blocks map[int64]bool
}

func newByteMap() *byteMap { return &byteMap{blocks: map[int64]bool{}} }

// fill makes the blocks data that a range touches.
func (m *byteMap) fill(off, n int64) {
	for k := off / volume.HoleBlock; n > 0 && k <= (off+n-1)/volume.HoleBlock; k++ {
		m.blocks[k] = true
	}
}

// free makes the blocks a hole that lie within a range.
func (m *byteMap) free(off, end int64) {
	for k := range m.blocks {
		if off <= k*volume.HoleBlock && (k+1)*volume.HoleBlock <= end {
			delete(m.blocks, k)
		}
	}
}

func (m *byteMap) grow(size int64) {
	if n := size - int64(len(m.b)); n > 0 {
		m.b = append(m.b, make([]source, n)...)
	}
}

func (m *byteMap) set(off, n int64, f func(i int64) source) {
	m.grow(off + n)
	for i := range n {
		m.b[off+i] = f(i)
	}
}

func (m *byteMap) apply(op *volume.Op) {
	hole := func(int64) source { return source{} }
	size := int64(len(m.b))
	switch op.Kind {
	case volume.OpWrite:
		m.fill(op.Offset, int64(len(op.Data)))
		m.set(op.Offset, int64(len(op.Data)), func(i int64) source {
			return source{version: op.Version, at: int64(op.DataOff) + i}
		})
	case volume.OpTruncate:
		m.free(op.Size, math.MaxInt64)
		m.grow(op.Size)
		m.b = m.b[:op.Size]
	case volume.OpFallocate:
		end := op.Offset + op.Length
		if op.Alloc&volume.FallocKeepSize == 0 {
			m.grow(end)
		}
		if op.Alloc&(volume.FallocPunchHole|volume.FallocZeroRange) != 0 {
			if n := min(end, int64(len(m.b))) - op.Offset; n > 0 {
				m.set(op.Offset, n, hole)
			}
			if op.Alloc&volume.FallocPunchHole != 0 && end > size { // ext4 takes the last block, too
				end = math.MaxInt64
			}
			m.free(op.Offset, end)
		}
	case volume.OpCopyChunks:
		off := op.Offset
		for _, c := range op.Chunks {
			if c.IsHole() {
				m.free(off, min(off+c.Length, size)) // it is punched in a real directory
			} else {
				m.fill(off, c.Length)
			}
			m.set(off, c.Length, func(i int64) source {
				if c.IsHole() {
					return source{}
				}
				return source{chunk: c.ID[0], at: c.Offset + i}
			})
			off += c.Length
		}
	}
}

// compare reads the map of content and says where it differs from the model.
func (m *byteMap) compare(e *Engine, ino volume.Ino, off, n int64) error {
	end := min(off+n, int64(len(m.b)))
	got := make([]source, max(0, end-off))
	last := int64(-1)
	blocks := map[int64]bool{}
	var bad error
	err := e.Extents(ino, off, n, func(x volume.Extent) bool {
		if x.Off < off || x.Off+x.Len > off+n || x.Off < last || x.Len <= 0 || x.Off+x.Len > int64(len(m.b)) {
			bad = fmt.Errorf("extent %+v in [%d,%d) of %d bytes, behind %d", x, off, off+n, len(m.b), last)
			return false
		}
		last = x.Off + x.Len
		for i := range x.Len {
			s := source{version: volume.Version(x.Log.Segment), at: int64(x.Log.Offset) + i}
			blocks[(x.Off+i)/volume.HoleBlock] = true
			if !x.InLog {
				s = source{chunk: x.Chunk.ID[0], at: x.Chunk.Offset + i}
			}
			if !x.InLog && x.Chunk.IsHole() {
				s = source{}
			}
			got[x.Off-off+i] = s
		}
		return true
	})
	if err != nil || bad != nil {
		return fmt.Errorf("%v, %w", err, bad)
	}
	if off == 0 && n == math.MaxInt64 && !maps.Equal(blocks, m.blocks) {
		return fmt.Errorf("blocks with data are %v, want %v", blocks, m.blocks)
	}
	for i, s := range got {
		if s != m.b[off+int64(i)] {
			return fmt.Errorf("byte %d is %+v, want %+v", off+int64(i), s, m.b[off+int64(i)])
		}
	}
	return nil
}

const extentSpan = 4 * volume.HoleBlock // bytes of the test's files

func randomContent(r *rand.Rand, ino volume.Ino) *volume.Op {
	off, n := r.Int64N(extentSpan), 1+r.Int64N([]int64{100, extentSpan / 2}[r.IntN(2)])
	if r.IntN(4) == 0 {
		off -= off % volume.HoleBlock
	}
	switch r.IntN(10) {
	case 0:
		return &volume.Op{Kind: volume.OpTruncate, Ino: ino, Size: off}
	case 1:
		return &volume.Op{Kind: volume.OpFallocate, Ino: ino, Offset: off, Length: n, Alloc: []uint32{
			0, volume.FallocKeepSize, volume.FallocZeroRange, volume.FallocZeroRange | volume.FallocKeepSize}[r.IntN(4)]}
	case 2:
		return &volume.Op{Kind: volume.OpFallocate, Ino: ino, Offset: off, Length: n, Alloc: volume.FallocPunchHole | volume.FallocKeepSize}
	case 3, 4:
		op := &volume.Op{Kind: volume.OpCopyChunks, Ino: ino, Offset: off}
		for range 1 + r.IntN(4) {
			op.Chunks = append(op.Chunks, volume.ChunkRef{ID: volume.ChunkID{byte(r.IntN(5))}, Offset: r.Int64N(1000), Length: 1 + r.Int64N([]int64{40, extentSpan / 2}[r.IntN(2)])})
		}
		return op
	}
	op := write(ino, off, make([]byte, n))
	op.DataOff = r.IntN(1000)
	return op
}

// TestExtents compares the map of content with a map of bytes, through random ops, one
// at a time and several at once, with replacements in between.
func TestExtents(t *testing.T) {
	seeds := uint64(30)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			e := openEngine(t, Options{})
			defer e.Close()
			f := newFeeder(t, e)
			f.enter(file(2, "a"), file(3, "b"))
			r := rand.New(rand.NewPCG(seed, 7))
			models := map[volume.Ino]*byteMap{2: newByteMap(), 3: newByteMap()}
			for step := range 300 {
				var ops []*volume.Op
				for range 1 + r.IntN(3)*r.IntN(3) {
					ops = append(ops, randomContent(r, volume.Ino(2+r.IntN(2))))
				}
				f.enter(ops...)
				for _, op := range ops {
					first := *op // content is addressed by the batch's frame
					first.Version = ops[0].Version
					models[op.Ino].apply(&first)
				}
				if r.IntN(4) == 0 {
					replaceSome(t, e, r, models)
				}
				for ino, m := range models {
					a, err := e.GetAttr(ino)
					if err != nil || a.Size != int64(len(m.b)) {
						t.Fatalf("step %d: size %d, %v, want %d", step, a.Size, err, len(m.b))
					}
					off, n := r.Int64N(extentSpan), 1+r.Int64N(extentSpan)
					if err := m.compare(e, ino, off, n); err != nil {
						t.Fatalf("step %d, %s: %v", step, ops[0].Kind, err)
					}
					if err := m.compare(e, ino, 0, math.MaxInt64); err != nil {
						t.Fatalf("step %d, %s: %v", step, ops[0].Kind, err)
					}
				}
			}
		})
	}
}

// replaceSome moves parts of extents into chunks, and tries to move what is out of
// date.
func replaceSome(t *testing.T, e *Engine, r *rand.Rand, models map[volume.Ino]*byteMap) {
	t.Helper()
	var list []Replacement
	want := 0
	for ino, m := range models {
		var covered int64
		err := e.Extents(ino, r.Int64N(extentSpan), 1+r.Int64N(extentSpan/2), func(x volume.Extent) bool {
			if r.IntN(2) == 0 {
				return true
			}
			old := cutExtent(x, x.Off+r.Int64N(x.Len), x.Off+x.Len)
			old = cutExtent(old, old.Off, old.Off+1+r.Int64N(old.Len))
			id := byte(10 + r.IntN(200))
			stale := r.IntN(4) == 0
			if stale {
				old.Log.Offset++
				old.Chunk.Offset++
				if old.InLog {
					old.Chunk.Offset = 0
				} else {
					old.Log.Offset = 0
				}
			}
			at := int64(5)
			if r.IntN(2) == 0 { // what lies side by side becomes one extent
				id, at = 9, old.Off
			}
			list = append(list, Replacement{ino, old, volume.Extent{Off: old.Off, Len: old.Len, Chunk: volume.ChunkRef{ID: volume.ChunkID{id}, Offset: at, Length: old.Len}}})
			covered = old.Off + old.Len
			if !stale {
				want++
				m.set(old.Off, old.Len, func(i int64) source { return source{chunk: id, at: at + i} })
			}
			return true
		})
		_ = covered
		if err != nil {
			t.Fatal(err)
		}
	}
	taken, err := e.Replace(list)
	if err != nil || taken != want {
		t.Fatalf("replaced %d, %v, want %d of %d", taken, err, want, len(list))
	}
}

// A copy of several chunks must not bring back what lay under the first of them.
func TestCopyChunksOverOneExtent(t *testing.T) {
	for _, together := range []bool{false, true} {
		e := openEngine(t, Options{})
		f := newFeeder(t, e)
		f.enter(file(2, "a"))
		f.enter(write(2, 0, make([]byte, 100)))
		op := &volume.Op{Kind: volume.OpCopyChunks, Ino: 2, Chunks: []volume.ChunkRef{
			{ID: volume.ChunkID{1}, Length: 40}, {Length: 10}, {ID: volume.ChunkID{2}, Length: 40}}}
		if together {
			f.enter(op, file(3, "b"))
		} else {
			f.enter(op)
		}
		var got []string
		if err := e.Extents(2, 0, 1000, func(x volume.Extent) bool {
			got = append(got, fmt.Sprint(x.Off, "+", x.Len, " ", x.InLog, " ", x.Chunk.ID[0]))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		want := "[0+40 false 1 50+40 false 2 90+10 true 0]"
		if fmt.Sprint(got) != want {
			t.Errorf("batch of several %t: %v, want %s", together, got, want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReplace(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	f.enter(file(2, "a"), file(3, "b"))
	op := write(2, 100, make([]byte, 50))
	op.DataOff = 7
	f.enter(op)
	ref := volume.LogRef{Segment: uint64(op.Version)}
	logged := func(off, n int64) volume.Extent {
		r := ref
		r.Offset = uint32(7 + off - 100)
		return volume.Extent{Off: off, Len: n, InLog: true, Log: r}
	}
	chunk := func(id byte, off, n int64) volume.Extent {
		return volume.Extent{Off: off, Len: n, Chunk: volume.ChunkRef{ID: volume.ChunkID{id}, Length: n}}
	}
	all := func() (xs []volume.Extent) {
		if err := e.Extents(2, 0, math.MaxInt64, func(x volume.Extent) bool { xs = append(xs, x); return true }); err != nil {
			t.Fatal(err)
		}
		return xs
	}
	wrong := logged(110, 10)
	wrong.Log.Segment++
	for _, c := range []struct {
		name     string
		ino      volume.Ino
		old, new volume.Extent
		taken    int
		want     []volume.Extent
	}{
		{"another place in the log", 2, wrong, chunk(1, 110, 10), 0, []volume.Extent{logged(100, 50)}},
		{"beyond the extent", 2, logged(140, 11), chunk(1, 140, 11), 0, []volume.Extent{logged(100, 50)}},
		{"before the extent", 2, logged(100, 10), chunk(1, 99, 10), 0, []volume.Extent{logged(100, 50)}},
		{"another length", 2, logged(100, 10), chunk(1, 100, 11), 0, []volume.Extent{logged(100, 50)}},
		{"empty", 2, logged(100, 0), chunk(1, 100, 0), 0, []volume.Extent{logged(100, 50)}},
		{"another file", 3, logged(100, 50), chunk(1, 100, 50), 0, []volume.Extent{logged(100, 50)}},
		{"no such file", 9, logged(100, 50), chunk(1, 100, 50), 0, []volume.Extent{logged(100, 50)}},
		{"middle", 2, logged(110, 10), chunk(1, 110, 10), 1, []volume.Extent{logged(100, 10), chunk(1, 110, 10), logged(120, 30)}},
		{"the same again", 2, logged(110, 10), chunk(2, 110, 10), 0, []volume.Extent{logged(100, 10), chunk(1, 110, 10), logged(120, 30)}},
		{"left part", 2, logged(120, 10), chunk(3, 120, 10), 1, []volume.Extent{logged(100, 10), chunk(1, 110, 10), chunk(3, 120, 10), logged(130, 20)}},
		{"right part", 2, logged(140, 10), chunk(4, 140, 10), 1, []volume.Extent{logged(100, 10), chunk(1, 110, 10), chunk(3, 120, 10), logged(130, 10), chunk(4, 140, 10)}},
		{"whole", 2, logged(100, 10), chunk(5, 100, 10), 1, []volume.Extent{chunk(5, 100, 10), chunk(1, 110, 10), chunk(3, 120, 10), logged(130, 10), chunk(4, 140, 10)}},
	} {
		n, err := e.Replace([]Replacement{{c.ino, c.old, c.new}})
		if got := all(); err != nil || n != c.taken || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %d taken, %v\n got %v\nwant %v", c.name, n, err, got, c.want)
		}
	}
	// What follows in the file and in the chunk joins what is before it.
	next := chunk(3, 130, 10)
	next.Chunk.Offset = 10
	joined := chunk(3, 120, 20)
	if n, err := e.Replace([]Replacement{{2, logged(130, 10), next}}); err != nil || n != 1 ||
		fmt.Sprint(all()) != fmt.Sprint([]volume.Extent{chunk(5, 100, 10), chunk(1, 110, 10), joined, chunk(4, 140, 10)}) {
		t.Errorf("joined: %d taken, %v: %v", n, err, all())
	}
	// Two parts of one extent in one call: the second must see what the first left.
	f.enter(write(3, 0, make([]byte, 30)))
	seg := f.ops[len(f.ops)-1].Version
	part := func(off, n int64) volume.Extent {
		return volume.Extent{Off: off, Len: n, InLog: true, Log: volume.LogRef{Segment: uint64(seg), Offset: uint32(off)}}
	}
	n, err := e.Replace([]Replacement{{3, part(0, 10), chunk(1, 0, 10)}, {3, part(10, 10), chunk(2, 10, 10)}, {3, part(5, 10), chunk(3, 5, 10)}})
	if err != nil || n != 2 {
		t.Errorf("two parts: %d taken, %v", n, err)
	}
}

func TestLogExtents(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	var want []string
	var through uint64
	const files = 40
	for i := range volume.Ino(files) {
		ino := files + 2 - i // not in the order of inodes
		f.enter(file(ino, fmt.Sprint(ino)))
		for j := range 60 {
			f.enter(write(ino, int64(j)*10, make([]byte, 5)))
		}
		if i == files/2 {
			through = uint64(f.ops[len(f.ops)-1].Version)
		}
	}
	f.enter(&volume.Op{Kind: volume.OpCopyChunks, Ino: files + 1, Chunks: []volume.ChunkRef{{ID: volume.ChunkID{1}, Length: 5}}})
	for ino := volume.Ino(files + 2 - files/2); ino <= files+2; ino++ {
		for j := range 60 {
			if ino != files+1 || j > 0 {
				want = append(want, fmt.Sprint(ino, " ", j*10))
			}
		}
	}
	var got []string
	err := e.LogExtents(context.Background(), through, func(ino volume.Ino, x volume.Extent) bool {
		got = append(got, fmt.Sprint(ino, " ", x.Off))
		if len(got)%500 == 0 { // no lock is held: the index can be written meanwhile
			f.enter(file(files+10+volume.Ino(len(got)), fmt.Sprint("x", len(got))))
		}
		return true
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d extents, %v, want %d", len(got), err, len(want))
	}
	count := 0
	if err := e.LogExtents(context.Background(), through, func(volume.Ino, volume.Extent) bool { count++; return count < 3 }); err != nil || count != 3 {
		t.Errorf("stopped after %d, %v", count, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = e.LogExtents(ctx, through, func(volume.Ino, volume.Extent) bool { cancel(); return true })
	wantKind(t, "cancelled", err, volume.Interrupted)
}

// dataBlocks is where SEEK_DATA and SEEK_HOLE find data by the extents of a file: "0-4096,8192-9000".
func dataBlocks(t *testing.T, e *Engine, ino volume.Ino) string {
	t.Helper()
	a, err := e.GetAttr(ino)
	if err != nil {
		t.Fatal(err)
	}
	var list []span
	if err := e.Extents(ino, 0, math.MaxInt64, func(x volume.Extent) bool {
		off, end := x.Off/volume.HoleBlock*volume.HoleBlock, min((x.Off+x.Len+volume.HoleBlock-1)/volume.HoleBlock*volume.HoleBlock, a.Size)
		if n := len(list); n > 0 && off <= list[n-1].end {
			list[n-1].end = end
		} else {
			list = append(list, span{off, end})
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, s := range list {
		text = append(text, fmt.Sprint(s.off, "-", s.end))
	}
	return strings.Join(text, ",")
}

// TestHolesAsInDirectory: the answers are those of ext4 in Linux 6.18, with blocks of 4 KiB, when its
// cache is empty; with pages in it, what was made zeros there may be data a while longer.
func TestHolesAsInDirectory(t *testing.T) {
	const block = volume.HoleBlock
	w := func(n int, off int64) *volume.Op { return write(2, off, make([]byte, n)) }
	cut := func(size int64) *volume.Op { return &volume.Op{Kind: volume.OpTruncate, Ino: 2, Size: size} }
	alloc := func(mode uint32, off, n int64) *volume.Op {
		return &volume.Op{Kind: volume.OpFallocate, Ino: 2, Alloc: mode, Offset: off, Length: n}
	}
	punch := func(off, n int64) *volume.Op { return alloc(volume.FallocPunchHole|volume.FallocKeepSize, off, n) }
	zero := func(off, n int64) *volume.Op { return alloc(volume.FallocZeroRange, off, n) }
	zeroKeep := func(off, n int64) *volume.Op { return alloc(volume.FallocZeroRange|volume.FallocKeepSize, off, n) }
	type ops = []*volume.Op
	cases := []struct {
		name string
		ops  ops
		want string
	}{
		{"punch a part", ops{cut(2 * block), w(10, 100), punch(100, 10)}, "0-4096"},
		{"zero a part", ops{cut(2 * block), w(10, 100), zero(100, 10)}, "0-4096"},
		{"zero a part, keep", ops{cut(2 * block), w(10, 100), zeroKeep(100, 10)}, "0-4096"},
		{"cut before the data of a block", ops{w(10, 6000), cut(5000)}, "4096-5000"},
		{"cut at a block", ops{w(10, 6000), cut(block)}, ""},
		{"cut in the hole before", ops{w(10, 6000), cut(100)}, ""},
		{"cut behind the first byte of a block", ops{w(10, 6000), cut(block + 1)}, "4096-4097"},
		{"cut and grow", ops{w(10, 6000), cut(5000), cut(3 * block)}, "4096-8192"},
		{"cut at a block and grow", ops{w(10, 6000), cut(block), cut(3 * block)}, ""},
		{"cut twice", ops{w(10, 6000), cut(5000), cut(4500)}, "4096-4500"},
		{"cut in a block, at a block, and grow", ops{w(10, 6000), cut(5000), cut(block), cut(3 * block)}, ""},
		{"cut data", ops{w(3*block, 0), cut(5000)}, "0-5000"},
		{"punch a block", ops{w(3*block, 0), punch(block, block)}, "0-4096,8192-12288"},
		{"punch blocks and parts", ops{w(4*block, 0), punch(100, 3*block)}, "0-4096,12288-16384"},
		{"punch blocks and parts with all of the data there", ops{cut(4 * block), w(10, 200), w(10, 3*block+10), punch(100, 3*block)}, "0-4096,12288-16384"},
		{"punch within data", ops{w(block, 0), punch(100, 100)}, "0-4096"},
		{"punch a block in two", ops{w(block, 0), w(10, 2*block), punch(0, 2000), punch(2000, block-2000)}, "0-4096,8192-8202"},
		{"punch a part, then the block", ops{w(block, 0), w(10, 2*block), punch(0, 2000), punch(0, block)}, "8192-8202"},
		{"punch in two, then cut", ops{w(block, 0), punch(0, 100), punch(100, block-100), cut(50)}, "0-50"},
		{"punch a hole", ops{cut(4 * block), punch(100, 3*block)}, ""},
		{"punch to the end", ops{w(5000, 0), punch(block, 5000-block)}, "0-5000"},
		{"punch to behind the end", ops{w(5000, 0), punch(block, 5001-block)}, "0-4096"},
		{"punch to the end of the last block", ops{w(5000, 0), punch(block, block)}, "0-4096"},
		{"punch far beyond the end", ops{w(5000, 0), punch(block, 10*block)}, "0-4096"},
		{"punch all", ops{w(100, 0), punch(0, 100)}, "0-100"},
		{"punch all and more", ops{w(100, 0), punch(0, 101)}, ""},
		{"punch a part to beyond the end", ops{w(5000, 0), punch(4500, 10*block)}, "0-5000"},
		{"punch to within the last block", ops{w(5000, 0), punch(0, 4500)}, "4096-5000"},
		{"punch up to data", ops{cut(3 * block), w(100, 9000), punch(0, 9000)}, "8192-12288"},
		{"punch over the data of a block", ops{cut(3 * block), w(100, 9000), punch(0, 9100)}, "8192-12288"},
		{"punch from data to the end", ops{cut(3 * block), w(100, 9000), punch(9000, 3*block-9000)}, "8192-12288"},
		{"zero a block", ops{w(3*block, 0), zero(block, block)}, "0-4096,8192-12288"},
		{"zero a block, keep", ops{w(3*block, 0), zeroKeep(block, block)}, "0-4096,8192-12288"},
		{"zero blocks and parts", ops{w(4*block, 0), zero(100, 3*block)}, "0-4096,12288-16384"},
		{"zero data and parts of holes", ops{cut(4 * block), w(block, block), zero(100, 3*block)}, ""},
		{"zero to the end", ops{w(5000, 0), zero(block, 5000-block)}, "0-5000"},
		{"zero to behind the end", ops{w(5000, 0), zero(block, 5001-block)}, "0-5001"},
		{"zero to behind the end, keep", ops{w(5000, 0), zeroKeep(block, 5001-block)}, "0-5000"},
		{"zero to the end of the last block", ops{w(5000, 0), zero(block, block)}, "0-4096"},
		{"zero to the end of the last block, keep", ops{w(5000, 0), zeroKeep(block, block)}, "0-4096"},
		{"zero far beyond the end", ops{w(5000, 0), zero(block, 3*block+10)}, "0-4096"},
		{"zero far beyond the end, keep", ops{w(5000, 0), zeroKeep(block, 3*block+10)}, "0-4096"},
		{"zero a part to beyond the end", ops{w(5000, 0), zero(4500, 3*block)}, "0-8192"},
		{"zero a part to beyond the end, keep", ops{w(5000, 0), zeroKeep(4500, 3*block)}, "0-5000"},
		{"zero behind the end", ops{w(5000, 0), zero(5000, 100)}, "0-5100"},
		{"zero behind the last block", ops{w(5000, 0), zero(3*block, 100)}, "0-8192"},
		{"zero a small file", ops{w(100, 0), zero(0, 200)}, "0-200"},
		{"zero the block of a small file", ops{w(100, 0), zero(0, block)}, ""},
		{"zero blocks, then cut in them", ops{w(4*block, 0), zero(block, 2*block), cut(5000)}, "0-4096"},
		{"zero a part of zeros", ops{w(4*block, 0), zero(block, block), zero(block+10, 10)}, "0-4096,8192-16384"},
		{"allocate", ops{alloc(0, 0, 4*block)}, ""},
		{"allocate over data", ops{w(10, 0), alloc(0, 0, 4*block)}, "0-4096"},
		{"allocate, write, punch", ops{alloc(0, 0, 4*block), w(10, block+5), punch(block, 100)}, "4096-8192"},
		{"allocate, write, cut", ops{alloc(0, 0, 4*block), w(10, block+1000), cut(block + 500)}, "4096-4596"},
		{"punch a part of what is allocated", ops{alloc(0, 0, 4*block), punch(10, 10)}, ""},
		{"write zeros", ops{cut(4 * block), w(block, block)}, "4096-8192"},
		{"cut to nothing and grow", ops{w(block, 0), cut(0), cut(block)}, ""},
	}
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	ino := volume.Ino(1)
	for _, together := range []bool{false, true} {
		for _, c := range cases {
			ino++
			f.enter(file(ino, fmt.Sprint(ino)))
			var list ops
			for _, op := range c.ops {
				mine := *op
				mine.Ino = ino
				list = append(list, &mine)
			}
			if together {
				f.enter(list...)
			} else {
				for _, op := range list {
					f.enter(op)
				}
			}
			if got := dataBlocks(t, e, ino); got != c.want {
				t.Errorf("%s, in one batch %v: data at %q, want %q", c.name, together, got, c.want)
			}
		}
	}
}
