package discovery

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

var peer = netip.MustParseAddr("192.0.2.7")

// hearer is the judging half, with beacons as another node of the cluster makes them.
func hearer(t testing.TB) (b *beacons, encode func(elect.Beacon) []byte) {
	t.Helper()
	keys := newKeys(t)
	opt := &Options{Keys: keys, NodeID: "me", Address: ":9500", Stats: &Stats{}, now: time.Now}
	b, err := newBeacons(opt)
	if err != nil {
		t.Fatal(err)
	}
	return b, func(bc elect.Beacon) []byte {
		if bc.Cluster.IsZero() {
			bc.Cluster = keys.ClusterID()
		}
		p, err := bc.Encode(keys.BeaconKey())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

func TestJudge(t *testing.T) {
	b, encode := hearer(t)
	st := b.opt.Stats
	good := encode(elect.Beacon{Counter: 10, NodeID: "n", Address: ":9500"})
	v, id, address, isNew := b.judge(good, peer)
	if v != heard || id != "n" || address != "192.0.2.7:9500" || !isNew {
		t.Fatalf("%d %s %s %t", v, id, address, isNew)
	}
	expect := func(what string, p []byte, counter interface{ Load() uint64 }) {
		t.Helper()
		before := counter.Load()
		if v, _, _, _ := b.judge(p, peer); v != ignored || counter.Load() != before+1 {
			t.Errorf("%s: verdict %d, counted %d", what, v, counter.Load()-before)
		}
	}
	expect("replayed", good, &st.Replayed)
	expect("an old one", encode(elect.Beacon{Counter: 9, NodeID: "n", Address: ":9500"}), &st.Replayed)
	v, _, address, isNew = b.judge(encode(elect.Beacon{Counter: 11, NodeID: "n", Address: "far.example:1"}), peer)
	if v != heard || address != "far.example:1" || isNew {
		t.Errorf("the next: %d %s %t", v, address, isNew)
	}
	bad := func(what string, p []byte) {
		t.Helper()
		before := st.Malformed.Load() + st.Foreign.Load() + st.Forged.Load()
		if v, _, _, _ := b.judge(p, peer); v != ignored || st.Malformed.Load()+st.Foreign.Load()+st.Forged.Load() != before+1 {
			t.Errorf("%s: verdict %d", what, v)
		}
	}
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 0x20
		bad(fmt.Sprint("changed at ", i), changed)
		bad(fmt.Sprint("cut at ", i), good[:i])
	}
	forged, err := (&elect.Beacon{Cluster: b.opt.Keys.ClusterID(), Counter: 99, NodeID: "n", Address: ":1"}).Encode([]byte("guessed"))
	if err != nil {
		t.Fatal(err)
	}
	expect("forged", forged, &st.Forged)
	foreign, err := (&elect.Beacon{Cluster: volume.ID{1}, Counter: 99, NodeID: "n", Address: ":1"}).Encode([]byte("theirs"))
	if err != nil {
		t.Fatal(err)
	}
	expect("another cluster's", foreign, &st.Foreign)
	expect("another cluster's with this key", encode(elect.Beacon{Cluster: volume.ID{1}, Counter: 99, NodeID: "n", Address: ":1"}), &st.Foreign)
	expect("too long", make([]byte, elect.MaxBeaconLen+1), &st.Malformed)
	expect("empty", nil, &st.Malformed)
	for n, a := range []string{"host", ":", ":0", "h:0", "[::1", "a:b:c"} {
		expect("address "+a, encode(elect.Beacon{Counter: 20 + uint64(n), NodeID: "n", Address: a}), &st.Malformed)
	}
	p, err := b.make()
	if err != nil {
		t.Fatal(err)
	}
	if v, _, _, _ := b.judge(p, peer); v != own {
		t.Errorf("one's own: verdict %d", v)
	}
	if v, _, address, _ := b.judge(encode(elect.Beacon{Counter: 1 << 62, NodeID: "me", Address: ":1"}), peer); v != twin || address != "192.0.2.7:1" {
		t.Errorf("a twin's: verdict %d, %s", v, address)
	}
}

// A node that was silent for long counts as new, and what is remembered is bounded.
func TestNewNodes(t *testing.T) {
	b, _ := hearer(t)
	now := time.Unix(1700000000, 0)
	b.opt.now = func() time.Time { return now }
	if !b.isNew("n") || b.isNew("n") {
		t.Error("the first is new, the second is not")
	}
	now = now.Add(silent + 1)
	if !b.isNew("n") {
		t.Error("silent for long, and not new")
	}
	for i := range 3 * elect.MaxBeaconNodes {
		b.isNew(fmt.Sprint(i))
	}
	if len(b.seen) > elect.MaxBeaconNodes {
		t.Errorf("%d nodes are remembered", len(b.seen))
	}
	now = now.Add(silent + 1)
	if !b.isNew("late") || b.isNew("late") {
		t.Error("there is no room after the others fell silent")
	}
}

// The counter grows over restarts, whatever the clock does.
func TestCounter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "beacon")
	now := time.Unix(1700000000, 5)
	clock := func() time.Time { return now }
	var last uint64
	for round, step := range []time.Duration{0, time.Second, -time.Hour, -1000 * time.Hour, time.Minute, 5000 * time.Hour} {
		now = now.Add(step)
		c, err := openCounter(file, clock)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			n, err := c.next()
			if err != nil || n <= last {
				t.Fatalf("round %d, %d: %d follows %d, %v", round, i, n, last, err)
			}
			last = n
			now = now.Add(time.Duration(i-1) * 20 * time.Minute)
		}
	}
	for _, text := range []string{"", "x", "wolfdisk-beacon 1\n-1\n", "wolfdisk-beacon 2\n7\n", "wolfdisk-beacon 1\n7\nx", strings.Repeat("9", 100)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := openCounter(file, clock)
		if err == nil {
			t.Errorf("%q was read", text)
		}
		if n, err := c.next(); err != nil || n < uint64(now.UnixNano()) {
			t.Errorf("%q: then %d, %v", text, n, err)
		}
	}
	// Where it cannot be written the clock does.
	c, err := openCounter(filepath.Join(file, "no", "folder"), clock)
	if err == nil {
		t.Error("a path through a file was read")
	}
	if n, err := c.next(); err == nil || n < uint64(now.UnixNano()) {
		t.Errorf("%d, %v", n, err)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"": "multicast", "multicast": "multicast", "broadcast": "broadcast", "none": "none", "udp://239.255.0.1:9501": "multicast", "udp://239.255.0.1": "multicast",
		"udp://239.1.2.3:99": "udp://239.1.2.3:99", "udp://224.0.0.9": "udp://224.0.0.9:9501",
	} {
		w, err := Parse(text)
		if err != nil || w.String() != want {
			t.Errorf("%q: %s, %v, want %s", text, w, err, want)
		}
		if again, err := Parse(w.String()); err != nil || again != w {
			t.Errorf("%q: %s is read as %s, %v", text, w, again, err)
		}
	}
	for _, text := range []string{"Multicast", "udp://", "udp://host:1", "udp://10.0.0.1:9501", "udp://[ff02::1]:9501", "udp://239.1.1.1:0", "udp://239.1.1.1:99999", "tcp://239.1.1.1:1", "239.1.1.1:1"} {
		if w, err := Parse(text); err == nil {
			t.Errorf("%q was read as %s", text, w)
		}
	}
}

