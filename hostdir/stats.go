package hostdir

import (
	"sync/atomic"

	"wolfdisk/volume"
)

// counters count what an operator should be able to see.
type counters struct {
	refusedOwner, refusedMode, refusedXattr, refusedNode, refusedTimes atomic.Uint64
	foreign, kept, healed, opened, unlike                              atomic.Uint64
}

// Stats describe the directory. Numbers count since Open.
type Stats struct {
	// Refused* count what the lower file system did not take; the index has it.
	RefusedOwner, RefusedMode, RefusedXattr, RefusedNode, RefusedTimes uint64
	Foreign                                                            uint64 // files found changed by others
	Kept                                                               uint64 // moved to .wolfdisk/kept, being in the way
	Healed                                                             uint64 // names found gone that were to go
	Opened                                                             uint64 // files opened, as they were not cached
	OpenFDs                                                            int    // descriptors cached
	Dirty                                                              int    // inodes whose lower times are to be set
	Handles                                                            bool   // files are known by handle
	ByHandle                                                           bool   // and opened by it
}

// Refusals reports whether the directory cannot show all that the index has.
func (s Stats) Refusals() bool {
	return s.RefusedOwner+s.RefusedMode+s.RefusedXattr+s.RefusedNode+s.RefusedTimes > 0
}

// Stats returns the counters.
func (d *Dir) Stats() Stats {
	c := &d.stats
	return Stats{
		RefusedOwner: c.refusedOwner.Load(), RefusedMode: c.refusedMode.Load(), RefusedXattr: c.refusedXattr.Load(),
		RefusedNode: c.refusedNode.Load(), RefusedTimes: c.refusedTimes.Load(),
		Foreign: c.foreign.Load(), Kept: c.kept.Load(), Healed: c.healed.Load(), Opened: c.opened.Load(),
		OpenFDs: d.files.len() + d.dirs.len(), Dirty: d.dirty.len(), Handles: d.handles, ByHandle: d.byHandle,
	}
}

// RootAttr is what the root directory below has of mode, owner and times: the
// attributes that a new volume begins with.
func (d *Dir) RootAttr() (volume.Attr, error) {
	st, err := fstat(d.root)
	if err != nil {
		return volume.Attr{}, volume.Wrap(err, "stat the root directory")
	}
	return volume.Attr{Ino: volume.RootIno, Mode: st.Mode, Nlink: 2, UID: st.UID, GID: st.GID,
		Atime: st.Atime, Mtime: st.Mtime, Ctime: st.Ctime, Btime: st.Mtime}, nil
}
