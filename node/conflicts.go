package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/node/admin"
	"wolfdisk/node/conflict"
	"wolfdisk/node/export"
	"wolfdisk/volume"
)

// conflictsName is the folder of the state directory that holds conflict records.
const conflictsName = "conflicts"

// openConflicts opens the records of this node's state directory.
func (n *node) openConflicts() (err error) {
	n.conflicts, err = conflict.OpenStore(vfs.Default, filepath.Join(n.cfg.Node.DataDir, conflictsName))
	return err
}

// conflictVerbs adds what can be asked about conflicts.
func (n *node) conflictVerbs(verbs map[string]admin.Verb) map[string]admin.Verb {
	verbs["conflicts"] = admin.Verb{Method: http.MethodGet, Run: n.conflictsVerb}
	verbs["conflicts/show"] = admin.Verb{Method: http.MethodGet, Params: []string{"id"}, Run: n.conflictShowVerb}
	verbs["conflicts/diff"] = admin.Verb{Method: http.MethodGet, Params: []string{"id"}, Run: n.conflictDiffVerb}
	verbs["conflicts/restore"] = admin.Verb{Method: http.MethodPost, Params: []string{"id", "dir", "path"}, Run: n.conflictRestoreVerb}
	verbs["conflicts/drop"] = admin.Verb{Method: http.MethodPost, Params: []string{"id"}, Run: n.conflictDropVerb}
	return verbs
}

// conflictsVerb lists the records.
func (n *node) conflictsVerb(_ context.Context, _ url.Values, emit func(any) error) error {
	list, err := n.conflicts.List()
	if err != nil {
		return err
	}
	for _, l := range list {
		line := conflictRecord(&l.Record)
		if l.Err != nil {
			line.Error = l.Err.Error()
		}
		if err := emit(admin.ConflictLine{Record: line}); err != nil {
			return err
		}
	}
	return nil
}

func conflictRecord(r *conflict.Record) *admin.ConflictRecord {
	return &admin.ConflictRecord{
		ID: r.ID, Kind: r.Kind, Created: r.Created, Node: r.Node, Winner: r.Winner, Why: r.Why, Common: uint64(r.Common),
		Mine: admin.PositionOf(r.Mine), Theirs: admin.PositionOf(r.Theirs), OpsFrom: uint64(r.OpsFrom), OpsComplete: r.OpsComplete(), Lean: r.Lean,
		Ops: r.Ops, Entries: r.Entries, Removed: r.Removed, Transient: r.Transient, Bytes: r.Bytes, BaseBytes: r.BaseBytes, Unreadable: r.Unreadable,
	}
}

// readConflict opens the record that is asked for, for as long as a verb works with it.
func (n *node) readConflict(ctx context.Context, query url.Values, fn func(context.Context, *conflict.Reader) error) error {
	ctx, release, err := n.longVerb(ctx)
	if err != nil {
		return err
	}
	defer release()
	r, err := n.conflicts.Open(query.Get("id"))
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, r), r.Close())
}

// conflictShowVerb tells the record and all its entries.
func (n *node) conflictShowVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	return n.readConflict(ctx, query, func(ctx context.Context, r *conflict.Reader) error {
		if err := emit(admin.ConflictLine{Record: conflictRecord(&r.Record)}); err != nil {
			return err
		}
		return r.Each(ctx, func(e *conflict.Entry) error {
			if e.What&^conflict.Above == 0 {
				return nil // a directory on the way
			}
			return emit(admin.ConflictLine{Entry: conflictEntry(e)})
		})
	})
}

// shownNames bounds the names of one inode that are shown: a line has an end.
const shownNames = 16

func conflictEntry(e *conflict.Entry) *admin.ConflictEntry {
	list := func(paths []string) []admin.ConflictPath {
		out := []admin.ConflictPath{}
		for _, p := range paths[:min(len(paths), shownNames)] {
			out = append(out, admin.PathOf(p))
		}
		return out
	}
	l := &admin.ConflictEntry{
		Paths: list(e.Paths), Before: list(e.Before), Removed: list(e.Removed()), Ino: uint64(e.Ino), What: e.What.List(), Kind: e.Kind(),
		First: uint64(e.First), Last: uint64(e.Last), Ops: e.Ops, Known: e.Known,
		Content: e.Form.String(), Bytes: e.Bytes, BaseBytes: e.BaseBytes, Unreadable: e.Unreadable,
	}
	if !e.Known {
		return l
	}
	a := &e.Attr
	l.Mode, l.UID, l.GID, l.Nlink, l.Size = fmt.Sprintf("%06o", a.Mode), a.UID, a.GID, a.Nlink, a.Size
	l.Mtime, l.Ctime = new(a.Mtime.Std()), new(a.Ctime.Std())
	if e.Target != "" {
		l.Target = new(admin.PathOf(e.Target))
	}
	for _, x := range e.Xattrs[:min(len(e.Xattrs), shownNames)] {
		l.Xattrs = append(l.Xattrs, strings.ToValidUTF8(x.Name, "\uFFFD"))
	}
	return l
}

