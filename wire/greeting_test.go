package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"wolfdisk/volume"
)

func sampleHello() Hello {
	e1 := volume.Epoch{Number: 3, Leader: "node-1"}
	e2 := volume.Epoch{Number: 9, Leader: "node-2", Tag: 0xabcde}
	return Hello{
		ProtocolMin: 1, ProtocolMax: 1, Caps: 1<<63 | 5,
		Identity: Identity{Cluster: storeID(1), NodeID: "node-1", Role: volume.RoleFollower, Store: storeID(2)},
		Software: "wolfdisk 1.0", Volume: storeID(3), ChunkSize: volume.DefaultChunkSize,
		Boot:     Boot{ID: "c0ffee", Started: 1234567890, Clean: true},
		Promise:  volume.Epoch{Number: 10, Leader: "node-0", Tag: 1},
		Position: volume.Position{Epoch: e2, Version: 77, Digest: volume.Digest{1, 2, 3}},
		Lineage: volume.Lineage{
			{Epoch: e1, First: 1, Participants: []string{"node-1"}},
			{Epoch: e2, First: 40, Participants: []string{"node-1", "node-2"}},
		},
		Consistent: true, Leading: e2, Durable: 70, Address: "10.0.0.1:9500",
	}
}

func TestGreetingExchangesHellos(t *testing.T) {
	t.Parallel()
	k := testKeys(1, 7)
	dc, lc := testConfig("node-1", k), testConfig("node-2", k)
	lc.Role = volume.RoleFollower
	dh, lh := &testHandler{local: sampleHello()}, &testHandler{local: sampleHello()}
	lh.local.Address = "10.0.0.2:9500"
	d, l := net.Pipe()
	x, y := greetBoth(t, dc, lc, dh, lh, d, l)
	if x.err != nil || y.err != nil {
		t.Fatal(x.err, y.err)
	}
	t.Cleanup(func() { go x.s.Close(nil); y.s.Close(nil) })
	if r := x.s.Remote(); r.NodeID != "node-2" || r.Role != volume.RoleFollower || r.Store != lc.Store || r.Address != "10.0.0.2:9500" || len(r.Lineage) != 2 {
		t.Errorf("dialer got %+v", r)
	}
	if r := y.s.Remote(); r.NodeID != "node-1" || r.Cluster != k.cluster || r.Leading != sampleHello().Leading {
		t.Errorf("listener got %+v", r)
	}
	if x.s.Local().NodeID != "node-1" || x.s.Protocol() != 1 {
		t.Errorf("dialer said %+v", x.s.Local())
	}
	if len(dh.heard) != 2 || dh.heard[0].Heard() || dh.heard[0].NodeID != "node-2" || !dh.heard[1].Heard() || len(lh.heard) != 1 {
		t.Errorf("Hello was asked %d and %d times", len(dh.heard), len(lh.heard))
	}
}

// A daemon knows itself, and takes a copy of its state directory for what it is (TestGreetingRefusals).
func TestGreetingItself(t *testing.T) {
	cfg := testConfig("node-1", testKeys(1, 7))
	d, l := tcpPair(t)
	h := &testHandler{}
	x, y := greetBoth(t, cfg, cfg, h, h, d, l)
	for side, err := range map[string]error{"dialer": x.err, "listener": y.err} {
		if !errors.Is(err, ErrSelf) || findRefusal(err) != nil {
			t.Errorf("%s: %v", side, err)
		}
	}
	if len(h.heard) != 0 {
		t.Error("a handler was asked")
	}
}

