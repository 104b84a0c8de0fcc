package volumetest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"wolfdisk/volume"
)

// Step is one thing that a generator wants done: a request, or an Open or Close.
type Step struct {
	Req         *volume.Request
	Open, Close volume.Ino
}

// Gen makes random steps, the same for the same seed and the same answers. What it
// learns from the answers it shares with its forks. A Gen is used by one goroutine.
type Gen struct {
	rnd  *rand.Rand
	pool *pool
}

// pool is what is known of the volume; it may be out of date.
type pool struct {
	mu     sync.Mutex // guards all below
	dirs   []volume.Ino
	files  []volume.Ino
	others []volume.Ino
	staged []volume.Ino // nameless files
	open   []volume.Ino
	names  []volume.NameRef // lately made
	vers   map[volume.Ino]volume.Version
	chunks []volume.ChunkRef
}

// Random is a generator for the volume that holds only its root. Chunks are what
// OpCopyChunks may name; without any there are no such requests.
func Random(seed uint64, chunks ...volume.ChunkRef) *Gen {
	return &Gen{
		rnd:  rand.New(rand.NewPCG(seed, 0x776f6c66)),
		pool: &pool{dirs: []volume.Ino{volume.RootIno}, vers: map[volume.Ino]volume.Version{}, chunks: chunks},
	}
}

// Fork is a generator for another goroutine that works on the same volume.
func (g *Gen) Fork(seed uint64) *Gen {
	return &Gen{rnd: rand.New(rand.NewPCG(seed, 0x776f6c67)), pool: g.pool}
}

// weights of the kinds of steps.
var weights = []struct {
	weight int
	make   func(*Gen) Step
}{
	{14, (*Gen).create}, {7, (*Gen).mkdir}, {3, (*Gen).special}, {4, (*Gen).nameless},
	{6, (*Gen).link}, {9, (*Gen).unlink}, {4, (*Gen).rmdir}, {14, (*Gen).rename},
	{6, (*Gen).publish}, {10, (*Gen).setAttr}, {5, (*Gen).truncate}, {16, (*Gen).write},
	{6, (*Gen).fallocate}, {3, (*Gen).copyChunks}, {6, (*Gen).setXattr}, {3, (*Gen).removeXattr},
	{5, (*Gen).setACL}, {5, (*Gen).openInode}, {5, (*Gen).closeInode},
}

// Next is the next step.
func (g *Gen) Next() Step {
	g.pool.mu.Lock()
	defer g.pool.mu.Unlock()
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	n := g.rnd.IntN(total)
	for _, w := range weights {
		if n -= w.weight; n < 0 {
			s := w.make(g)
			if s.Req != nil {
				s.Req.Caller = volume.Caller{UID: uint32(g.rnd.IntN(3)), GID: uint32(g.rnd.IntN(3)), Front: volume.FrontFUSE}
			}
			return s
		}
	}
	panic("weights do not add up")
}

// Done tells the generator what became of a step.
func (g *Gen) Done(s Step, res volume.Result, err error) {
	p := g.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Close != 0 {
		return // it was forgotten when it was handed out
	}
	if err != nil {
		if s.Req != nil && volume.KindOf(err) == volume.Stale {
			p.forget(s.Req.Ino)
			p.forget(s.Req.Parent)
		}
		return
	}
	if s.Open != 0 {
		p.open = append(p.open, s.Open)
		return
	}
	p.vers[res.Attr.Ino] = res.Attr.Version
	req := s.Req
	switch req.Kind {
	case volume.OpCreate:
		p.learn(&res.Attr)
		p.named(req.Parent, req.Name)
	case volume.OpLink, volume.OpRename:
		p.named(req.NewParent, req.NewName)
	case volume.OpPublish:
		p.named(req.Parent, req.Name)
	}
	if req.Kind == volume.OpPublish || req.Kind == volume.OpLink {
		p.staged = slices.DeleteFunc(p.staged, func(i volume.Ino) bool { return i == req.Ino })
	}
}

func (p *pool) learn(a *volume.Attr) {
	switch {
	case a.IsDir():
		p.dirs = append(p.dirs, a.Ino)
	case a.IsFile():
		p.files = append(p.files, a.Ino)
	default:
		p.others = append(p.others, a.Ino)
	}
	if a.IsFile() && a.Nlink == 0 {
		p.staged = append(p.staged, a.Ino)
	}
}

func (p *pool) named(parent volume.Ino, name string) {
	if name == "" {
		return
	}
	p.names = append(p.names, volume.NameRef{Parent: parent, Name: name})
	if len(p.names) > 60 {
		p.names = p.names[20:]
	}
}

func (p *pool) forget(ino volume.Ino) {
	is := func(i volume.Ino) bool { return i == ino }
	if ino == volume.RootIno {
		return
	}
	p.dirs = slices.DeleteFunc(p.dirs, is)
	p.files = slices.DeleteFunc(p.files, is)
	p.others = slices.DeleteFunc(p.others, is)
	p.staged = slices.DeleteFunc(p.staged, is)
	delete(p.vers, ino)
}

// chance is true in one of n cases.
func (g *Gen) chance(n int) bool { return g.rnd.IntN(n) == 0 }

