package volume

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestIno(t *testing.T) {
	for _, row := range []struct {
		tag, count uint32
		want       Ino
	}{
		{0, 1, 1}, {0, 2, 2}, {0, MaxInoCount, 0xffffffff}, {1, 1, 1<<32 | 1}, {0xfffff, MaxInoCount, 1<<52 - 1},
		{0xabcde, 0x12345678, 0xabcde12345678}, {0xfff00001, 5, 1<<32 | 5}, // a tag too wide is cut
	} {
		got := MakeIno(row.tag, row.count)
		if got != row.want || got.Tag() != row.tag&0xfffff || got.Count() != row.count || !got.Valid() {
			t.Errorf("MakeIno(%x, %x) = %s (tag %x, count %x, valid %t), want %s", row.tag, row.count, got, got.Tag(), got.Count(), got.Valid(), row.want)
		}
	}
	for _, bad := range []Ino{0, 1 << 32, 1 << 52, 1<<52 | 1, 1<<64 - 1, 5 << 32} {
		if bad.Valid() {
			t.Errorf("%x is valid", uint64(bad))
		}
	}
	if !RootIno.Valid() || RootIno.Tag() != 0 || RootIno.String() != "0000000000001" {
		t.Errorf("root: %s", RootIno)
	}
}

func TestCompareNodeIDsTable(t *testing.T) {
	sorted := []string{"", "0", "00", "1", "2", "10", "A", "a", "a0", "a01", "a1", "a1b", "a02", "a2", "a2b1", "a10", "a99999999999999999999",
		"a100000000000000000000", "b", "node-9", "node-10", "node-10a", "node-010b", "node-10b", "node_1", "z"}
	for i, a := range sorted {
		for j, b := range sorted {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := CompareNodeIDs(a, b); got != want {
				t.Errorf("CompareNodeIDs(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func sign(n int) int { return min(1, max(-1, n)) }

// TestCompareNodeIDsTotal: antisymmetric, transitive, and 0 for equal strings only.
func TestCompareNodeIDsTotal(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	id := func() string {
		b := make([]byte, rnd.IntN(6))
		for i := range b {
			b[i] = "0011295ab-_.\xff"[rnd.IntN(13)]
		}
		return string(b)
	}
	for range 200000 {
		a, b, c := id(), id(), id()
		ab, bc, ac := sign(CompareNodeIDs(a, b)), sign(CompareNodeIDs(b, c)), sign(CompareNodeIDs(a, c))
		if ab != -sign(CompareNodeIDs(b, a)) {
			t.Fatalf("%q and %q: not antisymmetric", a, b)
		}
		if (ab == 0) != (a == b) {
			t.Fatalf("%q and %q compare %d", a, b, ab)
		}
		if ab <= 0 && bc <= 0 && (ac > 0 || ac == 0 && (ab < 0 || bc < 0)) {
			t.Fatalf("%q <= %q <= %q, but the first and last compare %d", a, b, c, ac)
		}
	}
}

func TestCheckNodeID(t *testing.T) {
	for _, good := range []string{"a", "9", "_", "node-1", "A.b-c_d", strings.Repeat("x", MaxNodeIDLen)} {
		if err := CheckNodeID(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "-a", ".a", "a b", "a/b", "a\x00", "é", "a\n", "a:1", strings.Repeat("x", MaxNodeIDLen+1)} {
		if err := CheckNodeID(bad); KindOf(err) != Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestEpochOrder(t *testing.T) {
	// every one is higher than those before it
	sorted := []Epoch{{}, {1, "b", 0}, {1, "a", 0}, {2, "node-10", 0}, {2, "node-9", 1}, {2, "node-9", 2}, {3, "z", 0}, {1<<64 - 1, "z", 0}}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := sign(a.Compare(b)); got != sign(i-j) {
				t.Errorf("%s and %s compare %d", a, b, got)
			}
		}
		if a.IsZero() != (i == 0) {
			t.Errorf("%s: zero %t", a, a.IsZero())
		}
	}
	if (Epoch{0, "a", 1}).Compare(Epoch{0, "b", 2}) != 0 {
		t.Error("no epoch differs from no epoch")
	}
	if got := (Epoch{7, "node-1", 0xabc}).String(); got != "7/node-1/00abc" {
		t.Errorf("text %q", got)
	}
}

func TestLineageAt(t *testing.T) {
	l := Lineage{{Epoch: Epoch{1, "a", 0}, First: 1}, {Epoch: Epoch{2, "b", 5}, First: 10}, {Epoch: Epoch{5, "a", 7}, First: 11}}
	for v, want := range map[Version]uint64{1: 1, 9: 1, 10: 2, 11: 5, 1 << 60: 5} {
		if r, ok := l.At(v); !ok || r.Epoch.Number != want {
			t.Errorf("version %d is of epoch %d (%t), want %d", v, r.Epoch.Number, ok, want)
		}
	}
	if _, ok := l.At(0); ok {
		t.Error("somebody wrote version 0")
	}
	if _, ok := Lineage(nil).At(1); ok {
		t.Error("nobody's lineage wrote version 1")
	}
}

func TestCommonPrefix(t *testing.T) {
	reign := func(number uint64, leader string, tag uint32, first Version) Reign {
		return Reign{Epoch: Epoch{number, leader, tag}, First: first}
	}
	one := reign(1, "a", 0, 1)
	for _, row := range []struct {
		name         string
		a            Lineage
		aLast        Version
		b            Lineage
		bLast, want0 Version
	}{
		{"both empty", nil, 0, nil, 0, 0},
		{"one empty", Lineage{one}, 5, nil, 0, 0},
		{"equal", Lineage{one}, 5, Lineage{one}, 5, 5},
		{"one behind", Lineage{one}, 5, Lineage{one}, 3, 3},
		{"one behind by an epoch", Lineage{one, reign(2, "b", 1, 6)}, 9, Lineage{one}, 5, 5},
		{"one behind within the epoch before", Lineage{one, reign(2, "b", 1, 6)}, 9, Lineage{one}, 3, 3},
		{"one wrote on in the old epoch", Lineage{one, reign(2, "b", 1, 6)}, 9, Lineage{one}, 8, 5},
		{"both went on", Lineage{one, reign(2, "b", 1, 6)}, 9, Lineage{one, reign(2, "c", 2, 6)}, 7, 5},
		{"both went on from different versions", Lineage{one, reign(2, "b", 1, 6)}, 9, Lineage{one, reign(3, "c", 2, 4)}, 7, 3},
		{"same number and leader, other tag", Lineage{one, reign(2, "b", 1, 6)}, 9, Lineage{one, reign(2, "b", 2, 6)}, 9, 5},
		{"same epoch, other first", Lineage{one, reign(2, "b", 1, 6)}, 9, Lineage{one, reign(2, "b", 1, 5)}, 9, 4},
		{"nothing in common", Lineage{one}, 5, Lineage{reign(1, "b", 0, 1)}, 5, 0},
		{"long", Lineage{one, reign(2, "b", 1, 6), reign(3, "a", 2, 8)}, 20, Lineage{one, reign(2, "b", 1, 6), reign(3, "a", 2, 8)}, 12, 12},
	} {
		if got := CommonPrefix(row.a, row.aLast, row.b, row.bLast); got != row.want0 {
			t.Errorf("%s: %d, want %d", row.name, got, row.want0)
		}
		if got := CommonPrefix(row.b, row.bLast, row.a, row.aLast); got != row.want0 {
			t.Errorf("%s, the other way: %d, want %d", row.name, got, row.want0)
		}
	}
}

func TestDigestChain(t *testing.T) {
	ops := [][]byte{[]byte("one"), []byte("two"), nil, []byte("three"), make([]byte, 100000)}
	seen := map[Digest]bool{{}: true}
	var d Digest
	for i, op := range ops {
		next := d.Next(op)
		if next != d.Next(slices.Clone(op)) {
			t.Errorf("op %d: not a function of the bytes", i)
		}
		if seen[next] {
			t.Errorf("op %d: digest %s came before", i, next)
		}
		seen[next] = true
		d = next
	}
	var swapped Digest
	for _, i := range []int{1, 0, 2, 3, 4} {
		swapped = swapped.Next(ops[i])
	}
	if swapped == d {
		t.Error("the digest takes no notice of the order")
	}
	if a, b := (Digest{}).Next([]byte("ab")).Next([]byte("c")), (Digest{}).Next([]byte("a")).Next([]byte("bc")); a == b {
		t.Error("the digest takes no notice of where an op ends")
	}
	if got := (Digest{0x01, 0xab, 15: 0xff}).String(); got != "01ab00000000000000000000000000ff" {
		t.Errorf("text %q", got)
	}
}

func TestIDText(t *testing.T) {
	id := ID{0x01, 0xab, 15: 0xff}
	b, err := json.Marshal(map[string]ID{"id": id})
	if err != nil || string(b) != `{"id":"01ab00000000000000000000000000ff"}` {
		t.Fatalf("%s, %v", b, err)
	}
	var back map[string]ID
	if err := json.Unmarshal(b, &back); err != nil || back["id"] != id {
		t.Errorf("%v, %v", back, err)
	}
	if id.IsZero() || !(ID{}).IsZero() {
		t.Error("IsZero")
	}
	for _, bad := range []string{"", "01", strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("0", 34), strings.Repeat("g", 32)} {
		if err := new(ID).UnmarshalText([]byte(bad)); KindOf(err) != Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