func TestLinkOf(t *testing.T) {
	parse := func(s string) net.Addr {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		n.IP = ip
		return n
	}
	ethernet := net.FlagUp | net.FlagBroadcast | net.FlagMulticast
	for _, row := range []struct {
		cidr      string
		flags     net.Flags
		broadcast string
		multicast bool
	}{
		{"10.1.2.3/24", ethernet, "10.1.2.255", true}, {"10.1.2.3/20", ethernet, "10.1.15.255", true}, {"10.1.2.3/32", ethernet, "", true},
		{"10.1.2.2/31", ethernet, "", true}, {"127.0.0.1/8", net.FlagUp | net.FlagLoopback, "127.255.255.255", true},
		{"10.9.0.1/24", net.FlagUp | net.FlagPointToPoint, "", false},
	} {
		l, ok := linkOf("x", row.flags, parse(row.cidr))
		got := ""
		if l.broadcast.IsValid() {
			got = l.broadcast.String()
		}
		if !ok || got != row.broadcast || l.multicast != row.multicast {
			t.Errorf("%s: %+v, %t", row.cidr, l, ok)
		}
	}
	for _, cidr := range []string{"fe80::1/64", "2001:db8::1/64"} {
		if l, ok := linkOf("x", ethernet, parse(cidr)); ok {
			t.Errorf("%s: %+v", cidr, l)
		}
	}
}

func FuzzJudge(f *testing.F) {
	b, encode := hearer(f)
	f.Add(encode(elect.Beacon{Counter: 10, NodeID: "n", Address: ":9500"}))
	f.Add([]byte("WOLFBCN\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if v, id, address, _ := b.judge(p, peer); v == heard {
			if _, _, err := net.SplitHostPort(address); err != nil || volume.CheckNodeID(id) != nil {
				t.Errorf("%q at %q", id, address)
			}
		}
	})
}
