package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"wolfdisk/volume"
)

var update = flag.Bool("update", false, "rewrite golden files")

// The first bytes of a session, as they must stay as long as protocol 1 lives.
func TestHelloGolden(t *testing.T) {
	path := filepath.Join("testdata", "hello-v1.hex")
	got := hex.Dump(greeting(t, sampleHello()))
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("greeting is now\n%s", got)
	}
}

func TestHelloRoundTrip(t *testing.T) {
	small := Hello{ProtocolMin: 1, ProtocolMax: 1, Identity: Identity{NodeID: "a"}, Lineage: volume.Lineage{}}
	for _, h := range []Hello{sampleHello(), small} {
		b, err := encodeHello(&h)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeHello(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Lineage) == 0 {
			got.Lineage = h.Lineage
		}
		if !reflect.DeepEqual(*got, h) {
			t.Errorf("got  %+v\nwant %+v", *got, h)
		}
		for n := range b {
			if _, err := decodeHello(b[:n]); volume.KindOf(err) != volume.BadFormat {
				t.Errorf("%d of %d bytes: %v", n, len(b), err)
			}
		}
		if _, err := decodeHello(append(b, 0)); volume.KindOf(err) != volume.BadFormat {
			t.Errorf("a byte too many: %v", err)
		}
	}
}

