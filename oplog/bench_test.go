package oplog

import (
	"testing"

	"wolfdisk/volume"
)

func benchLog(b *testing.B, change func(*Options)) *Log {
	b.Helper()
	o := DefaultOptions(b.TempDir(), testVolume)
	if change != nil {
		change(&o)
	}
	l, _ := mustOpen(b, o)
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

func benchAppend(b *testing.B, data []byte, level int) {
	l := benchLog(b, func(o *Options) { o.Compress = level })
	op := writeOp(5, 0, data)
	ops := []*volume.Op{op}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.AppendOps(epoch1, ops); err != nil {
			b.Fatal(err)
		}
		if l.Bytes() > 512<<20 { // keep the disk small
			b.StopTimer()
			if _, err := l.Trim(l.Last().Version); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
}

func BenchmarkAppend4KRandom(b *testing.B) { benchAppend(b, randomBytes(testRand(1), 4096), 1) }
func BenchmarkAppend4KText(b *testing.B)   { benchAppend(b, text(4096), 1) }
func BenchmarkAppend4KPlain(b *testing.B)  { benchAppend(b, text(4096), 0) }
func BenchmarkAppend1M(b *testing.B)       { benchAppend(b, randomBytes(testRand(1), 1<<20), 1) }

func BenchmarkAppendFrame4K(b *testing.B) {
	l := benchLog(b, nil)
	src := benchLog(b, nil)
	op := writeOp(5, 0, randomBytes(testRand(1), 4096))
	ops := []*volume.Op{op}
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		frames, err := src.AppendOps(epoch1, ops)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, _, err := l.AppendFrame(frames[0].Bytes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendSync4K(b *testing.B) {
	l := benchLog(b, nil)
	ops := []*volume.Op{writeOp(5, 0, randomBytes(testRand(1), 4096))}
	for b.Loop() {
		frames, err := l.AppendOps(epoch1, ops)
		if err == nil {
			err = l.Sync(bg, frames[0].Last)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReaderDisk reads frames of 4 KiB that are no longer in memory.
func BenchmarkReaderDisk(b *testing.B) {
	l := benchLog(b, func(o *Options) { o.TailBytes = 1 })
	ops := []*volume.Op{writeOp(5, 0, randomBytes(testRand(1), 4096))}
	for range 20000 {
		if _, err := l.AppendOps(epoch1, ops); err != nil {
			b.Fatal(err)
		}
	}
	r, err := l.Reader(1)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		_, ok, err := r.TryNext()
		if err == nil && !ok {
			r, err = l.Reader(1)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReaderTail follows an appender in memory.
func BenchmarkReaderTail(b *testing.B) {
	l := benchLog(b, nil)
	ops := []*volume.Op{writeOp(5, 0, randomBytes(testRand(1), 4096))}
	for range 1000 {
		if _, err := l.AppendOps(epoch1, ops); err != nil {
			b.Fatal(err)
		}
	}
	r, err := l.Reader(1)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4096)
	for b.Loop() {
		_, ok, err := r.TryNext()
		if err == nil && !ok {
			r, err = l.Reader(1)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadLog reads 4 KiB at random from what is no longer in memory.
func BenchmarkReadLog(b *testing.B) {
	l := benchLog(b, func(o *Options) { o.TailBytes = 1 })
	ops := []*volume.Op{writeOp(5, 0, randomBytes(testRand(1), 4096))}
	var refs []volume.LogRef
	for range 20000 {
		frames, err := l.AppendOps(epoch1, ops)
		if err != nil {
			b.Fatal(err)
		}
		ref := frames[0].Ref
		ref.Offset = uint32(ops[0].DataOff)
		refs = append(refs, ref)
	}
	rng := testRand(2)
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.ReadLog(bg, refs[rng.IntN(len(refs))], p); err != nil {
			b.Fatal(err)
		}
	}
}
