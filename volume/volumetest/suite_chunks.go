package volumetest

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"wolfdisk/volume"
)

// someChunk is the first chunk of the system by ID that is long enough.
func someChunk(e *env) (volume.ChunkID, []byte) {
	ids := slices.SortedFunc(maps.Keys(e.sys.Chunks), func(a, b volume.ChunkID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		if data := e.sys.Chunks[id]; len(data) >= 100 {
			return id, data
		}
	}
	e.t.Skip("the system has no chunks of 100 bytes or more")
	return volume.ChunkID{}, nil
}

func copyReq(ino volume.Ino, off int64, chunks ...volume.ChunkRef) volume.Request {
	return volume.Request{Kind: volume.OpCopyChunks, Ino: ino, Offset: off, Chunks: chunks}
}

func chunkChecks() []check {
	hole := func(n int64) volume.ChunkRef { return volume.ChunkRef{Length: n} }
	checks := []check{
		{"a whole chunk", func(e *env) {
			id, data := someChunk(e)
			ino := e.file(e.dir, "n")
			res := e.ok(copyReq(ino, 0, volume.ChunkRef{ID: id, Length: int64(len(data))}))
			e.same("answer", []any{res.N, res.Offset, res.Attr.Size, res.Attr.Mtime}, []any{len(data), int64(0), int64(len(data)), res.Attr.Ctime})
			if e.read(ino, 0, len(data)+1) != string(data) {
				e.t.Error("content differs")
			}
		}},
		{"pieces and holes over what is there", func(e *env) {
			id, data := someChunk(e)
			ino := e.file(e.dir, "n")
			e.write(ino, 0, strings.Repeat("x", 60))
			e.ok(copyReq(ino, 5, volume.ChunkRef{ID: id, Offset: 10, Length: 20}, hole(10), volume.ChunkRef{ID: id, Offset: 90, Length: 10}))
			want := "xxxxx" + string(data[10:30]) + strings.Repeat("\x00", 10) + string(data[90:100]) + strings.Repeat("x", 15)
			e.same("content", e.read(ino, 0, 100), want)
		}},
		{"behind the end", func(e *env) {
			id, data := someChunk(e)
			ino := e.file(e.dir, "n")
			e.ok(copyReq(ino, 10, volume.ChunkRef{ID: id, Length: 5}))
			e.same("content", e.read(ino, 0, 100), strings.Repeat("\x00", 10)+string(data[:5]))
		}},
		{"holes only, growing", func(e *env) {
			ino := e.file(e.dir, "n")
			e.write(ino, 0, "abcdef")
			e.same("size", e.ok(copyReq(ino, 3, hole(10))).Attr.Size, int64(13))
			e.same("content", e.read(ino, 0, 100), "abc"+strings.Repeat("\x00", 10))
		}},
		{"writes go over chunks", func(e *env) {
			id, data := someChunk(e)
			ino := e.file(e.dir, "n")
			e.ok(copyReq(ino, 0, volume.ChunkRef{ID: id, Length: 50}))
			e.write(ino, 10, "over")
			e.truncate(ino, 20)
			e.same("content", e.read(ino, 0, 100), string(data[:10])+"over"+string(data[14:20]))
		}},
		{"one chunk in two files, one removed", func(e *env) {
			id, data := someChunk(e)
			a, b := e.file(e.dir, "a"), e.file(e.dir, "b")
			for _, ino := range []volume.Ino{a, b} {
				e.ok(copyReq(ino, 0, volume.ChunkRef{ID: id, Length: 100}))
			}
			e.unlink(e.dir, "a")
			e.same("content", e.read(b, 0, 100), string(data[:100]))
		}},
		{"kill-priv", func(e *env) {
			ino := e.create(e.dir, "n", volume.ModeFile|0o6755)
			r := copyReq(ino, 0, hole(5))
			r.KillPriv = true
			e.ok(r)
			e.mode(ino, volume.ModeFile|0o755)
		}},
		{"refuse a chunk that is not to be had", func(e *env) {
			someChunk(e) // without chunks the volume may not look
			ino := e.file(e.dir, "n")
			e.refuse(volume.Missing, copyReq(ino, 0, hole(5), volume.ChunkRef{ID: volume.ChunkID{1, 2, 3}, Length: 5}))
			e.same("size", e.attr(ino).Size, int64(0))
		}},
	}
	return append(checks, refusals([]refusal{
		{"no chunks", volume.Invalid, func(f *fixture) volume.Request { return copyReq(f.f, 0) }},
		{"too many chunks", volume.Invalid, func(f *fixture) volume.Request {
			return copyReq(f.f, 0, slices.Repeat([]volume.ChunkRef{hole(1)}, volume.MaxCopyChunks+1)...)
		}},
		{"an empty piece", volume.Invalid, func(f *fixture) volume.Request { return copyReq(f.f, 0, hole(0)) }},
		{"a negative piece", volume.Invalid, func(f *fixture) volume.Request { return copyReq(f.f, 0, hole(-1)) }},
		{"a negative offset", volume.Invalid, func(f *fixture) volume.Request { return copyReq(f.f, -1, hole(5)) }},
		{"beyond the largest size", volume.Invalid, func(f *fixture) volume.Request { return copyReq(f.f, volume.MaxFileSize, hole(1)) }},
		{"a piece longer than any chunk", volume.Invalid, func(f *fixture) volume.Request {
			return copyReq(f.f, 0, volume.ChunkRef{ID: volume.ChunkID{1}, Length: volume.MaxChunkSize + 1})
		}},
		{"an unknown inode", volume.Stale, func(f *fixture) volume.Request { return copyReq(f.never, 0, hole(5)) }},
		{"a directory", volume.IsDir, func(f *fixture) volume.Request { return copyReq(f.sub, 0, hole(5)) }},
		{"a symlink", volume.Invalid, func(f *fixture) volume.Request { return copyReq(f.l, 0, hole(5)) }},
	})...)
}
