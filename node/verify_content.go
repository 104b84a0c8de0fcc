package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"wolfdisk/index"
	"wolfdisk/volume"
)

const (
	// batchBytes is where a batch of files ends, by their sizes.
	batchBytes = 16 << 20
	// batchesAtOnce is how many are under way.
	batchesAtOnce = 2
	// verifyRounds is how often a file that changes is looked at again, and
	// verifyRoundsLarge one of at least largeFile bytes.
	verifyRounds      = 12
	verifyRoundsLarge = 3
	largeFile         = 256 << 20
	// roundPause is the pause before the first such round; each is that much longer
	// than the one before.
	roundPause = 10 * time.Millisecond
)

// verifyItem is a file whose content is to be compared with that of some copies.
type verifyItem struct {
	ino    volume.Ino
	size   int64
	others []int  // indexes of verifier.others
	reason string // why it could not be compared when it was tried last
}

// compareContent compares the content of all files, as they are now: one node's with
// another's if both read it at the same version of the inode. What changed meanwhile is
// looked at again.
func (v *verifier) compareContent(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var later []verifyItem
	batches := make(chan []verifyItem)
	var workers sync.WaitGroup
	for range batchesAtOnce {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for batch := range batches {
				again, err := v.compareBatch(ctx, batch, false)
				if err != nil {
					cancel(err)
				}
				mu.Lock()
				later = append(later, again...)
				mu.Unlock()
			}
		}()
	}
	err := v.batches(ctx, func(batch []verifyItem) error {
		select {
		case batches <- batch:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(batches)
	workers.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return v.compareAgain(ctx, later)
}

// compareAgain compares what changed, file by file: first here, then where the others have come
// to the same version. What never holds still is reported.
func (v *verifier) compareAgain(ctx context.Context, later []verifyItem) error {
	for round := 1; len(later) > 0; round++ {
		var next []verifyItem
		for _, item := range later {
			if round > verifyRounds || item.size >= largeFile && round > verifyRoundsLarge {
				v.skip(v.pathOf(item.ino), "", item.reason)
				continue
			}
			again, err := v.compareBatch(ctx, []verifyItem{item}, true)
			if err != nil {
				return err
			}
			next = append(next, again...)
		}
		later = next
		if len(later) > 0 {
			select {
			case <-time.After(time.Duration(round) * roundPause):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// batches cuts the files of the base into batches.
func (v *verifier) batches(ctx context.Context, fn func([]verifyItem) error) error {
	all := make([]int, len(v.others))
	for i := range all {
		all[i] = i
	}
	var batch []verifyItem
	var bytes int64
	var failed error
	add := func(a volume.Attr) bool {
		if failed = context.Cause(ctx); failed != nil {
			return false
		}
		if !a.IsFile() {
			return true
		}
		batch = append(batch, verifyItem{ino: a.Ino, size: a.Size, others: all})
		bytes += a.Size
		if len(batch) == maxVerifyFiles || bytes >= batchBytes {
			failed = fn(batch)
			batch, bytes = nil, 0
		}
		return failed == nil
	}
	var err error
	if v.path == "" {
		err = v.base.snap.Inodes(1, add)
	} else {
		err = v.filesBelow(ctx, add)
	}
	if failed != nil {
		err = failed
	}
	if err == nil && len(batch) > 0 {
		err = fn(batch)
	}
	return err
}

// filesBelow calls fn for every inode at and below the path that is compared.
func (v *verifier) filesBelow(ctx context.Context, fn func(volume.Attr) bool) error {
	top, err := v.base.find(ctx, v.path)
	if err != nil {
		return err
	}
	if !top.Attr.IsDir() {
		fn(top.Attr)
		return nil
	}
	dirs := []volume.Ino{top.Ino}
	for len(dirs) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		err := v.base.snap.ByName(dir, func(e volume.DirEntry) error {
			if e.Type == volume.ModeDir {
				dirs = append(dirs, e.Ino)
				return nil
			}
			a, err := v.base.snap.Inode(e.Ino)
			if err == nil && !fn(a) {
				err = errStopped
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compareBatch compares some files and returns those to be looked at again. In order
// means: here first, and then elsewhere at the version that was found here.
func (v *verifier) compareBatch(ctx context.Context, items []verifyItem, inOrder bool) (again []verifyItem, err error) {
	mine := make([]verifyHash, 0, len(items))
	hashMine := func() error {
		return v.mine.hash(ctx, wantedFiles(items, nil, nil), func(h *verifyHash) error {
			mine = append(mine, *h)
			return nil
		})
	}
	if inOrder {
		if err := hashMine(); err != nil {
			return nil, err
		}
	}
	known := mine // nothing, unless in order
	theirs := make([]map[volume.Ino]*verifyHash, len(v.others))
	var mineErr error
	v.each(len(v.others)+1, func(i int) {
		if i == len(v.others) {
			if !inOrder {
				mineErr = hashMine()
			}
			return
		}
		theirs[i] = v.hashOther(ctx, i, items, known)
	})
	if mineErr != nil {
		return nil, mineErr
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	for i := range items {
		if left := v.settle(items[i], &mine[i], theirs); left != nil {
			again = append(again, *left)
		}
	}
	return again, nil
}

// wantedFiles is the request for some files, of those that concern another copy if it is
// given, at the versions found here if those are known.
func wantedFiles(items []verifyItem, other *int, mine []verifyHash) (files []verifyFile) {
	for i := range items {
		if other != nil && !slices.Contains(items[i].others, *other) {
			continue
		}
		f := verifyFile{ino: items[i].ino}
		if i < len(mine) && mine[i].status == hashOK {
			f.want = mine[i].version
		}
		files = append(files, f)
	}
	return files
}

// hashOther asks another copy for hashes. If it does not answer it is given up.
func (v *verifier) hashOther(ctx context.Context, i int, items []verifyItem, mine []verifyHash) map[volume.Ino]*verifyHash {
	c := v.others[i]
	if v.skipped(c.name()) {
		return nil
	}
	files := wantedFiles(items, &i, mine)
	if len(files) == 0 {
		return nil
	}
	got := make(map[volume.Ino]*verifyHash, len(files))
	err := c.hash(ctx, files, func(h *verifyHash) error {
		kept := *h
		got[h.ino] = &kept
		return nil
	})
	if err != nil && ctx.Err() == nil {
		v.gaveUp(c, err)
	}
	return got
}

// settle compares one file, says what differs, and returns what is still to be compared.
func (v *verifier) settle(item verifyItem, mine *verifyHash, theirs []map[volume.Ino]*verifyHash) *verifyItem {
	left := verifyItem{ino: item.ino, size: max(item.size, mine.size)}
	var same, differ []int
	for _, i := range item.others {
		h := theirs[i][item.ino]
		name := v.others[i].name()
		switch {
		case h == nil: // given up
		case h.status == hashUnreadable:
			v.differs(v.pathOf(item.ino), "unreadable", name, "%s", h.text)
		case mine.status != hashOK:
			left.others = append(left.others, i)
		case h.status == hashOK && h.version == mine.version && h.size == mine.size && h.sum == mine.sum:
			same = append(same, i)
		case h.status == hashOK && h.version == mine.version:
			differ = append(differ, i)
		default:
			left.others = append(left.others, i)
			left.reason = fmt.Sprintf("node %s does not come to the version of it that %s has", name, v.base.name())
		}
	}
	v.sayContent(item.ino, same, differ, mine, theirs)
	switch mine.status {
	case hashUnreadable:
		v.differs(v.pathOf(item.ino), "unreadable", v.base.name(), "%s", mine.text)
		return nil
	case hashGone:
		return nil // since the names were compared
	case hashChanging:
		left.reason = "it changes all the time"
	}
	if len(left.others) > 0 {
		return &left
	}
	v.counted(mine.size)
	return nil
}

// counted counts a file whose content was compared.
func (v *verifier) counted(size int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.Files++
	v.result.Bytes += uint64(size)
	v.n.verify.read.Load().add(1, 0, "")
}

// sayContent reports copies with other content. If all of several others agree against
// this node, it is this node that differs.
func (v *verifier) sayContent(ino volume.Ino, same, differ []int, mine *verifyHash, theirs []map[volume.Ino]*verifyHash) {
	if len(differ) == 0 {
		return
	}
	first := theirs[differ[0]][ino]
	alike := !slices.ContainsFunc(differ, func(i int) bool { return theirs[i][ino].sum != first.sum })
	path := v.pathOf(ino)
	if len(same) == 0 && len(differ) > 1 && alike {
		v.differs(path, "content", v.base.name(), "other content than on all other nodes, at version %d of the file", mine.version)
		return
	}
	for _, i := range differ {
		v.differs(path, "content", v.others[i].name(), "other content than on %s, at version %d of the file", v.base.name(), mine.version)
	}
}

// pathOf is a path of an inode at the version that is compared.
func (v *verifier) pathOf(ino volume.Ino) string {
	if path, ok := index.PathOf(v.base.snap.Names, ino); ok {
		return path
	}
	return noNames + "/" + ino.String()
}
