package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"wolfdisk/chunkstore"
	"wolfdisk/hostdir"
	"wolfdisk/node/admin"
	"wolfdisk/node/export"
	"wolfdisk/volume"
)

const (
	defaultExportJobs = 4
	maxExportJobs     = 64
	// exportTells is how often the asker hears how far an export is.
	exportTells = time.Second
)

// exportVerb writes the volume, as it is now, into a plain directory.
func (n *node) exportVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	o := export.Options{Dir: query.Get("dir"), Jobs: defaultExportJobs, Keep: query.Get("incremental") == "1", Log: n.log}
	if text := query.Get("jobs"); text != "" {
		jobs, err := strconv.Atoi(text)
		if err != nil || jobs < 1 || jobs > maxExportJobs {
			return admin.BadParam("jobs", text, fmt.Sprintf("a number from 1 to %d", maxExportJobs))
		}
		o.Jobs = jobs
	}
	if text := query.Get("incremental"); text != "" && text != "0" && text != "1" {
		return admin.BadParam("incremental", text, "0 or 1")
	}
	if !filepath.IsAbs(o.Dir) || strings.ContainsRune(o.Dir, 0) {
		return admin.BadParam("dir", o.Dir, "an absolute path")
	}
	ctx, release, err := n.longVerb(ctx)
	if err != nil {
		return err
	}
	defer release()
	return n.export(ctx, o, emit)
}

// longVerb keeps the volume open for as long as a verb works with it: its context ends
// when the daemon stops, and the daemon waits for release before it closes anything.
func (n *node) longVerb(ctx context.Context) (_ context.Context, release func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase == phaseStopping {
		return nil, nil, volume.Errorf(volume.Closed, "node %s is stopping", n.cfg.Node.ID)
	}
	n.group.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(n.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		n.group.Done()
	}, nil
}

// export takes a snapshot and holds what it points to while it is written.
func (n *node) export(ctx context.Context, o export.Options, emit func(any) error) error {
	st := n.storage()
	switch {
	case st == nil || st.engine.Position().Version == 0:
		return volume.Errorf(volume.Unavailable, "node %s holds no volume yet: wait until it follows a leader", n.cfg.Node.ID)
	case st.chunks == nil:
		return admin.Refused("WD-1421", fmt.Sprintf("node %s keeps its content in the plain directory %s, where content of an earlier version is not to be had", n.cfg.Node.ID, n.cfg.Volume.Dir),
			"ask a follower with storage = \"chunks\", or copy the directory or the mount with cp -a or rsync -aHAX while nobody writes")
	}
	if err := n.exportPlace(&o); err != nil {
		return err
	}
	snap, unsnap, err := n.holds.take(st.engine)
	if err != nil {
		return err
	}
	o.Volume, o.Version, o.Tree = n.state.Get().Volume, snap.Position().Version, snap
	o.Content = chunkstore.NewContent(snap, st.log, st.chunks)
	return errors.Join(n.runExport(ctx, o, snapCounts(snap), emit), unsnap())
}

func snapCounts(s interface{ Counts() (files, bytes uint64) }) [2]uint64 {
	files, bytes := s.Counts()
	return [2]uint64{files, bytes}
}

// runExport runs it and tells status, log and asker how far it is.
func (n *node) runExport(ctx context.Context, o export.Options, counts [2]uint64, emit func(any) error) error {
	p := n.beginProgress("exporting", counts[0], counts[1])
	defer n.endProgress(p)
	o.Progress = p.add
	told := time.Now()
	o.Tick = func() error {
		if time.Since(told) < exportTells {
			return nil
		}
		told = time.Now()
		return emit(admin.ExportLine{Progress: p.show()})
	}
	o.Tell = func(note export.Note) error {
		n.log.Warn().Str("code", "WD-1422").Str("path", note.Path).Str("kind", note.Kind).Msg("export: " + note.Text)
		line := &admin.ExportNote{Kind: note.Kind, Path: note.Path, Text: note.Text}
		if !utf8.ValidString(note.Path) {
			line.Path, line.RawPath = strconv.Quote(note.Path), []byte(note.Path)
		}
		return emit(admin.ExportLine{Note: line})
	}
	n.log.Info().Str("dir", o.Dir).Uint64("version", uint64(o.Version)).Msg("export begins")
	began := time.Now()
	res, err := export.Run(ctx, o)
	if err != nil {
		n.log.Warn().Err(err).Str("code", "WD-1423").Str("dir", o.Dir).Uint64("written", res.Written).Uint64("kept", res.Kept).Msg("export not finished")
		return err
	}
	took := time.Since(began)
	n.log.Info().Str("dir", o.Dir).Uint64("version", uint64(o.Version)).Uint64("written", res.Written).Uint64("bytes", res.Bytes).Dur("took", took).Msg("export finished")
	return emit(admin.ExportLine{Result: &admin.ExportResult{
		Dir: o.Dir, Version: uint64(res.Version), Folders: res.Folders, Written: res.Written, Kept: res.Kept, Removed: res.Removed,
		Bytes: res.Bytes, Failed: res.Failed, Refused: res.Refused, Left: res.Left, Seconds: took.Seconds(),
	}})
}

// exportPlace settles where the export goes and refuses what would swallow it. The first
// look is at names only: making a directory in our own mount would be a change of the
// volume.
func (n *node) exportPlace(o *export.Options) error {
	parent, err := filepath.EvalSymlinks(filepath.Dir(filepath.Clean(o.Dir)))
	if err != nil {
		return volume.Errorf(volume.KindOf(err), "directory of the export: %w: its parent must exist", err)
	}
	o.Dir = filepath.Join(parent, filepath.Base(filepath.Clean(o.Dir)))
	places := []struct{ what, path string }{{"the mount", n.cfg.Mount.Dir}, {"the mirrored directory", n.cfg.Volume.Dir}, {"the state directory", n.cfg.Node.DataDir}}
	refuse := func(what, path string) error {
		return admin.Refused("WD-1424", fmt.Sprintf("%s lies in %s %s", o.Dir, what, path), "choose a directory outside of it")
	}
	for _, p := range places {
		if p.path == "" {
			continue
		}
		real, err := filepath.EvalSymlinks(p.path)
		if err != nil {
			return volume.Wrap(err, "look at "+p.path)
		}
		if o.Dir == real || strings.HasPrefix(o.Dir, strings.TrimSuffix(real, "/")+"/") {
			return refuse(p.what, p.path)
		}
	}
	if err := os.Mkdir(o.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return volume.Wrap(err, "make the directory of the export")
	}
	// The second look is at what is really there, whatever paths lead to it.
	o.Check = func(plain *hostdir.Plain) error {
		for _, p := range places {
			if p.path == "" {
				continue
			}
			inside, err := plain.Inside(p.path)
			if err != nil {
				return err
			}
			if inside {
				return refuse(p.what, p.path)
			}
		}
		return nil
	}
	return nil
}
