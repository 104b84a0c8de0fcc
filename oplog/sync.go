package oplog

import (
	"context"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// Sync returns when every op through v is durable. Callers at the same time share
// one sync of the file. After a failed sync the log takes nothing any more. A
// cancelled ctx ends the waiting for somebody else's sync, not one's own.
func (l *Log) Sync(ctx context.Context, v volume.Version) error {
	for {
		if l.Durable() >= v {
			return nil
		}
		l.mu.Lock()
		if err := l.usableLocked(); err != nil {
			l.mu.Unlock()
			return err
		}
		if v > l.last.Version {
			last := l.last.Version
			l.mu.Unlock()
			return volume.Errorf(volume.Invalid, "oplog %s: sync through version %d: the last is %d", l.opts.Dir, v, last)
		}
		if !l.syncing {
			l.takeSyncLocked()
			l.mu.Unlock()
			l.syncedFor.Store(true)
			err := l.syncFiles()
			l.unlockSync()
			if err != nil {
				return err
			}
			continue
		}
		done := l.syncDone
		l.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return volume.Errorf(volume.Interrupted, "oplog %s: wait for version %d to be durable: %w", l.opts.Dir, v, context.Cause(ctx))
		}
	}
}

// syncAll makes everything durable, names too, even if no version is missing.
func (l *Log) syncAll() error {
	l.lockSync()
	defer l.unlockSync()
	if err := l.usable(); err != nil {
		return err
	}
	return l.syncFiles()
}

// syncQuietly is the background's sync. A failure is kept in Broken, and logged
// there.
func (l *Log) syncQuietly() {
	l.mu.Lock()
	idle := l.durable.Load() >= uint64(l.last.Version) && !l.dirDirty || l.usableLocked() != nil
	l.mu.Unlock()
	if idle {
		return
	}
	if l.syncAll() != nil {
		return // it is in l.broken, which every caller sees from now on
	}
	if err := l.syncMark(); err != nil {
		l.log.Warn().Err(err).Msg("oplog: evidence for recovery may be missing")
	}
}

func (l *Log) takeSyncLocked() {
	l.syncing = true
	l.syncDone = make(chan struct{})
}

// lockSync takes the sync slot: there is one sync at a time.
func (l *Log) lockSync() {
	l.mu.Lock()
	for l.syncing {
		done := l.syncDone
		l.mu.Unlock()
		<-done
		l.mu.Lock()
	}
	l.takeSyncLocked()
	l.mu.Unlock()
}

func (l *Log) unlockSync() {
	l.mu.Lock()
	l.syncing = false
	done := l.syncDone
	l.mu.Unlock()
	close(done)
}

// dirtySegment is a segment with frames that are not durable, or a new one.
type dirtySegment struct {
	s    *segment
	file vfs.File
	end  int64
}

// syncFiles makes durable what is appended now. The sync slot is held. Segments
// are synced in their order and then the directory, so at no moment a later frame
// is durable while an earlier one is not by our own doing.
func (l *Log) syncFiles() error {
	l.mu.Lock()
	target := l.last
	dir := l.dirDirty
	l.dirDirty = false
	var dirty []dirtySegment
	for i := len(l.segs) - 1; i >= 0 && l.segs[i].synced < l.segs[i].end; i-- {
		s := l.segs[i]
		l.acquireLocked(s)
		dirty = append(dirty, dirtySegment{s: s, end: s.end})
	}
	l.mu.Unlock()
	for i := len(dirty) - 1; i >= 0; i-- {
		d := &dirty[i]
		file, err := l.openAcquired(d.s)
		if err == nil {
			err = file.SyncData()
			l.release(d.s)
		}
		if err != nil {
			for _, rest := range dirty[:i] {
				l.release(rest.s)
			}
			return l.fail("sync segment "+d.s.path, err)
		}
	}
	if dir {
		if err := l.dir.Sync(); err != nil {
			return l.fail("sync directory", err)
		}
	}
	l.mu.Lock()
	for _, d := range dirty {
		d.s.synced = max(d.s.synced, d.end)
	}
	l.mu.Unlock()
	l.dropOld()
	if uint64(target.Version) > l.durable.Load() {
		l.durable.Store(uint64(target.Version))
		l.markDurable(target)
	}
	return nil
}
