package chunkstore

import (
	"encoding/binary"
	"runtime"
	"testing"

	"wolfdisk/volume"
)

// The table against a Go map, with many removals.
func TestTable(t *testing.T) {
	rng := newRand(7)
	tab := newTable()
	model := map[volume.ChunkID]entry{}
	var ids []volume.ChunkID
	for range 3000 {
		var id volume.ChunkID
		binary.LittleEndian.PutUint64(id[:], rng.Uint64N(4000)) // some collide
		id[31] = byte(rng.IntN(3))
		ids = append(ids, id)
	}
	for step := range 60_000 {
		id := ids[rng.IntN(len(ids))]
		want, have := model[id]
		switch rng.IntN(3) {
		case 0:
			e := entry{id: id, raw: 1 + uint32(step), pack: uint32(step)}
			old, replaced := tab.put(e)
			if replaced != have || old != want {
				t.Fatal("put")
			}
			model[id] = e
		case 1:
			if tab.remove(&id) != have {
				t.Fatal("remove")
			}
			delete(model, id)
		default:
			got := tab.get(&id)
			if (got != nil) != have || have && *got != want {
				t.Fatal("get")
			}
		}
		if tab.count != len(model) {
			t.Fatal("count")
		}
	}
	seen := 0
	for p := 0; tab.page(p, func(e *entry) {
		seen++
		if model[e.id] != *e {
			t.Error("page shows what is not there")
		}
	}); p++ {
	}
	if seen != len(model) {
		t.Fatalf("pages show %d of %d", seen, len(model))
	}
}

// A million chunks, 4 TiB of content, take about 60 MB.
func TestTableMemory(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 90_000
	}
	// What earlier tests left behind may be freed meanwhile, which makes the table
	// look smaller than the IDs in it: then measure again.
	const least = 32
	for range 10 {
		per := bytesPerChunk(n)
		t.Logf("%.1f bytes per chunk", per)
		if per > 64 {
			t.Fatalf("%.1f bytes per chunk", per)
		}
		if per >= least {
			return
		}
	}
	t.Fatal("the heap does not come to rest")
}

// bytesPerChunk is by how much the heap grows with a table of n chunks, per chunk.
func bytesPerChunk(n int) float64 {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	tab := newTable()
	rng := newRand(1)
	for i := range n {
		var id volume.ChunkID
		for j := 0; j < 32; j += 8 {
			binary.LittleEndian.PutUint64(id[j:], rng.Uint64())
		}
		tab.put(entry{id: id, raw: 1, off: uint32(i)})
	}
	per := float64(heap()-before) / float64(n)
	runtime.KeepAlive(tab)
	return per
}
