package volumetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"wolfdisk/volume"
)

// pair is a volume under test and the Model that follows it: every request goes to
// both, and every answer must be the same. What only the volume can know, the time
// and the new inode's ID, the Model takes from the volume's op (or, if ops are not to
// be had, from its answer), so that all else can be compared exactly.
type pair struct {
	vol volume.Volume
	ops func(after volume.Version) []*volume.Op // nil: not to be had

	mu    sync.Mutex // one request at a time; guards all below
	model *Model
	now   volume.Time // what the Model's clock says
	ino   volume.Ino  // what the Model allocates next; 0: as it likes
}

// newPair starts a Model at what the volume is now, which must be empty unless its
// ops are to be had.
func newPair(ctx context.Context, sys System) (*pair, error) {
	p := &pair{vol: sys.Vol, ops: sys.Ops}
	p.model = NewModel(Options{
		Clock: func() volume.Time { return p.now },
		NewIno: func(tag uint32) volume.Ino {
			if p.ino == 0 { // the volume refused; say what the model would do
				return volume.MakeIno(tag, p.model.counts[tag]+1)
			}
			return p.ino
		},
		Chunks: sys.Chunks,
	})
	if p.ops == nil {
		return p, nil
	}
	for _, op := range p.ops(0) {
		if err := p.model.Apply(ctx, op); err != nil {
			return nil, volume.Wrap(err, "apply what the volume did before")
		}
	}
	return p, nil
}

// follow brings the Model to where the volume was before it did the request: ops
// that nobody asked for are applied. It returns those of the request.
func (p *pair) follow(ctx context.Context) ([]*volume.Op, error) {
	if p.ops == nil {
		return nil, nil
	}
	ops := p.ops(p.model.Position().Version)
	for len(ops) > 0 && (ops[0].Kind == volume.OpReign || ops[0].Kind == volume.OpMember) {
		if err := p.model.Apply(ctx, ops[0]); err != nil {
			return nil, volume.Wrap(err, "apply the volume's own op")
		}
		ops = ops[1:]
	}
	if len(ops) > 0 {
		p.now, p.ino = ops[0].Time, ops[0].Ino
	}
	return ops, nil
}

// Do asks both. The error that comes first is the volume's; the second says where
// they disagree.
func (p *pair) Do(ctx context.Context, req *volume.Request) (res volume.Result, err, disagree error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := *req
	p.ino = 0
	res, err = p.vol.Do(ctx, req)
	if !reflect.DeepEqual(*req, asked) {
		return res, err, errors.New("the request was changed")
	}
	ops, wrong := p.follow(ctx)
	if wrong != nil {
		return res, err, wrong
	}
	if p.ops == nil && err == nil && res.Version > p.model.Position().Version {
		p.now, p.ino = res.Attr.Ctime, res.Attr.Ino
		p.model.skipTo(res.Version + 1 - opsOf(req))
	}
	before := p.model.Position().Version
	mres, merr := p.model.Do(ctx, req)
	var diffs []string
	d := differ{&diffs}
	d.cmp("error", kindText(err), kindText(merr))
	if err == nil && merr == nil {
		diffResult(d, &res, &mres)
	}
	if err != nil && res != (volume.Result{}) {
		diffs = append(diffs, fmt.Sprintf("a result with an error: %+v", res))
	}
	if p.ops != nil {
		diffs = append(diffs, diffOps(ops, p.model.Ops(before))...)
	}
	return res, err, disagreement(diffs)
}

// Close closes at both; see Do.
func (p *pair) Close(ctx context.Context, ino volume.Ino) (err, disagree error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err = p.vol.Close(ctx, ino)
	ops, wrong := p.follow(ctx)
	if wrong != nil {
		return err, wrong
	}
	before := p.model.Position().Version
	merr := p.model.Close(ctx, ino)
	var diffs []string
	differ{&diffs}.cmp("error", kindText(err), kindText(merr))
	if p.ops != nil {
		diffs = append(diffs, diffOps(ops, p.model.Ops(before))...)
	}
	return err, disagreement(diffs)
}

// Open opens at both; see Do.
func (p *pair) Open(ctx context.Context, ino volume.Ino, write bool) (err, disagree error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err = p.vol.Open(ctx, ino, write)
	merr := p.model.Open(ctx, ino, write)
	var diffs []string
	differ{&diffs}.cmp("error", kindText(err), kindText(merr))
	return err, disagreement(diffs)
}

