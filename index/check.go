package index

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// Finding is something that is wrong in an index.
type Finding struct {
	Ino  volume.Ino // what it is about; 0 if nothing in particular
	What string
	Err  error // why records could not be read; nil if they contradict each other
}

func (f *Finding) String() string {
	s := f.What
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	if f.Ino != 0 {
		s = "inode " + f.Ino.String() + ": " + s
	}
	return s
}

// CheckStats says what a check went through.
type CheckStats struct {
	Inodes, Entries, Extents, Records uint64
	Bytes                             uint64 // of keys and values
	Findings                          uint64
}

// checkStep is how many records lie between two calls of CheckOptions.Step.
const checkStep = 1024

// CheckOptions say whom a check tells what.
type CheckOptions struct {
	// Found is told each finding; its error ends the check.
	Found func(Finding) error
	// Step is told now and then how far it is; its error ends the check. May be nil.
	Step func(CheckStats) error
}

// Check reads every record and holds it against the others, as the package comment says
// that they belong together: entries, cookies, names and inodes, link counts, entry
// counts, extents, counters. The store compares each block that it reads with its checksum.
// It changes nothing, and its memory does not depend on the size of the index: all records of
// an inode are met together, because everything is ordered by inode. There is no repair
// in place: which of two records that contradict each other is right cannot be told
// from them, and every other node has the whole of it.
func (s *Snapshot) Check(ctx context.Context, o CheckOptions) (CheckStats, error) {
	c := &checker{s: s, r: s.r, ctx: ctx, opt: o}
	err := c.run()
	return c.stats, err
}

// errUnreadable ends a check whose iterator cannot get past what is damaged.
var errUnreadable = errors.New("unreadable")

type checker struct {
	s     *Snapshot
	r     *pebble.Snapshot
	ctx   context.Context
	opt   CheckOptions
	stats CheckStats
	told  uint64 // records at the last Step

	files, bytes uint64 // to compare with the counters

	g group // the inode whose records are met now
}

// group is what has been seen of one inode's records.
type group struct {
	ino      volume.Ino
	n        inode
	here     bool // there is a record that can be read
	broken   bool // there is one that cannot
	names    uint32
	parent   volume.Ino // of the last name
	entries  uint32
	subdirs  uint32
	cookies  uint32
	lastCome uint64 // the largest cookie
	xattrs   bool
	object   bool // an attribute that tells of a content
	target   int  // length; -1 if there is none
	orphan   bool
	limbo    bool
	end      int64 // of the last extent
	strayed  bool  // records without an inode were reported
	lastName string
}

// checkKinds are the kinds of records that belong to an inode, that of the inode
// itself first.
var checkKinds = []byte{kInode, kName, kDirent, kCookie, kOrphan, kLimbo, kTarget, kXattr, kExtent, kLower}

func (c *checker) run() (err error) {
	cursors := make([]*cursor, 0, len(checkKinds))
	defer func() {
		for _, k := range cursors {
			// What stopped an iterator has been reported.
			if e := k.it.Close(); e != nil && err == nil && !k.failed {
				err = volume.Wrap(e, "index: check")
			}
		}
		if errors.Is(err, errUnreadable) {
			err = nil
		}
	}()
	for _, kind := range checkKinds {
		it, err := c.r.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: after([]byte{kind})})
		if err != nil {
			return volume.Wrap(err, "index: check")
		}
		k := &cursor{c: c, kind: kind, it: it}
		cursors = append(cursors, k)
		if err := k.first(); err != nil {
			return err
		}
	}
	for {
		ino, any := volume.Ino(0), false
		for _, k := range cursors {
			if k.ok && (!any || k.ino < ino) {
				ino, any = k.ino, true
			}
		}
		if !any {
			break
		}
		if err := c.group(ino, cursors); err != nil {
			return err
		}
	}
	return c.whole()
}

// group checks all records of one inode.
func (c *checker) group(ino volume.Ino, cursors []*cursor) error {
	if err := c.ctx.Err(); err != nil {
		return volume.Errorf(volume.Interrupted, "index: check: %w", err)
	}
	c.g = group{ino: ino, target: -1}
	for _, k := range cursors {
		for k.ok && k.ino == ino {
			if err := c.record(k); err != nil {
				return err
			}
			if err := k.next(); err != nil {
				return err
			}
		}
	}
	if !c.g.here {
		return nil
	}
	return c.inode()
}

// record checks one record.
func (c *checker) record(k *cursor) error {
	val, err := k.it.ValueAndErr()
	if err != nil {
		return c.unreadable(k, err)
	}
	if err := c.count(len(k.it.Key()) + len(val)); err != nil {
		return err
	}
	if k.kind != kInode && !c.g.here {
		if c.g.strayed || c.g.broken {
			return nil
		}
		c.g.strayed = true
		return c.found("there is no such inode, but records of kind "+strconv.QuoteRune(rune(k.kind))+" of it", nil)
	}
	rest := k.it.Key()[9:]
	switch k.kind {
	case kInode:
		return c.inodeRecord(rest, val)
	case kName:
		return c.name(rest)
	case kDirent:
		return c.entry(rest, val)
	case kCookie:
		return c.cookie(rest, val)
	case kOrphan:
		c.g.orphan = true
	case kLimbo:
		c.g.limbo = true
	case kTarget:
		c.g.target = len(val)
	case kXattr:
		c.g.xattrs = true
		c.g.object = c.g.object || volume.IsObjectXattr(string(rest))
	case kExtent:
		return c.extent(rest, val)
	case kLower:
		return c.lower(val)
	}
	return nil
}

func (c *checker) count(bytes int) error {
	c.stats.Records++
	c.stats.Bytes += uint64(bytes)
	if c.opt.Step == nil || c.stats.Records-c.told < checkStep {
		return nil
	}
	c.told = c.stats.Records
	return c.opt.Step(c.stats)
}

// found reports something about the present inode.
func (c *checker) found(what string, err error) error {
	return c.tell(Finding{Ino: c.g.ino, What: what, Err: err})
}

func (c *checker) foundf(format string, args ...any) error {
	return c.found(fmt.Sprintf(format, args...), nil)
}

func (c *checker) tell(f Finding) error {
	c.stats.Findings++
	return c.opt.Found(f)
}

func (c *checker) unreadable(k *cursor, err error) error {
	k.failed = true
	f := Finding{What: "records of kind " + strconv.QuoteRune(rune(k.kind)) + " cannot be read; what comes behind them was not checked", Err: err}
	if err := c.tell(f); err != nil {
		return err
	}
	return errUnreadable
}

// cursor goes through the records of one kind.
type cursor struct {
	c      *checker
	kind   byte
	it     *pebble.Iterator
	ok     bool
	failed bool
	ino    volume.Ino // of the present record
}

func (k *cursor) first() error {
	k.ok = k.it.First()
	return k.settle()
}

func (k *cursor) next() error {
	k.ok = k.it.Next()
	return k.settle()
}

// settle reads whose record it is, and passes keys over that are none.
func (k *cursor) settle() error {
	for ; k.ok; k.ok = k.it.Next() {
		key := k.it.Key()
		if len(key) >= 9 {
			k.ino = volume.Ino(beUint64(key[1:]))
			return nil
		}
		if err := k.c.tell(Finding{What: fmt.Sprintf("key %x is cut short", key)}); err != nil {
			return err
		}
	}
	if err := k.it.Error(); err != nil {
		return k.c.unreadable(k, err)
	}
	return nil
}