// present is the tree as it is now; nil if there is none.
func (n *node) present() volume.Reader {
	if l := n.leading(); l != nil {
		return l
	}
	if f := n.following(); f != nil {
		return f
	}
	return nil
}

// conflictDiffVerb compares a record with the present tree.
func (n *node) conflictDiffVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	return n.readConflict(ctx, query, func(ctx context.Context, r *conflict.Reader) error {
		tree := n.present()
		if tree == nil {
			return volume.Errorf(volume.Unavailable, "node %s serves no volume yet: wait until it follows or leads", n.cfg.Node.ID)
		}
		res := &admin.ConflictResult{ID: r.ID}
		counts := map[string]*uint64{conflict.Same: &res.Same, conflict.Differs: &res.Differs, conflict.Missing: &res.Missing, conflict.Displaced: &res.Displaced}
		err := r.Diff(ctx, tree, func(_ *conflict.Entry, c conflict.Compared) error {
			*counts[c.State]++
			line := &admin.ConflictCompared{ConflictPath: admin.PathOf(c.Path), Removed: c.Removed, State: c.State, Fields: append([]string{}, c.Fields...)}
			if c.Now != "" {
				line.Now = new(admin.PathOf(c.Now))
			}
			return emit(admin.ConflictLine{Compared: line})
		})
		if err != nil {
			return err
		}
		return emit(admin.ConflictLine{Result: res})
	})
}

// conflictRestoreVerb writes what is recorded into a directory, or back into the volume.
func (n *node) conflictRestoreVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	dir := query.Get("dir")
	if dir != "" && (!filepath.IsAbs(dir) || strings.ContainsRune(dir, 0)) {
		return admin.BadParam("dir", dir, "an absolute path")
	}
	return n.readConflict(ctx, query, func(ctx context.Context, r *conflict.Reader) error {
		p := n.beginProgress("restoring a conflict", r.Entries, r.Bytes+r.BaseBytes)
		defer n.endProgress(p)
		told := time.Now()
		o := conflict.RestoreOptions{Paths: query["path"], Present: n.present()}
		o.Tell = func(note conflict.Note) error {
			return emit(admin.ConflictLine{Note: &admin.ConflictNote{ConflictPath: admin.PathOf(note.Path), Kind: note.Kind, Text: note.Text}})
		}
		o.Progress = func(files, bytes uint64, path string) {
			p.add(files, bytes, path)
			if time.Since(told) >= exportTells {
				told = time.Now()
				emit(admin.ConflictLine{Progress: p.show()}) // its error stays, and comes with the next line
			}
		}
		var res conflict.Result
		var err error
		if dir != "" {
			dir, res, err = n.restoreTo(ctx, r, dir, o)
		} else {
			res, err = n.restoreInto(ctx, r, o)
		}
		if err != nil {
			n.log.Warn().Err(err).Str("code", "WD-1433").Str("record", r.ID).Uint64("written", res.Written).Msg("conflict record not restored whole")
			return err
		}
		n.log.Info().Str("record", r.ID).Str("dir", dir).Uint64("written", res.Written).Uint64("kept", res.Kept).Uint64("bytes", res.Bytes).Msg("conflict record restored")
		return emit(admin.ConflictLine{Result: &admin.ConflictResult{
			ID: r.ID, Dir: dir, Written: res.Written, Folders: res.Folders, Kept: res.Kept, Beside: res.Beside, Bytes: res.Bytes, Partial: res.Partial, Refused: res.Refused,
		}})
	})
}

func (n *node) restoreTo(ctx context.Context, r *conflict.Reader, dir string, o conflict.RestoreOptions) (string, conflict.Result, error) {
	place := export.Options{Dir: dir}
	if err := n.exportPlace(&place); err != nil {
		return dir, conflict.Result{}, err
	}
	res, err := r.RestoreTo(ctx, conflict.DirOptions{RestoreOptions: o, Dir: place.Dir, Check: place.Check, Log: n.log})
	return place.Dir, res, err
}

func (n *node) restoreInto(ctx context.Context, r *conflict.Reader, o conflict.RestoreOptions) (conflict.Result, error) {
	l := n.leading()
	if l == nil {
		return conflict.Result{}, admin.Refused("WD-1434", fmt.Sprintf("node %s does not lead, so it cannot change the volume", n.cfg.Node.ID),
			"restore with --to DIR and copy from there into the mount of the leader, or again when this node leads")
	}
	return r.RestoreInto(ctx, conflict.VolumeOptions{RestoreOptions: o, Volume: l})
}

// conflictDropVerb removes a record.
func (n *node) conflictDropVerb(_ context.Context, query url.Values, emit func(any) error) error {
	id := query.Get("id")
	if err := n.conflicts.Drop(id); err != nil {
		return err
	}
	n.log.Info().Str("code", "WD-1432").Str("record", id).Msg("conflict record dropped")
	return emit(admin.ConflictLine{Result: &admin.ConflictResult{ID: id, Open: n.conflicts.Count()}})
}