// Both sides must say what is wrong, with the same kind.
func TestGreetingRefusals(t *testing.T) {
	k := testKeys(1, 7)
	fenced := &Refusal{Kind: volume.Fenced, Text: "epoch 3 is over", Promise: volume.Epoch{Number: 4, Leader: "node-3", Tag: 2}}
	wrongVolume := volume.Errorf(volume.WrongVolume, "node-1 holds volume a, node-2 volume b")
	no := func(err error) *testHandler { return &testHandler{decide: func(Hello) error { return err }} }
	yes := func() *testHandler { return &testHandler{} }
	keyFile := "/etc/wolfdisk/cluster.key"
	for _, tc := range []struct {
		name         string
		dialer       *Config
		listener     *Config
		dh, lh       *testHandler
		kind         volume.Kind
		code         string
		dtext, ltext []string
	}{
		{"other key", testConfig("node-1", k), testConfig("node-2", testKeys(1, 8)), yes(), yes(),
			volume.Unauthorized, CodeUnauthorized, []string{keyFile, "node-2 holds another key", "copy"}, []string{keyFile, "copy"}},
		{"other cluster", testConfig("node-1", k), testConfig("node-2", testKeys(2, 7)), yes(), yes(),
			volume.WrongCluster, CodeCluster, []string{testKeys(2, 7).cluster.String(), k.cluster.String(), keyFile}, []string{testKeys(2, 7).cluster.String(), k.cluster.String(), keyFile}},
		{"listener knows only the first key of the dialer's peer", testConfig("node-1", testKeys(1, 9, 8)), testConfig("node-2", testKeys(1, 8)), yes(), yes(),
			volume.Unauthorized, CodeUnauthorized, []string{keyFile, "refuses this node's key"}, []string{keyFile, "node-1 holds another key"}},
		{"listener says other volume", testConfig("node-1", k), testConfig("node-2", k), yes(), no(wrongVolume),
			volume.WrongVolume, CodeVolume, []string{"peer: node-1 holds volume a"}, []string{"node-2 volume b"}},
		{"dialer says other volume", testConfig("node-1", k), testConfig("node-2", k), no(wrongVolume), yes(),
			volume.WrongVolume, CodeVolume, []string{"node-2 volume b"}, []string{"peer: node-1 holds volume a"}},
		{"listener fences", testConfig("node-1", k), testConfig("node-2", k), yes(), no(fenced),
			volume.Fenced, CodeFenced, []string{"4/node-3/00002"}, []string{"4/node-3/00002"}},
		{"dialer fences", testConfig("node-1", k), testConfig("node-2", k), no(fenced), yes(),
			volume.Fenced, CodeFenced, []string{"4/node-3/00002"}, []string{"4/node-3/00002"}},
		{"copy of its state directory", testConfig("node-1", k), testConfig("node-1", k), yes(), yes(),
			volume.Busy, CodeCopied, []string{"was copied"}, []string{"was copied"}},
		{"duplicate ID", testConfig("node-1", k), &Config{Keys: k, NodeID: "node-1", Store: storeID(99)}, yes(), yes(),
			volume.Busy, CodeDuplicate, []string{"two nodes are called node-1", "--id"}, []string{"two nodes are called node-1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, l := tcpPair(t)
			x, y := greetBoth(t, tc.dialer, tc.listener, tc.dh, tc.lh, d, l)
			wantKind(t, "dialer", x.err, tc.kind, append(tc.dtext, tc.code)...)
			wantKind(t, "listener", y.err, tc.kind, append(tc.ltext, tc.code)...)
			if tc.kind == volume.Fenced {
				for _, err := range []error{x.err, y.err} {
					if r := findRefusal(err); r == nil || r.Promise != fenced.Promise {
						t.Errorf("refusal %+v", r)
					}
				}
			}
			if len(tc.dh.refused) != 1 || len(tc.lh.refused) != 1 {
				t.Errorf("observers: %v, %v", tc.dh.refused, tc.lh.refused)
			}
		})
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	both := [][2]*Keys{
		{testKeys(1, 7, 8), testKeys(1, 7)},
		{testKeys(1, 7, 8), testKeys(1, 8, 7)},
		{testKeys(1, 8, 7), testKeys(1, 7, 8)},
		{testKeys(1, 8), testKeys(1, 8, 7)},
	}
	for _, keys := range both {
		d, l := tcpPair(t)
		a, b := pair(t, testConfig("node-1", keys[0]), testConfig("node-2", keys[1]), d, l)
		if a.Remote().NodeID != "node-2" || b.Remote().NodeID != "node-1" {
			t.Error("wrong peers")
		}
	}
}

// rawClient does a TLS handshake as node-1 and then whatever a test wants.
func rawClient(t testing.TB, cfg *Config, conn net.Conn) *tls.Conn {
	t.Helper()
	if err := cfg.prepare(); err != nil {
		t.Fatal(err)
	}
	c := tls.Client(conn, cfg.tls)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

func greeting(t testing.TB, h Hello) []byte {
	t.Helper()
	body, err := encodeHello(&h)
	if err != nil {
		t.Fatal(err)
	}
	return append(appendHeader(appendPreamble(nil), msgHello, 0, len(body)), body...)
}

// goodHello is what node-1 with testKeys(1, 7) says.
func goodHello(cfg *Config) Hello {
	h := sampleHello()
	h.Identity = cfg.identity()
	return h
}

func TestListenerRefusesLiars(t *testing.T) {
	k := testKeys(1, 7)
	for _, tc := range []struct {
		name string
		send func(h Hello) []byte
		kind volume.Kind
		text string
	}{
		{"other node ID", func(h Hello) []byte { h.NodeID = "node-9"; return greeting(t, h) }, volume.Unauthorized, "node-9"},
		{"other role", func(h Hello) []byte { h.Role = volume.RoleLeader; return greeting(t, h) }, volume.Unauthorized, "role leader"},
		{"other store", func(h Hello) []byte { h.Store = storeID(42); return greeting(t, h) }, volume.Unauthorized, storeID(42).String()},
		{"other cluster", func(h Hello) []byte { h.Cluster = storeID(42); return greeting(t, h) }, volume.WrongCluster, storeID(42).String()},
		{"later protocol", func(h Hello) []byte { h.ProtocolMin, h.ProtocolMax = 5, 7; return greeting(t, h) }, volume.WrongVersion, "node-1 speaks 5 to 7, node-2 speaks 1"},
		{"garbage", func(Hello) []byte { return []byte(strings.Repeat("garbage ", 20)) }, volume.BadFormat, "does not begin"},
		{"bad checksum", func(h Hello) []byte { b := greeting(t, h); b[preambleLen-1]++; return b }, volume.BadFormat, "checksum"},
		{"later format", func(h Hello) []byte {
			b := append([]byte(preambleMagic), 0, 9)
			b = binary.BigEndian.AppendUint32(b, checksum(b))
			return append(b, greeting(t, h)[preambleLen:]...)
		}, volume.WrongVersion, "session format is 9"},
		{"session message first", func(Hello) []byte { return appendID(appendPreamble(nil), msgPing, 1) }, volume.BadFormat, "out of place"},
		{"accept first", func(Hello) []byte { return appendHeader(appendPreamble(nil), msgAccept, 0, 0) }, volume.BadFormat, "instead of hello"},
		{"oversized hello", func(Hello) []byte { return appendHeader(appendPreamble(nil), msgHello, 0, maxHello+1) }, volume.BadFormat, "1048577 bytes"},
		{"hello of nothing", func(Hello) []byte { return append(appendHeader(appendPreamble(nil), msgHello, 0, 1), 0xc0) }, volume.BadFormat, "decode hello"},
		{"truncated hello", func(h Hello) []byte { b := greeting(t, h); return b[:len(b)-5] }, volume.Unavailable, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, l := tcpPair(t)
			lc := testConfig("node-2", k)
			if err := lc.prepare(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := greet(t.Context(), lc, l, "listener-side", &testHandler{}, false)
				done <- err
			}()
			dc := testConfig("node-1", k)
			c := rawClient(t, dc, d)
			if _, err := c.Write(tc.send(goodHello(dc))); err != nil {
				t.Fatal(err)
			}
			c.CloseWrite()
			typ, body, err := readGreeting(c)
			d.Close()
			wantKind(t, "listener", soon(t, "listener", done), tc.kind, tc.text)
			if tc.kind == volume.Unavailable {
				return
			}
			if err != nil || typ != msgRefuse {
				t.Fatalf("dialer got %v, %v", typ, err)
			}
			wantKind(t, "dialer", peerRefusal(body), tc.kind, tc.text)
		})
	}
}

func TestStrangers(t *testing.T) {
	t.Parallel()
	k := testKeys(1, 7)
	for _, tc := range []struct {
		name string
		act  func(c net.Conn)
		kind volume.Kind
		text string
	}{
		{"HTTP", func(c net.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }, volume.BadFormat, "does not speak TLS"},
		{"nothing", func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }, volume.Unavailable, "closed before"},
		{"slow loris", func(c net.Conn) {
			for _, b := range []byte{22, 3, 1, 1, 0, 1, 0, 0} {
				c.Write([]byte{b})
				time.Sleep(20 * time.Millisecond)
			}
		}, volume.Unavailable, "not established within"},
		{"endless handshake", func(c net.Conn) {
			// Records of a ClientHello that says it has 64 KiB.
			record := append([]byte{22, 3, 1, 0x20, 0, 1, 0, 0xff, 0xff}, make([]byte, 0x2000-4)...)
			for range 8 {
				if _, err := c.Write(record); err != nil {
					return
				}
				record = append([]byte{22, 3, 1, 0x20, 0}, make([]byte, 0x2000)...)
			}
		}, volume.BadFormat, "before the peer showed"},
		{"no certificate", func(c net.Conn) {
			tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13})
			tc.Handshake()
			io.Copy(io.Discard, tc)
		}, volume.Unauthorized, "certificate"},
		{"TLS 1.2", func(c net.Conn) {
			tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}, MaxVersion: tls.VersionTLS12}).Handshake()
		}, volume.Unauthorized, "version"},
		{"other ALPN", func(c net.Conn) {
			tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).Handshake()
		}, volume.Unauthorized, "protocol"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d, l := tcpPair(t)
			cfg := testConfig("node-2", k)
			cfg.HandshakeTimeout = 400 * time.Millisecond
			if err := cfg.prepare(); err != nil {
				t.Fatal(err)
			}
			go tc.act(d)
			begin := time.Now()
			_, err := greet(t.Context(), cfg, l, "stranger", &testHandler{}, false)
			wantKind(t, "listener", err, tc.kind, tc.text, "stranger")
			if d := time.Since(begin); d > 3*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestDialerMeetsStrangers(t *testing.T) {
	t.Parallel()
	k := testKeys(1, 7)
	for _, tc := range []struct {
		name string
		act  func(c net.Conn)
		kind volume.Kind
	}{
		{"SSH", func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n") }, volume.BadFormat},
		{"silence", func(net.Conn) {}, volume.Unavailable},
		{"hang-up", func(c net.Conn) { c.Close() }, volume.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d, l := tcpPair(t)
			cfg := testConfig("node-1", k)
			cfg.HandshakeTimeout = 300 * time.Millisecond
			cfg.Dialer = func(context.Context, string) (net.Conn, error) { return d, nil }
			go tc.act(l)
			_, err := Dial(t.Context(), cfg, "there:9500", &testHandler{})
			wantKind(t, "dialer", err, tc.kind, "there:9500")
		})
	}
}

func TestDialHonoursContext(t *testing.T) {
	t.Parallel()
	d, _ := tcpPair(t)
	cfg := testConfig("node-1", testKeys(1, 7))
	cfg.Dialer = func(context.Context, string) (net.Conn, error) { return d, nil }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := Dial(ctx, cfg, "there:9500", &testHandler{})
	wantKind(t, "Dial", err, volume.Interrupted)
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestConfigNeedsAKey(t *testing.T) {
	_, err := Dial(t.Context(), &Config{NodeID: "a"}, "x:1", nil)
	wantKind(t, "no key", err, volume.Invalid, "no cluster key")
	_, err = Listen(&Config{Keys: testKeys(1, 7), NodeID: "-"}, "127.0.0.1:0", nil)
	wantKind(t, "bad node ID", err, volume.Invalid)
}
