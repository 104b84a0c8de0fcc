package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"wolfdisk/hostdir"
	"wolfdisk/slave"
	"wolfdisk/volume"
)

// A copy that is made in a real directory brings the directory from one version to
// another. While it is between the two, the file "between" is in the state directory: it
// is made durable before the first change and removed when the copy is finished. Its first
// line is the name of the folder of the copy that began; the others are inodes of whose
// content nothing is known. As long as it is there
// nothing is served, index and log of the old copy say only what the directory was, and
// the next leader is asked for a snapshot, unless a copy can be taken up.
const betweenName = "between"

// unknownCopy stands for a copy if the directory was left like that by none: a power loss
// took content from it. Nothing that was known of its files is trusted then.
const unknownCopy = syncDirPrefix + "00000000"

// knownCopy stands for a copy that has not been begun: the directory is as the old copy had it, but
// for files of which nothing is known any more.
const knownCopy = "known"

// findBetween looks whether the directory was left between two versions.
func (n *node) findBetween() error {
	by, err := n.betweenBy()
	n.between.Store(by != "")
	return err
}

// betweenBy is the folder of the copy that began to change the directory; empty if none did.
func (n *node) betweenBy() (string, error) {
	b, err := os.ReadFile(filepath.Join(n.cfg.Node.DataDir, betweenName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", volume.Wrap(err, "read what state the directory is in")
	}
	by, _, _ := strings.Cut(string(b), "\n")
	by = strings.TrimSpace(by)
	if by == knownCopy {
		return by, nil
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(by, syncDirPrefix)); err != nil || n < 1 {
		by = unknownCopy // the file counts, whatever is in it
	}
	return by, nil
}

// leaveDirectory takes the volume in a real directory out of service, before a copy
// changes the directory.
func (n *node) leaveDirectory(ctx context.Context, st *storage, by string) (slave.Left, error) {
	was, err := n.betweenBy()
	if err != nil {
		return slave.Left{}, err
	}
	left := slave.Left{Again: was != "" && was != knownCopy, Trust: was == "" || was == knownCopy || was == by}
	if left.Doubted, err = n.doubted(); err != nil {
		return left, err
	}
	if was != "" && was != knownCopy {
		n.between.Store(true)
		return left, nil
	}
	n.mu.Lock()
	f, handle, mount := n.follower, n.handle, n.mount
	n.shown = nil
	n.mu.Unlock()
	f.Stop(volume.Errorf(volume.Closed, "another copy takes this one's place"))
	// Nobody is served from here on, and what is under way has ended when Switch returns.
	// What is open cannot be opened on nothing; it is on the volume that comes next.
	n.between.Store(true)
	if handle != nil {
		handle.Switch(nothing{})
	}
	if mount != nil {
		mount.InvalidateAll()
	}
	n.verify.copies.dropAll(false)
	n.checkpointMu.Lock() // one that is under way settles by the old index
	defer n.checkpointMu.Unlock()
	if err := n.settleOld(ctx, st); err != nil {
		return left, volume.Wrap(err, "leave the old copy")
	}
	return left, n.writeBetween(by, left.Doubted...)
}

// settleOld brings the old copy to rest: what it is known to have is not fetched again.
// Files that somebody has changed behind the daemon are put aside.
func (n *node) settleOld(ctx context.Context, st *storage) error {
	if err := st.settle(); err != nil {
		return err
	}
	if st.log.Last().Version > 0 {
		err := st.dir.Check(ctx, st.engine, func(d hostdir.Difference) error {
			if d.Kind != hostdir.DiffChanged || d.Fields&(hostdir.FieldSize|hostdir.FieldMtime) == 0 || d.Lower.Type() != volume.ModeFile {
				return nil
			}
			n.log.Warn().Str("code", "WD-1406").Str("path", d.Path).Msg("this file was changed in the follower's directory: it is kept aside, and the leader's takes its place")
			if err := st.dir.Edited(d, st.engine); err != nil {
				return err
			}
			return st.engine.PutLower([]volume.LowerRecord{{Ino: d.Ino}})
		})
		if err != nil {
			return err
		}
	}
	// Twice: what was handed out last counts until the next time.
	for range 2 {
		if err := st.engine.PutLower(st.dir.PendingLower()); err != nil {
			return err
		}
	}
	return st.engine.Flush()
}

// doubted are the inodes of whose content nothing is known; those of a damaged file count as
// all (betweenBy says then that nothing is trusted).
func (n *node) doubted() ([]volume.Ino, error) {
	b, err := os.ReadFile(filepath.Join(n.cfg.Node.DataDir, betweenName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, volume.Wrap(err, "read what state the directory is in")
	}
	var inos []volume.Ino
	lines := strings.Split(string(b), "\n")
	for _, line := range lines[1:] {
		if ino, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64); err == nil {
			inos = append(inos, volume.Ino(ino))
		}
	}
	return inos, nil
}

func (n *node) writeBetween(by string, doubted ...volume.Ino) error {
	path := filepath.Join(n.cfg.Node.DataDir, betweenName)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		b := []byte(by + "\n")
		for _, ino := range doubted {
			b = append(b, ino.String()+"\n"...)
		}
		_, err = f.Write(b)
		err = errors.Join(err, f.Sync(), f.Close(), syncDir(n.cfg.Node.DataDir))
	}
	return volume.Wrap(err, "note that the directory is between two versions")
}

