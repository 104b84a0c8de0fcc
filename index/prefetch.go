package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

var _ volume.Prefetcher = (*Engine)(nil)

// prefetchFew is from how many records on it pays to read them ahead.
const prefetchFew = 16

// Prefetch implements volume.Prefetcher: the records are read in the order in which the store has
// them, each kind by one iterator, and kept in the caches.
func (e *Engine) Prefetch(dir volume.Ino, names []string) error {
	names = slices.Clone(names)
	slices.Sort(names)
	inos := make([]volume.Ino, 0, len(names))
	var gens []uint64
	missed := names[:0]
	for _, name := range names {
		d, known, gen := e.entries.get(nameKey{dir, name})
		switch {
		case !known:
			missed, gens = append(missed, name), append(gens, gen)
		case d.ino != 0:
			inos = append(inos, d.ino)
		}
	}
	var key []byte
	err := readSorted(e.db, len(missed), func(i int) []byte {
		key = binary.BigEndian.AppendUint64(append(key[:0], kDirent), uint64(dir))
		key = append(key, missed[i]...)
		return key
	}, func(i int, val []byte) (err error) {
		var d dirent
		if val != nil {
			if d, _, err = decodeDirent(val); err != nil {
				return err
			}
			inos = append(inos, d.ino)
		}
		e.entries.fill(nameKey{dir, strings.Clone(missed[i])}, d, gens[i])
		return nil
	})
	if err != nil {
		return err
	}
	return e.prefetchInodes(inos)
}

// prefetchInodes reads the records of inodes, and those of the backing, into the caches.
func (e *Engine) prefetchInodes(inos []volume.Ino) error {
	slices.Sort(inos)
	inos = slices.Compact(inos)
	err := prefetchInos(e, kInode, &e.cache, inos, func(ino volume.Ino, val []byte) (inode, bool, error) {
		if val == nil {
			return inode{}, false, nil
		}
		n, err := decodeInode(ino, val)
		return n, err == nil, err
	})
	if err != nil {
		return err
	}
	return prefetchInos(e, kLower, &e.lowers, inos, func(_ volume.Ino, val []byte) ([]byte, bool, error) {
		return bytes.Clone(val), true, nil
	})
}

// prefetchInos fills a cache with the records of one kind.
func prefetchInos[V any](e *Engine, kind byte, c *cache[volume.Ino, V], inos []volume.Ino, decode func(volume.Ino, []byte) (V, bool, error)) error {
	missed := make([]volume.Ino, 0, len(inos))
	gens := make([]uint64, 0, len(inos))
	for _, ino := range inos {
		if _, ok, gen := c.get(ino); !ok {
			missed, gens = append(missed, ino), append(gens, gen)
		}
	}
	return readSorted(e.db, len(missed), func(i int) []byte { return keyIno(kind, missed[i]) }, func(i int, val []byte) error {
		v, keep, err := decode(missed[i], val)
		if err == nil && keep {
			c.fill(missed[i], v, gens[i])
		}
		return err
	})
}

// readSorted reads n keys, which ascend, and calls fn with each value, nil if there is none. Only
// the last key asked for need stay as it is.
func readSorted(r pebble.Reader, n int, key func(i int) []byte, fn func(i int, val []byte) error) (err error) {
	if n == 0 {
		return nil
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: bytes.Clone(key(0)), UpperBound: append(bytes.Clone(key(n-1)), 0)})
	if err != nil {
		return volume.Wrap(err, "index: iterate")
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for i := range n {
		k := key(i)
		var val []byte
		if it.SeekGE(k) && bytes.Equal(it.Key(), k) {
			if val, err = it.ValueAndErr(); err != nil {
				return volume.Wrap(err, "index: read")
			}
		}
		if err := it.Error(); err != nil {
			return volume.Wrap(err, "index: read")
		}
		if err := fn(i, val); err != nil {
			return err
		}
	}
	return nil
}
