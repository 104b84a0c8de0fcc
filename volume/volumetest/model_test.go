package volumetest

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"wolfdisk/volume"
)

// testChunks are some chunks, and what they hold.
func testChunks() map[volume.ChunkID][]byte {
	chunks := map[volume.ChunkID][]byte{}
	for i := range 4 {
		data := make([]byte, 3000+i*5000)
		for j := range data {
			data[j] = byte(j*7 + i)
		}
		chunks[sha256.Sum256(data)] = data
	}
	return chunks
}

func TestModel(t *testing.T) {
	for _, ops := range []bool{true, false} {
		t.Run(fmt.Sprintf("ops %t", ops), func(t *testing.T) {
			Run(t, func(t *testing.T) System {
				m := NewModel(Options{Chunks: testChunks()})
				sys := System{Vol: m, Chunks: m.opt.Chunks}
				if ops {
					sys.Ops = m.Ops
				}
				return sys
			})
		})
	}
}

func TestModelReplica(t *testing.T) {
	RunReplica(t, func(t *testing.T) volume.Replica { return NewModel(Options{}).Replica() })
}
