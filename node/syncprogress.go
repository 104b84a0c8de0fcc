package node

import (
	"context"
	"encoding/binary"
	"time"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

// A follower that makes a copy tells its leader how far it is: content comes from other followers too, and
// what is here already does not travel, so the leader cannot tell by what it has sent.

const (
	// toldEvery is how often a follower tells.
	toldEvery = 200 * time.Millisecond
	// toldLen is what has a fixed length in that: seven numbers and the length of the phase.
	toldLen = 7*8 + 1
	// maxToldPhase and maxToldPath bound the texts, in bytes. A longer path is cut at its front.
	maxToldPhase, maxToldPath = 64, 1024
)

// tellProgress tells the leader how far the copy is, until ctx ends or the leader does not know what that is.
func (n *node) tellProgress(ctx context.Context, s *wire.Session) {
	tick := time.NewTicker(toldEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p := n.progressNow()
		if p == nil {
			continue
		}
		if _, err := s.CallAll(ctx, volume.RequestProgress, p.encode(), 0); err != nil {
			return // of an older version, or the session has ended
		}
	}
}

// encode is a progress as a follower tells it.
func (p *progress) encode() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b []byte
	for _, v := range []uint64{p.files, p.allFiles, p.hadFiles, p.bytes, p.allBytes, p.hadBytes, uint64(time.Since(p.begun).Milliseconds())} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	phase, path := p.phase[:min(len(p.phase), maxToldPhase)], p.path[max(0, len(p.path)-maxToldPath):]
	b = append(b, byte(len(phase)))
	return append(append(b, phase...), path...)
}

// decodeProgress reads what a follower tells.
func decodeProgress(b []byte) (*progress, error) {
	if len(b) < toldLen || int(b[toldLen-1]) > maxToldPhase || len(b) < toldLen+int(b[toldLen-1]) {
		return nil, volume.Errorf(volume.BadFormat, "the progress of a copy in %d bytes", len(b))
	}
	var v [7]uint64
	for i := range v {
		v[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	phase, path := b[toldLen:][:b[toldLen-1]], b[toldLen+int(b[toldLen-1]):]
	const century = 100 * 365 * 24 * uint64(time.Hour/time.Millisecond)
	if len(path) > maxToldPath || v[6] > century || v[0] < v[2] || v[3] < v[5] {
		return nil, volume.Errorf(volume.BadFormat, "the progress of a copy has a path of %d bytes and the numbers %d", len(path), v)
	}
	return &progress{
		files: v[0], allFiles: v[1], hadFiles: v[2], bytes: v[3], allBytes: v[4], hadBytes: v[5], begun: time.Now().Add(-time.Duration(v[6]) * time.Millisecond),
		phase: string(phase), path: string(path),
	}, nil
}
