package chunkstore

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// What is durable and was not written last leaves the page cache, and is still there.
func TestOldPagesAreDropped(t *testing.T) {
	o := testOptions(vfs.Default)
	o.Dir, o.ChunkSize, o.PackSize = filepath.Join(t.TempDir(), "chunks"), volume.DefaultChunkSize, 16<<20
	s := wholeOpen(t, o)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.behind.tail = 8 << 20
	rng := newRand(1)
	var ids []volume.ChunkID
	var contents [][]byte
	for i := range 40 { // 40 MiB: three packs
		content := random(rng, 1<<20)
		ids, contents = append(ids, mustPut(t, s, content)), append(contents, content)
		if i%4 == 3 {
			mustSync(t, s)
		}
	}
	names, err := filepath.Glob(filepath.Join(o.Dir, "*"+packSuffix))
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	var cached int64
	for _, name := range names {
		cached += cachedBytes(t, name)
	}
	if cached < s.behind.tail || cached > s.behind.tail+12<<20 {
		t.Fatalf("%d KiB of the packs are in the page cache, want little more than %d", cached>>10, s.behind.tail>>10)
	}
	for i, id := range ids {
		mustGet(t, s, id, contents[i])
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
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	vec := make([]byte, (len(m)+cachePage-1)/cachePage)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
		t.Fatal(errno)
	}
	n := int64(0)
	for _, v := range vec {
		n += int64(v&1) * cachePage
	}
	return n
}
