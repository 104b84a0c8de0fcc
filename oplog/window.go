package oplog

import "time"

const (
	// windowLen is what a reader that recycles reads from a segment at once, bytes: room
	// for four frames of one large write of the kernel each, and little enough to stay
	// in the processor's cache until it has been sent.
	windowLen = 544 << 10
	// windowsKept is how long a reader that waits for frames keeps its windows.
	windowsKept = time.Second
)

// windows is the memory that a reader's frames from disk lie in: what it reads into
// now, what frames that were handed out may still lie in, and what is free.
type windows struct {
	now  []byte
	used [][]byte
	free [][]byte
}

// take gives out the first n bytes of a window.
func (w *windows) take(n int) []byte {
	w.leave()
	if n > windowLen {
		return make([]byte, n)
	}
	if last := len(w.free) - 1; last >= 0 {
		w.now, w.free = w.free[last], w.free[:last]
	} else {
		w.now = make([]byte, windowLen)
	}
	return w.now[:n]
}

// leave ends the use of the present window, but for frames handed out.
func (w *windows) leave() {
	if w.now != nil {
		w.used = append(w.used, w.now)
		w.now = nil
	}
}

// recycle frees the windows that were left.
func (w *windows) recycle() {
	w.free = append(w.free, w.used...)
	clear(w.used)
	w.used = w.used[:0]
}