// Compare compares the whole trees, inodes without a name too, and what is beyond
// promise 2 but decided alike: other times, listing order, versions.
func (p *pair) Compare(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	inos := p.model.Inos()
	a, err := Tree(ctx, p.vol, inos...)
	if err != nil {
		return err
	}
	b, err := Tree(ctx, p.model, inos...)
	if err != nil {
		return volume.Wrap(err, "read the model")
	}
	return disagreement(append(Check(a), diffAll(a, b, p.ops != nil)...))
}

// diffAll is Diff, and everything else that two trees of one history share.
func diffAll(a, b Snapshot, versions bool) []string {
	diffs := Diff(a, b)
	for path, x := range a {
		y := b[path]
		if y == nil {
			continue
		}
		var more []string
		d := differ{&more}
		diffRest(d, &x.Attr, &y.Attr, versions)
		d.cmp("listing order", fmt.Sprintf("%q", x.Order), fmt.Sprintf("%q", y.Order))
		for _, s := range more {
			diffs = append(diffs, path+": "+s)
		}
	}
	return diffs
}

// disagreement is nil, or an error with the first differences.
func disagreement(diffs []string) error {
	const most = 20
	switch {
	case len(diffs) == 0:
		return nil
	case len(diffs) > most:
		diffs = append(diffs[:most:most], fmt.Sprintf("and %d more", len(diffs)-most))
	}
	return errors.New(strings.Join(diffs, "\n"))
}

func kindText(err error) string {
	if err == nil {
		return "none"
	}
	if k := volume.KindOf(err); k != volume.Unknown {
		return k.Error()
	}
	return err.Error()
}

// opsOf is how many ops a request takes that changes something.
func opsOf(req *volume.Request) volume.Version {
	if req.Kind == volume.OpSetAttr && req.Set&volume.SetSize != 0 && req.Set&^volume.SetSize != 0 {
		return 2
	}
	return 1
}

// compared is what has to be equal of attributes.
func compared(a volume.Attr) string {
	a.Holes = false
	return fmt.Sprintf("%+v", a)
}

func diffResult(d differ, x, y *volume.Result) {
	d.cmp("result's version", x.Version, y.Version)
	d.cmp("result's N", x.N, y.N)
	d.cmp("result's offset", x.Offset, y.Offset)
	d.cmp("result's attributes", compared(x.Attr), compared(y.Attr))
	d.cmp("result's displaced inode", compared(x.Replaced), compared(y.Replaced))
}

// diffOps compares recorded ops field by field, leaving out what is no part of them.
func diffOps(x, y []*volume.Op) (diffs []string) {
	for i := range max(len(x), len(y)) {
		switch {
		case i >= len(x):
			diffs = append(diffs, fmt.Sprintf("op missing: %s", describeOp(y[i])))
		case i >= len(y):
			diffs = append(diffs, fmt.Sprintf("op too many: %s", describeOp(x[i])))
		default:
			if s, t := describeOp(x[i]), describeOp(y[i]); s != t {
				diffs = append(diffs, fmt.Sprintf("op %s != %s", s, t))
			}
		}
	}
	return diffs
}

// describeOp shows every field of an op that is not zero.
func describeOp(op *volume.Op) string {
	own := copyOp(op)
	own.DataOff = 0
	return own.Kind.String() + describe(reflect.ValueOf(*own))
}

// describeReq shows every field of a request that is not zero.
func describeReq(req *volume.Request) string {
	return req.Kind.String() + describe(reflect.ValueOf(*req))
}

func describe(v reflect.Value) string {
	var b strings.Builder
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 || name == "Kind" {
			continue
		}
		switch {
		case name == "Data" && f.Len() > 64:
			fmt.Fprintf(&b, " Data=%d bytes, XXH3 %x", f.Len(), volume.Digest{}.Next(f.Bytes()))
		case name == "Mode", name == "Umask":
			fmt.Fprintf(&b, " %s=%o", name, f.Uint())
		default:
			fmt.Fprintf(&b, " %s=%+q", name, fmt.Sprintf("%+v", f.Interface()))
		}
	}
	return b.String()
}
