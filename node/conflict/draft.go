package conflict

import "wolfdisk/volume"

// draft is what is known of an entry before its content is looked at. Drafts are sorted by
// treeKey of their first path; of two for one inode at one path the first has more to say.
type draft struct {
	Entry
	// all says that content has to be kept whole: it is new, or what of it was changed is
	// not known.
	all    bool
	ranges []volume.Range // changed, otherwise
	data   int64          // of the content that is no hole, bytes
	source uint64         // what the source knows the object by
}

// record is the draft as a sorter takes it: key, 0, rank, and the draft itself.
func (d *draft) record() []byte {
	var e encoder
	e.fixed([]byte(treeKey(d.Path())))
	e.fixed([]byte{0, 0}) // before all that is in the directory
	e.b = be64(e.b, d.source)
	rank := byte(0)
	if !d.counts() {
		rank = 1
	}
	e.fixed([]byte{rank})
	key := len(e.b)
	for _, list := range [][]string{d.Paths, d.Before} {
		e.uint(uint64(len(list)))
		for _, p := range list {
			e.string(p)
		}
	}
	for _, v := range [...]uint64{uint64(d.Ino), uint64(d.What), uint64(d.First), uint64(d.Last), d.Ops, d.source, uint64(d.data)} {
		e.uint(v)
	}
	e.bool(d.all)
	e.uint(uint64(len(d.ranges)))
	for _, r := range d.ranges {
		e.uint(uint64(r.Off))
		e.uint(uint64(r.Len))
	}
	e.b = append(e.b, byte(key>>24), byte(key>>16), byte(key>>8), byte(key))
	return e.b
}

// decodeDraft also returns what is the same for all drafts of one inode at one path.
func decodeDraft(b []byte) (d draft, same string, err error) {
	bad := volume.Errorf(volume.Corrupt, "a file of the unfinished record was changed while it was written")
	if len(b) < 4 {
		return d, "", bad
	}
	n := len(b) - 4
	key := int(b[n])<<24 | int(b[n+1])<<16 | int(b[n+2])<<8 | int(b[n+3])
	if key < 1 || key > n {
		return d, "", bad
	}
	c := decoder{b: b[key:n]}
	for _, list := range []*[]string{&d.Paths, &d.Before} {
		for range c.count() {
			*list = append(*list, c.string())
		}
	}
	d.Ino, d.What, d.First, d.Last, d.Ops = volume.Ino(c.uint()), What(c.uint()), volume.Version(c.uint()), volume.Version(c.uint()), c.uint()
	d.source, d.data, d.all = c.uint(), c.size(), c.bool()
	for range c.count() {
		d.ranges = append(d.ranges, volume.Range{Off: c.size(), Len: c.size()})
	}
	if !c.end() {
		return d, "", bad
	}
	return d, string(b[:key-1]), nil
}
