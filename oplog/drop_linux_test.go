package oplog

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// What is durable and lies before the tail leaves the page cache, the tail stays.
func TestOldPagesAreDropped(t *testing.T) {
	opts := small(vfs.Default)
	opts.Dir = filepath.Join(t.TempDir(), "oplog")
	opts.SegmentSize = 16 << 20
	l, _ := mustOpen(t, opts)
	defer mustClose(t, l)
	l.cachedTail = 4 << 20
	mustAppend(t, l, epoch1, reign(epoch1))
	data := make([]byte, 256<<10)
	rng := testRand(1)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for i := range 160 { // 40 MiB: three segments
		mustAppend(t, l, epoch1, writeOp(3, int64(i), data))
		if i%40 == 39 {
			if err := l.Sync(bg, l.Last().Version); err != nil {
				t.Fatal(err)
			}
		}
	}
	names, err := filepath.Glob(filepath.Join(opts.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var cached int64
	for _, name := range names {
		cached += cachedBytes(t, name)
	}
	if cached < l.cachedTail || cached > l.cachedTail+dropStep+(2<<20) {
		t.Fatalf("%d MiB of the log are in the page cache, want about %d", cached>>20, l.cachedTail>>20)
	}
	r, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	for range 161 {
		if _, err := r.Next(bg); err != nil {
			t.Fatal(err)
		}
	}
}

// cachedBytes is how much of a file is in the page cache: mincore(2).
func cachedBytes(t *testing.T, name string) int64 {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() == 0 || info.IsDir() {
		return 0
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	vec := make([]byte, (len(m)+pageSize-1)/pageSize)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
		t.Fatal(errno)
	}
	n := int64(0)
	for _, v := range vec {
		n += int64(v&1) * pageSize
	}
	return n
}