func pick[T any](g *Gen, list ...T) T { return list[g.rnd.IntN(len(list))] }

// some picks from a list; 0 if it is empty.
func (g *Gen) some(list []volume.Ino) volume.Ino {
	if len(list) == 0 {
		return 0
	}
	return list[g.rnd.IntN(len(list))]
}

func (g *Gen) dir() volume.Ino {
	if g.chance(30) {
		return g.any()
	}
	if g.chance(4) {
		return volume.RootIno
	}
	return g.some(g.pool.dirs)
}

func (g *Gen) file() volume.Ino {
	if i := g.some(g.pool.files); i != 0 && !g.chance(15) {
		return i
	}
	return g.any()
}

func (g *Gen) any() volume.Ino {
	switch g.rnd.IntN(8) {
	case 0:
		return volume.MakeIno(0xabcde, 77) // nobody's
	case 1:
		return g.some(g.pool.dirs)
	case 2, 3:
		if i := g.some(g.pool.others); i != 0 {
			return i
		}
	}
	if i := g.some(g.pool.files); i != 0 {
		return i
	}
	return volume.RootIno
}

func (g *Gen) name() string {
	if g.chance(50) {
		return pick(g, "", ".", "..", "a/b", "nul\x00", strings.Repeat("n", volume.MaxNameLen+1), reservedName,
			strings.Repeat("n", volume.MaxNameLen), "\xff\xfe", " ", "ü")
	}
	return string(rune('a' + g.rnd.IntN(9)))
}

// existing is a name that has been made, if there is one, and not long ago.
func (g *Gen) existing() (volume.Ino, string) {
	if len(g.pool.names) > 0 && !g.chance(4) {
		n := pick(g, g.pool.names...)
		return n.Parent, n.Name
	}
	return g.dir(), g.name()
}

func (g *Gen) mode() uint32 {
	return pick[uint32](g, 0o644, 0o755, 0o600, 0o777, 0o4755, 0o2755, 0o6711, 0o1777, 0o2644, 0)
}

func (g *Gen) create() Step {
	return Step{Req: &volume.Request{Kind: volume.OpCreate, Parent: g.dir(), Name: g.name(), Mode: volume.ModeFile | g.mode(),
		Umask: pick[uint32](g, 0, 0o022, 0o077), Exclusive: g.chance(2)}}
}

func (g *Gen) mkdir() Step {
	if len(g.pool.dirs) > 40 {
		return g.rmdir()
	}
	s := g.create()
	s.Req.Mode = volume.ModeDir | g.mode()
	return s
}

func (g *Gen) special() Step {
	s := g.create()
	r := s.Req
	r.Mode = pick(g, volume.ModeLink, volume.ModeLink, volume.ModeFIFO, volume.ModeSocket, volume.ModeBlock, volume.ModeChar) | g.mode()
	switch r.Mode & volume.ModeType {
	case volume.ModeLink:
		r.Target = pick(g, "a", "../b/c", "/", "", strings.Repeat("t", 300), "\xff")
	case volume.ModeBlock, volume.ModeChar:
		r.Rdev = uint32(g.rnd.IntN(1 << 12))
	}
	return s
}

func (g *Gen) nameless() Step {
	s := g.create()
	s.Req.Name = ""
	if g.chance(2) {
		s.Req.Parent = 0
	}
	return s
}

func (g *Gen) link() Step {
	ino := g.file()
	if i := g.some(g.pool.staged); i != 0 && g.chance(4) {
		ino = i
	}
	return Step{Req: &volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: g.dir(), NewName: g.name()}}
}

func (g *Gen) unlink() Step {
	parent, name := g.existing()
	return Step{Req: &volume.Request{Kind: volume.OpUnlink, Parent: parent, Name: name}}
}

func (g *Gen) rmdir() Step {
	s := g.unlink()
	s.Req.Kind = volume.OpRmdir
	return s
}

func (g *Gen) rename() Step {
	r := &volume.Request{Kind: volume.OpRename, Exclusive: g.chance(10), Exchange: g.chance(6)}
	r.Parent, r.Name = g.existing()
	r.NewParent, r.NewName = g.dir(), g.name()
	if g.chance(3) {
		r.NewParent, r.NewName = g.existing()
	}
	return Step{Req: r}
}

func (g *Gen) publish() Step {
	ino := g.some(g.pool.staged)
	if ino == 0 {
		return g.nameless()
	}
	r := &volume.Request{Kind: volume.OpPublish, Ino: ino, Parent: g.dir(), Name: g.name()}
	if g.chance(2) {
		r.Parent, r.Name = g.existing()
	}
	if g.chance(20) {
		r.Ino = g.any()
	}
	if g.chance(3) {
		r.Set, r.Mode = volume.SetMode, g.mode()
	}
	for i := range g.rnd.IntN(4) {
		r.Xattrs = append(r.Xattrs, volume.Xattr{Name: "user.s3." + string(rune('c'-i)), Value: g.data(40)})
	}
	switch g.rnd.IntN(8) {
	case 0:
		r.Match.Absent = true
	case 1:
		r.Match.Present = true
	case 2:
		r.Match.Version = g.pool.vers[g.file()]
	}
	return Step{Req: r}
}
