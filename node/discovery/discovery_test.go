package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

func newKeys(t testing.TB) *wire.Keys {
	t.Helper()
	k, err := wire.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// freeWhere is a group and a port that no other test uses.
func freeWhere(t testing.TB) Where {
	t.Helper()
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	port := c.LocalAddr().(*net.UDPAddr).Port
	w, err := Parse(fmt.Sprintf("udp://239.255.77.%d:%d", 1+port%250, port))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// quick is a pace for tests.
var quick = pace{first: 50 * time.Millisecond, later: 100 * time.Millisecond, firstFor: 200 * time.Millisecond, answer: 20 * time.Millisecond, look: 100 * time.Millisecond}

// loopback is the only link of most tests: what they find they find without a network.
func loopback() ([]link, error) {
	all, err := links()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.addr.IsLoopback() {
			return []link{l}, nil
		}
	}
	return nil, errors.New("no loopback is up")
}

// instance is one running discovery.
type instance struct {
	id    string
	stats Stats
	mu    sync.Mutex
	found map[string]string // address by node ID
	twins []string
}

func (i *instance) has(id string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.found[id]
}

func start(t *testing.T, keys *wire.Keys, where Where, id string, tune ...func(*Options)) *instance {
	t.Helper()
	i := &instance{id: id, found: map[string]string{}}
	opt := Options{
		Where: where, Keys: keys, NodeID: id, Address: ":9500", Stats: &i.stats, Log: zerolog.Nop(), links: loopback, pace: quick,
		Found: func(id, address string) {
			i.mu.Lock()
			defer i.mu.Unlock()
			i.found[id] = address
		},
		Twin: func(address string) {
			i.mu.Lock()
			defer i.mu.Unlock()
			i.twins = append(i.twins, address)
		},
	}
	for _, f := range tune {
		f(&opt)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, opt) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", id, err)
		}
	})
	return i
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 20 s: %s", what)
}

// Three daemons of one machine share the port and find each other, and nobody finds itself.
func TestThreeFindEachOther(t *testing.T) {
	for _, mode := range []string{ModeMulticast, ModeBroadcast} {
		t.Run(mode, func(t *testing.T) {
			where, keys := freeWhere(t), newKeys(t)
			where.Mode = mode
			var all []*instance
			for n := range 3 {
				all = append(all, start(t, keys, where, fmt.Sprint("node-", n), func(o *Options) { o.Address = fmt.Sprint(":95", n, "0") }))
			}
			for _, i := range all {
				for n, j := range all {
					want := fmt.Sprintf("127.0.0.1:95%d0", n)
					if i == j {
						continue
					}
					eventually(t, i.id+" finds "+j.id, func() bool { return i.has(j.id) == want })
				}
			}
			for _, i := range all {
				if a := i.has(i.id); a != "" || len(i.twins) > 0 {
					t.Errorf("%s found itself at %s, %q", i.id, a, i.twins)
				}
				if s := &i.stats; s.Heard.Load() == 0 || s.Sent.Load() == 0 || s.Failed.Load()+s.Forged.Load()+s.Foreign.Load()+s.Malformed.Load()+s.Replayed.Load() != 0 {
					t.Errorf("%s: sent %d, heard %d, ignored %d %d %d %d, failed %d", i.id, s.Sent.Load(), s.Heard.Load(), s.Forged.Load(), s.Foreign.Load(), s.Malformed.Load(), s.Replayed.Load(), s.Failed.Load())
				}
			}
		})
	}
}

// An interface on which the group cannot be had is sent to by broadcast, and heard by
// those that listen to the group.
func TestFallbackToBroadcast(t *testing.T) {
	where, keys := freeWhere(t), newKeys(t)
	without := func(o *Options) {
		o.links = func() ([]link, error) {
			list, err := loopback()
			for i := range list {
				list[i].multicast = false
			}
			return list, err
		}
	}
	a, b := start(t, keys, where, "a", without), start(t, keys, where, "b")
	eventually(t, "b finds a", func() bool { return b.has("a") != "" })
	if n := a.stats.Failed.Load(); n != 0 {
		t.Errorf("%d beacons failed", n)
	}
}

