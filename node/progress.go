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
	// hadFiles and hadBytes are what was done before it began, by an earlier run.
	hadFiles, hadBytes uint64

	mu           sync.Mutex
	files, bytes uint64 // done
	allFiles     uint64 // 0: not known
	allBytes     uint64
	path         string
}

// beginProgress shows a new phase in status, until endProgress.
func (n *node) beginProgress(phase string, allFiles, allBytes uint64) *progress {
	p := &progress{phase: phase, begun: time.Now(), allFiles: allFiles, allBytes: allBytes}
	n.showProgress(p)
	return p
}

func (n *node) showProgress(p *progress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.progress = p
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
		s.FilesPerSecond, s.BytesPerSecond = float64(p.files-p.hadFiles)/took, float64(p.bytes-p.hadBytes)/took
	}
	had, done := p.share(p.hadFiles, p.hadBytes), p.share(p.files, p.bytes)
	s.Percent = 100 * done
	if done > had {
		s.ETASeconds = took * (1 - done) / (done - had)
	}
	return s
}

// share is how much of all some files and bytes are, from 0 to 1. Small files cost by their number, large
// ones by their bytes: both count.
func (p *progress) share(files, bytes uint64) float64 {
	var sum, of float64
	for _, x := range [][2]uint64{{files, p.allFiles}, {bytes, p.allBytes}} {
		if x[1] > 0 {
			sum += float64(x[0]) / float64(x[1])
			of++
		}
	}
	if of == 0 {
		return 0
	}
	return min(sum/of, 1)
}
