package node

import (
	"sync"
	"time"

	"wolfdisk/node/admin"
)

// progress is how far something long has come, for status and the log. Its methods
// may be called concurrently, also on nil.
type progress struct {
	phase string
	begun time.Time

	mu           sync.Mutex
	files, bytes uint64 // done
	allFiles     uint64 // 0: not known
	allBytes     uint64
	path         string
}

// beginProgress shows a new phase in status, until endProgress.
func (n *node) beginProgress(phase string, allFiles, allBytes uint64) *progress {
	p := &progress{phase: phase, begun: time.Now(), allFiles: allFiles, allBytes: allBytes}
	n.mu.Lock()
	n.progress = p
	n.mu.Unlock()
	return p
}

func (n *node) endProgress(p *progress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.progress == p {
		n.progress = nil
	}
}

// add counts what was done. path is what was worked at; empty leaves the last one.
func (p *progress) add(files, bytes uint64, path string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files += files
	p.bytes += bytes
	if path != "" {
		p.path = path
	}
}

// show is the progress as status has it; nil if there is none.
func (p *progress) show() *admin.Progress {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	took := time.Since(p.begun).Seconds()
	s := &admin.Progress{
		Phase: p.phase, Path: p.path, Files: p.files, AllFiles: p.allFiles, Bytes: p.bytes, AllBytes: p.allBytes, Seconds: took,
	}
	if took > 0 {
		s.FilesPerSecond, s.BytesPerSecond = float64(p.files)/took, float64(p.bytes)/took
	}
	// Small files cost by their number, large ones by their bytes: both count.
	var done float64
	switch {
	case p.allFiles > 0 && p.allBytes > 0:
		done = (float64(p.files)/float64(p.allFiles) + float64(p.bytes)/float64(p.allBytes)) / 2
	case p.allFiles > 0:
		done = float64(p.files) / float64(p.allFiles)
	case p.allBytes > 0:
		done = float64(p.bytes) / float64(p.allBytes)
	}
	done = min(done, 1)
	s.Percent = 100 * done
	if done > 0 {
		s.ETASeconds = took * (1 - done) / done
	}
	return s
}