// An interface that comes later is found.
func TestInterfaceComesLater(t *testing.T) {
	where, keys := freeWhere(t), newKeys(t)
	var up sync.RWMutex
	up.Lock()
	late := func(o *Options) {
		o.links = func() ([]link, error) {
			if !up.TryRLock() {
				return nil, nil
			}
			defer up.RUnlock()
			return loopback()
		}
	}
	a, b := start(t, keys, where, "a", late), start(t, keys, where, "b", late)
	time.Sleep(3 * quick.look)
	if a.stats.Sent.Load()+b.stats.Sent.Load() != 0 {
		t.Error("beacons without an interface")
	}
	up.Unlock()
	eventually(t, "a and b find each other", func() bool { return a.has("b") != "" && b.has("a") != "" })
}

// Other clusters on the same port see nothing of each other but their number.
func TestTwoClusters(t *testing.T) {
	where, keys := freeWhere(t), newKeys(t)
	a, b := start(t, keys, where, "a"), start(t, newKeys(t), where, "b")
	c := start(t, keys, where, "c")
	eventually(t, "a finds c", func() bool { return a.has("c") != "" && c.has("a") != "" })
	eventually(t, "foreign beacons are counted", func() bool { return a.stats.Foreign.Load() > 0 && b.stats.Foreign.Load() > 0 })
	if a.has("b") != "" || b.has("a") != "" || b.has("c") != "" {
		t.Error("clusters found each other")
	}
}

// Another daemon with the same ID is told apart from one's own beacons.
func TestTwin(t *testing.T) {
	where, keys := freeWhere(t), newKeys(t)
	a := start(t, keys, where, "a", func(o *Options) { o.Address = ":1" })
	b := start(t, keys, where, "a", func(o *Options) { o.Address = ":2" })
	told := func(i *instance, address string) bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		return len(i.twins) > 0 && i.twins[0] == address
	}
	eventually(t, "both are told", func() bool { return told(a, "127.0.0.1:2") && told(b, "127.0.0.1:1") })
	if a.has("a") != "" || b.has("a") != "" {
		t.Error("a twin is to be dialled")
	}
}

// A new node is answered at once, and not more often than allowed.
func TestNewNodeIsAnswered(t *testing.T) {
	where, keys := freeWhere(t), newKeys(t)
	// The first beacon soon, then none for an hour.
	once := func(o *Options) {
		o.pace = pace{first: time.Millisecond, later: time.Hour, answer: 300 * time.Millisecond, look: time.Hour}
	}
	a := start(t, keys, where, "a", once)
	eventually(t, "a has begun", func() bool { return a.stats.Sent.Load() == 1 })
	b := start(t, keys, where, "b", once)
	eventually(t, "each finds the other", func() bool { return a.has("b") != "" && b.has("a") != "" })
	all := []*instance{a, b}
	for n := range 5 {
		all = append(all, start(t, keys, where, fmt.Sprint("more-", n), once))
	}
	eventually(t, "all find all", func() bool {
		for _, i := range all {
			for _, j := range all {
				if i != j && i.has(j.id) == "" {
					return false
				}
			}
		}
		return true
	})
	if n := a.stats.Sent.Load(); n > 8 {
		t.Errorf("%d beacons to answer 6 nodes", n)
	}
}

func TestNone(t *testing.T) {
	if err := Run(t.Context(), Options{Where: Where{Mode: ModeNone}}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, Options{Where: freeWhere(t), Keys: newKeys(t), NodeID: "a", Address: ":1", Log: zerolog.Nop()}); err != nil {
		t.Error(err)
	}
}

// A port that somebody has for himself is an error that says what to do.
func TestPortIsBusy(t *testing.T) {
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	where := Where{Mode: ModeMulticast, Group: group, Port: uint16(c.LocalAddr().(*net.UDPAddr).Port)}
	err = Run(t.Context(), Options{Where: where, Keys: newKeys(t), NodeID: "a", Address: ":1", Log: zerolog.Nop()})
	if volume.KindOf(err) != volume.Unavailable || !strings.Contains(err.Error(), "discovery = \"none\"") {
		t.Error(err)
	}
}
