package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"wolfdisk/volume"
)

// putter records members, or cannot.
type putter struct {
	list []volume.Member
	err  error
	seen func()
}

func (p *putter) PutMember(m volume.Member) error {
	if p.seen != nil {
		p.seen()
	}
	p.list = append(p.list, m)
	return p.err
}

// Members that come at once are all in the file before any of them is recorded.
func TestRosterAtOnce(t *testing.T) {
	n := bareNode(t, "a")
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			m := volume.Member{ID: fmt.Sprint("n", i), Store: volume.ID{byte(i)}}
			err := n.putMember(&putter{seen: func() {
				if r, err := openRoster(filepath.Dir(n.roster.path)); err != nil || !slices.Contains(*r.list.Load(), m) {
					t.Errorf("%s is recorded, and not in the file: %v", m.ID, err)
				}
			}}, m)
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := n.members(); len(got) != 16 {
		t.Errorf("%d members of 16", len(got))
	}
}

// A member is in the file before it is recorded, and counts after a power loss that took the op.
func TestRoster(t *testing.T) {
	n := bareNode(t, "a")
	dir := t.TempDir()
	reopen := func() {
		t.Helper()
		var err error
		if n.roster, err = openRoster(dir); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	b := volume.Member{ID: "b", Store: volume.ID{2}, Role: volume.RoleAuto, Address: "b:9500"}
	p := &putter{seen: func() {
		r, err := openRoster(dir)
		if err != nil || !slices.Equal(*r.list.Load(), []volume.Member{b}) {
			t.Errorf("when it is recorded the file has %v, %v", *r.list.Load(), err)
		}
	}}
	if err := n.putMember(p, b); err != nil || !slices.Equal(p.list, []volume.Member{b}) {
		t.Fatalf("recorded: %v, %v", p.list, err)
	}
	reopen()
	if got := n.members(); !slices.Equal(got, []volume.Member{b}) {
		t.Errorf("after a restart: %v", got)
	}
	// What the copy says of a member counts.
	newer := b
	newer.Removed = true
	if got := n.roster.with([]volume.Member{{ID: "a"}, newer}); !slices.Equal(got, []volume.Member{{ID: "a"}, newer}) {
		t.Errorf("with a copy: %v", got)
	}
	// One that cannot be recorded counts all the same, and is recorded by the next try.
	failed := &putter{err: errors.New("no leader any more")}
	if err := n.putMember(failed, newer); err != failed.err {
		t.Errorf("not recorded: %v", err)
	}
	reopen()
	if got := n.members(); !slices.Equal(got, []volume.Member{newer}) {
		t.Errorf("then: %v", got)
	}
	// Damage is said.
	path := filepath.Join(dir, rosterName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{text[:5], append(slices.Clone(text[:len(text)-1]), text[len(text)-1]^1), append(slices.Clone(text), 0)} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openRoster(dir); volume.KindOf(err) != volume.Corrupt {
			t.Errorf("%d bytes of %d: %v", len(bad), len(text), err)
		}
	}
}