func TestHelloOfALaterVersion(t *testing.T) {
	h := sampleHello()
	h.ProtocolMax = 3
	b, err := encode(func(c coder) {
		c.array(1 + helloFields + 1)
		c.array(2)
		visitUint(c, &h.ProtocolMin)
		visitUint(c, &h.ProtocolMax)
		h.visitFields(c)
		text := "a field of the future"
		c.str(&text, 100)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeHello(b)
	if err != nil || got.Address != h.Address {
		t.Fatalf("%+v, %v", got, err)
	}
	if v, ok := got.protocolWith(&Hello{ProtocolMin: 1, ProtocolMax: 1}); v != 1 || !ok {
		t.Errorf("they speak %d, %v", v, ok)
	}
}

func TestHelloRefusesNonsense(t *testing.T) {
	for name, change := range map[string]func(h *Hello){
		"no node ID":           func(h *Hello) { h.NodeID = "" },
		"bad node ID":          func(h *Hello) { h.NodeID = "../etc" },
		"bad role":             func(h *Hello) { h.Role = volume.RoleWitness + 1 },
		"chunk size":           func(h *Hello) { h.ChunkSize = 100000 },
		"huge chunk size":      func(h *Hello) { h.ChunkSize = 1 << 30 },
		"unprintable software": func(h *Hello) { h.Software = "a\x1b[2J" },
		"unprintable address":  func(h *Hello) { h.Address = "a\nb" },
		"epoch without leader": func(h *Hello) { h.Promise.Leader = "" },
		"epoch 0 with leader":  func(h *Hello) { h.Leading.Number = 0 },
		"tag too wide":         func(h *Hello) { h.Position.Epoch.Tag = 1 << 20 },
		"lineage from 0":       func(h *Hello) { h.Lineage[0].First = 0 },
		"lineage back":         func(h *Hello) { h.Lineage[1].First = 1 },
		"lineage epochs":       func(h *Hello) { h.Lineage[1].Epoch.Number = 3 },
		"participant":          func(h *Hello) { h.Lineage[1].Participants[0] = "a b" },
	} {
		h := sampleHello()
		change(&h)
		if _, err := encodeHello(&h); volume.KindOf(err) != volume.Invalid {
			t.Errorf("%s: encoded: %v", name, err)
		}
		b, err := encode(func(c coder) {
			c.array(1 + helloFields)
			c.array(2)
			visitUint(c, &h.ProtocolMin)
			visitUint(c, &h.ProtocolMax)
			h.visitFields(c)
		})
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := decodeHello(b); volume.KindOf(err) != volume.BadFormat {
			t.Errorf("%s: decoded: %v", name, err)
		}
	}
	h := sampleHello()
	h.Software = strings.Repeat("x", maxSoftware+1)
	if _, err := encodeHello(&h); volume.KindOf(err) != volume.Invalid {
		t.Errorf("long software: %v", err)
	}
	h = sampleHello()
	h.Lineage = nil
	for i := range 40000 {
		h.Lineage = append(h.Lineage, volume.Reign{Epoch: volume.Epoch{Number: uint64(i + 1), Leader: "some-longer-node-name-here"}, First: volume.Version(i + 1)})
	}
	if _, err := encodeHello(&h); volume.KindOf(err) != volume.TooBig {
		t.Errorf("long lineage: %v", err)
	}
}

// Five bytes that make a reflective decoder allocate a gigabyte must cost nothing.
func TestHostileMsgpack(t *testing.T) {
	huge := [][]byte{
		{0xdd, 0x3f, 0xff, 0xff, 0xff},
		{0xdd, 0xff, 0xff, 0xff, 0xff},
		{0x92, 0x92, 1, 1, 0xc6, 0x3f, 0xff, 0xff, 0xff},
		append([]byte{0xdc, 0, 18, 0x92, 1, 1, 0, 0xc6, 0x3f, 0xff, 0xff, 0xff}, 1, 2, 3),
		{0xc0}, {}, {0x92, 0xc0}, {0xdf, 0xff, 0xff, 0xff, 0xff},
	}
	for _, b := range huge {
		var err error
		n := allocated(func() { _, err = decodeHello(b) })
		if volume.KindOf(err) != volume.BadFormat {
			t.Errorf("% x: %v", b, err)
		}
		if n > 16<<10 {
			t.Errorf("% x: %d bytes allocated", b, n)
		}
		n = allocated(func() { _, err = decodeRefusal(b) })
		if volume.KindOf(err) != volume.BadFormat || n > 16<<10 {
			t.Errorf("% x: %v, %d bytes allocated", b, err, n)
		}
	}
}

// The densest lineage of 1 MiB that can be sent, and what decoding it may cost.
func TestLargestHelloMemory(t *testing.T) {
	h := sampleHello()
	h.Lineage = nil
	for i := range 40000 {
		h.Lineage = append(h.Lineage, volume.Reign{Epoch: volume.Epoch{Number: uint64(i + 1), Leader: "a"}, First: volume.Version(i + 1)})
	}
	b, err := encodeHello(&h)
	if err != nil {
		t.Fatal(err)
	}
	n := allocated(func() { _, err = decodeHello(b) })
	if err != nil || n > 16*maxHello {
		t.Errorf("%d bytes allocated for %d, %v", n, len(b), err)
	}
}

func TestRefusalRoundTrip(t *testing.T) {
	r := &Refusal{Kind: volume.Fenced, Code: CodeFenced, Text: "no", Promise: volume.Epoch{Number: 1, Leader: "a"}}
	got, err := decodeRefusal(encodeRefusal(r))
	if err != nil {
		t.Fatal(err)
	}
	want := *r
	want.Peer = true
	if *got != want {
		t.Errorf("%+v", got)
	}
	long := refusalOf(volume.Errorf(volume.IO, "%s", strings.Repeat("ä\n", 5000)))
	b := encodeRefusal(long)
	if len(b) > maxRefusal {
		t.Errorf("%d bytes", len(b))
	}
	if got, err := decodeRefusal(b); err != nil || len(got.Text) > maxTextLen || strings.ContainsAny(got.Text, "\n\ufffd") || got.Code != CodeOther {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseHeader(t *testing.T) {
	for _, tc := range []struct {
		name     string
		b        []byte
		greeting bool
		ok       bool
	}{
		{"frames", appendHeader(nil, msgFrames, 0, maxBody), false, true},
		{"frames too long", appendHeader(nil, msgFrames, 0, maxBody+1), false, false},
		{"no frames", appendHeader(nil, msgFrames, 0, 0), false, false},
		{"negative", []byte{msgMagic, byte(msgFrames), 0, 0, 0xff, 0xff, 0xff, 0xff}, false, false},
		{"magic", []byte{'w', byte(msgFrames), 0, 0, 0, 0, 0, 1}, false, false},
		{"type 0", appendHeader(nil, msgInvalid, 0, 0), false, false},
		{"unknown type", appendHeader(nil, msgEnd, 0, 0), false, false},
		{"type 255", appendHeader(nil, 255, 0, 0), false, false},
		{"unknown flag", appendHeader(nil, msgFrames, 8, 1), false, false},
		{"flag of another type", appendHeader(nil, msgRequest, flagLast, requestHeadLen), false, false},
		{"failed but not last", appendHeader(nil, msgAnswer, flagFailed, answerHeadLen), false, false},
		{"more and last", appendHeader(nil, msgAnswer, flagMore|flagLast, answerHeadLen), false, false},
		{"hello in session", appendHeader(nil, msgHello, 0, 10), false, false},
		{"hello", appendHeader(nil, msgHello, 0, maxHello), true, true},
		{"ping in greeting", appendHeader(nil, msgPing, 0, idLen), true, false},
	} {
		_, err := parseHeader(tc.b, tc.greeting)
		if tc.ok != (err == nil) || err != nil && volume.KindOf(err) != volume.BadFormat {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func FuzzHello(f *testing.F) {
	h := sampleHello()
	b, err := encodeHello(&h)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xdd, 0x3f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			if k := volume.KindOf(err); k != volume.BadFormat && k != volume.WrongVersion {
				t.Fatalf("kind %v of %v", k, err)
			}
			return
		}
		again, err := encodeHello(h)
		if err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		h2, err := decodeHello(again)
		if h.ProtocolMax == ProtocolMax && (err != nil || !reflect.DeepEqual(h, h2)) {
			t.Fatalf("%+v became %+v, %v", h, h2, err)
		}
	})
}

func FuzzRefusal(f *testing.F) {
	f.Add(encodeRefusal(&Refusal{Kind: volume.Fenced, Code: CodeFenced, Text: "no", Promise: volume.Epoch{Number: 1, Leader: "a"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRefusal(b)
		if err != nil {
			return
		}
		if again, err := decodeRefusal(encodeRefusal(refusalOf(r))); err != nil || again.Kind != r.Kind || again.Promise != r.Promise {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	f.Add(testKeys(1, 7, 8).marshal())
	f.Add([]byte("wolfdisk-key 1\ncluster 00 00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKeys(b)
		if err != nil {
			return
		}
		again, err := parseKeys(k.marshal())
		if err != nil || !reflect.DeepEqual(k, again) {
			t.Fatalf("a key file that is read is not written alike: %v", err)
		}
	})
}

// FuzzFrames cuts a stream in two anywhere: the frames must not depend on it.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 'a', 2, 'b', 'c', 0x80, 1}, 3)
	f.Add(bytes.Repeat([]byte{200, 1}, 300), 7)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		parse := func(parts ...[]byte) (frames [][]byte, consumed int, err error) {
			p := frameParser{
				frame:    func(b []byte) error { frames = append(frames, bytes.Clone(b)); return nil },
				consumed: func(n int) { consumed += n },
			}
			for _, part := range parts {
				if err = p.feed(part); err != nil {
					return
				}
			}
			return
		}
		cut = max(0, min(cut, len(b)))
		one, n1, err1 := parse(b)
		two, n2, err2 := parse(b[:cut], b[cut:])
		if !reflect.DeepEqual(one, two) || (err1 == nil) != (err2 == nil) {
			t.Fatalf("%d frames, %v; in two parts %d frames, %v", len(one), err1, len(two), err2)
		}
		if err1 == nil && (n1 != len(b) || n2 != len(b)) {
			t.Fatalf("%d and %d of %d bytes accounted for", n1, n2, len(b))
		}
	})
}

// The library's own lengths are what the limits above rely on.
func TestMsgpackMinima(t *testing.T) {
	id, err := msgpack.Marshal([]byte("a"))
	if err != nil || len(id) != minString {
		t.Errorf("a node ID of one letter takes %d bytes, %v", len(id), err)
	}
	var l volume.Lineage
	empty, _ := encode(func(c coder) { visitLineage(c, &l) })
	l = volume.Lineage{{Epoch: volume.Epoch{Number: 1, Leader: "a"}, First: 1}}
	one, _ := encode(func(c coder) { visitLineage(c, &l) })
	if got := len(one) - len(empty); got != minReign {
		t.Errorf("the smallest reign takes %d bytes", got)
	}
}