// endBetween says that the directory holds a whole copy again.
func (n *node) endBetween() error {
	err := os.Remove(filepath.Join(n.cfg.Node.DataDir, betweenName))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	} else if err == nil {
		err = syncDir(n.cfg.Node.DataDir)
	}
	if err == nil {
		n.between.Store(false)
	}
	return volume.Wrap(err, "note that the directory holds a copy")
}

// notBetween refuses what needs a volume in its directory.
func (n *node) notBetween() error {
	if n.between.Load() {
		return volume.Errorf(volume.Unavailable, "node %s is taking a copy: its directory is between two versions; wait until status says that it follows", n.cfg.Node.ID)
	}
	return nil
}

// nothing is the volume that front ends see meanwhile.
type nothing struct{}

var _ volume.Volume = nothing{}

func (nothing) err() error {
	return volume.Errorf(volume.Unavailable, "a copy of the volume is being made: nothing is served until it is consistent")
}

func (v nothing) Lookup(context.Context, volume.Ino, string) (volume.Attr, error) {
	return volume.Attr{}, v.err()
}
func (v nothing) GetAttr(context.Context, volume.Ino) (volume.Attr, error) {
	return volume.Attr{}, v.err()
}
func (v nothing) ReadLink(context.Context, volume.Ino) (string, error) { return "", v.err() }
func (v nothing) ReadDir(context.Context, volume.Ino, uint64, func(volume.DirEntry) bool) error {
	return v.err()
}
func (v nothing) ReadNames(context.Context, volume.Ino, string, func(volume.DirEntry) bool) error {
	return v.err()
}
func (v nothing) ReadKept(context.Context, volume.Ino, func(volume.Ino) bool) error { return v.err() }
func (v nothing) ParentOf(context.Context, volume.Ino) (volume.Ino, error)          { return 0, v.err() }
func (v nothing) GetXattr(context.Context, volume.Ino, string) ([]byte, error) {
	return nil, v.err()
}
func (v nothing) ListXattr(context.Context, volume.Ino) ([]string, error)        { return nil, v.err() }
func (v nothing) ReadAt(context.Context, volume.Ino, []byte, int64) (int, error) { return 0, v.err() }
func (v nothing) Seek(context.Context, volume.Ino, int64, bool) (int64, error)   { return 0, v.err() }
func (v nothing) StatFS(context.Context) (volume.StatFS, error)                  { return volume.StatFS{}, v.err() }
func (v nothing) Position() volume.Position                                      { return volume.Position{} }
func (v nothing) Do(context.Context, *volume.Request) (volume.Result, error) {
	return volume.Result{}, v.err()
}
func (v nothing) Open(context.Context, volume.Ino, bool) error { return v.err() }
func (v nothing) Close(context.Context, volume.Ino) error      { return nil }
func (v nothing) Sync(context.Context, volume.Ino, bool) error { return v.err() }
