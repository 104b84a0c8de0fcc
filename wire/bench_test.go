package wire

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkFrames is how fast frames pass between two nodes over loopback: with
// batches of 1 (live) and 64 (catching up).
func BenchmarkFrames(b *testing.B) {
	for _, size := range []int{200, 4 << 10, 256 << 10} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("%d/batch=%d", size, batch), func(b *testing.B) {
				x, y := tcpSessions(b, nil)
				got, all := 0, make(chan struct{})
				serve(b.Context(), x, &testSink{})
				n := (b.N + batch - 1) / batch * batch
				serve(b.Context(), y, &testSink{frame: func([]byte) error {
					if got++; got == n {
						close(all)
					}
					return nil
				}})
				frames := make([][]byte, batch)
				for i := range frames {
					frames[i] = make([]byte, size)
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for sent := 0; sent < n; sent += batch {
					if err := x.SendFrames(b.Context(), frames); err != nil {
						b.Fatal(err)
					}
				}
				<-all
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "frames/s")
			})
		}
	}
}

func benchCall(b *testing.B, size int) {
	x, y := tcpSessions(b, nil)
	serve(b.Context(), x, &testSink{})
	answer := make([]byte, size)
	serve(b.Context(), y, &testSink{request: func(_ context.Context, _ uint16, _ []byte, w *AnswerWriter) error {
		_, err := w.Write(answer)
		return err
	}})
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.CallAll(b.Context(), 1, nil, size); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCallSmall(b *testing.B) { benchCall(b, 100) }
func BenchmarkCallChunk(b *testing.B) { benchCall(b, 4<<20) }

func BenchmarkHeartbeat(b *testing.B) {
	x, y := tcpSessions(b, nil)
	serve(b.Context(), x, &testSink{})
	serve(b.Context(), y, &testSink{})
	for b.Loop() {
		if _, err := x.Heartbeat(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
