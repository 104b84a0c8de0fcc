package node

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// rosterName is the file of the state directory that has the members of the cluster as far as this
// node has ever known them: XXH3-64 of the rest, 8 bytes big-endian, then the members as ops.
//
// Members are ops in the log, and what a node knows of them is what its copy says. The file is for
// what the copy does not say: it is durable before a leader records a member, and may be ahead of
// a log whose end a power loss has taken. A node that forgot members would find a majority where
// there is none. A witness, which has no copy, has only the file.
const rosterName = "members"

type roster struct {
	path string
	mu   sync.Mutex // one writer
	list atomic.Pointer[[]volume.Member]
}

func openRoster(dir string) (*roster, error) {
	r := &roster{path: filepath.Join(dir, rosterName)}
	r.list.Store(new([]volume.Member))
	b, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, volume.Wrap(err, "read the members of the cluster")
	}
	if len(b) < 8 || binary.BigEndian.Uint64(b) != xxh3.Hash(b[8:]) {
		return nil, volume.Errorf(volume.Corrupt, "%s is damaged: if no member has joined in the last seconds before the damage, remove it", r.path)
	}
	list, err := decodeMembers(b[8:])
	if err != nil {
		return nil, volume.Wrap(err, "read "+r.path)
	}
	r.list.Store(&list)
	return r, nil
}

// with is what a copy says of the members, and those that only the roster has.
func (r *roster) with(copied []volume.Member) []volume.Member {
	all := slices.Clone(copied)
	for _, m := range *r.list.Load() {
		if !slices.ContainsFunc(copied, func(c volume.Member) bool { return c.ID == m.ID }) {
			all = append(all, m)
		}
	}
	return all
}

// keep makes a list durable, and is called with mu held.
func (r *roster) keep(list []volume.Member) error {
	if slices.Equal(list, *r.list.Load()) {
		return nil
	}
	b, err := encodeMembers(list)
	if err == nil {
		err = replaceFile(r.path, append(binary.BigEndian.AppendUint64(nil, xxh3.Hash(b)), b...))
	}
	if err != nil {
		return volume.Wrap(err, "keep the members of the cluster")
	}
	r.list.Store(&list)
	return nil
}

// learnFrom keeps what a leader says.
func (r *roster) learnFrom(b []byte) error {
	list, err := decodeMembers(b)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keep(list)
}

// keepMembers makes durable what this node knows of the members now, and what it is told of some.
func (n *node) keepMembers(told ...volume.Member) error {
	n.roster.mu.Lock()
	defer n.roster.mu.Unlock()
	list := n.members()
	for _, m := range told {
		if i := slices.IndexFunc(list, func(c volume.Member) bool { return c.ID == m.ID }); i >= 0 {
			list[i] = m
		} else {
			list = append(list, m)
		}
	}
	return n.roster.keep(list)
}

// putMember records a member: first where a power loss does not take it from.
func (n *node) putMember(l memberPutter, m volume.Member) error {
	if err := n.keepMembers(m); err != nil {
		return err
	}
	return l.PutMember(m)
}

type memberPutter interface{ PutMember(volume.Member) error }

func encodeMembers(list []volume.Member) ([]byte, error) {
	e := volume.NewEncoder()
	for _, m := range list {
		if _, err := e.Add(&volume.Op{Kind: volume.OpMember, Member: m}); err != nil {
			return nil, err
		}
	}
	return e.Bytes(), nil
}

func decodeMembers(b []byte) (list []volume.Member, err error) {
	d := volume.NewDecoder(b)
	for {
		var op volume.Op
		if _, err := d.Next(&op); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		if op.Kind != volume.OpMember {
			return nil, volume.Errorf(volume.BadFormat, "a list of members has an op of kind %s", op.Kind)
		}
		list = append(list, op.Member)
	}
}
