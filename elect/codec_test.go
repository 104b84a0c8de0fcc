package elect_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

var update = flag.Bool("update", false, "write testdata/format.golden anew")

func epoch(n uint64) volume.Epoch {
	if n == 0 {
		return volume.Epoch{}
	}
	return volume.Epoch{Number: n, Leader: "node-9", Tag: uint32(n) * 3}
}

func sampleCopy() elect.Copy {
	c := elect.Copy{
		Lineage: volume.Lineage{
			{Epoch: epoch(1), First: 1, Participants: []string{"node-9", "node-10"}},
			{Epoch: epoch(4), First: 20, Participants: []string{"node-9"}},
		},
		Durable: 17, Voters: []string{"node-9", "node-10"}, Consistent: true, Founder: true,
	}
	c.Cluster[3], c.Volume[4] = 1, 2
	c.Position = volume.Position{Epoch: epoch(4), Version: 25, Digest: volume.Digest{9, 8}}
	return c
}

func sampleMessages() []elect.Message {
	c := sampleCopy()
	return []elect.Message{
		&elect.Heartbeat{Started: 5, Seq: 6, Sent: 7 * time.Second, Echo: 8, Promise: epoch(4), Leading: epoch(4), Claiming: epoch(0),
			Position: c.Position, Store: volume.ID{1, 2}, Role: volume.RoleWitness, Flags: 5},
		&elect.Ask{Round: 77},
		&elect.Answer{Round: 77, Promise: epoch(4), Leader: epoch(3), Heard: time.Second, Left: time.Millisecond, Strange: true, Copy: c},
		&elect.Claim{Epoch: epoch(5), Consent: epoch(4)},
		&elect.ClaimAnswer{Epoch: epoch(5), Granted: true, Promise: epoch(5), Left: 3, Copy: c},
		&elect.HandoverAsk{Reign: epoch(4), Insist: true},
		&elect.HandoverRefused{Reign: epoch(4), Why: "it is busy"},
		&elect.HandoverGo{Reign: epoch(4), Position: c.Position, Keep: true},
	}
}

func sampleBeacon() *elect.Beacon {
	return &elect.Beacon{Cluster: volume.ID{7}, Counter: 1 << 60, NodeID: "node-9", Address: "[2001:db8::1]:9500"}
}

// TestFormat: the bytes are those of the golden file, for as long as the format has its number.
func TestFormat(t *testing.T) {
	var b strings.Builder
	for _, m := range sampleMessages() {
		p, err := elect.Encode(m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		b.WriteString(strings.TrimPrefix(reflect.TypeOf(m).String(), "*elect.") + " " + hex.EncodeToString(p) + "\n")
	}
	beacon, err := sampleBeacon().Encode([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString("Beacon " + hex.EncodeToString(beacon) + "\n")
	const golden = "testdata/format.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || b.String() != string(want) {
		t.Errorf("the format is now (%v)\n%s", err, b.String())
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range sampleMessages() {
		p, err := elect.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := elect.Decode(p)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
		for n := range p {
			if _, err := elect.Decode(p[:n]); volume.KindOf(err) != volume.BadFormat {
				t.Errorf("%T: %d of %d bytes: %v", m, n, len(p), err)
			}
		}
		if _, err := elect.Decode(append(p, 0)); volume.KindOf(err) != volume.BadFormat {
			t.Errorf("%T: a byte too many: %v", m, err)
		}
		p[0]++
		if _, err := elect.Decode(p); volume.KindOf(err) != volume.WrongVersion {
			t.Errorf("%T: another format: %v", m, err)
		}
	}
}

func TestMessagesRefused(t *testing.T) {
	answer := func(change func(*elect.Copy)) elect.Message {
		c := sampleCopy()
		change(&c)
		return &elect.Answer{Copy: c}
	}
	for name, m := range map[string]elect.Message{
		"negative time":        &elect.Heartbeat{Sent: -1},
		"role":                 &elect.Heartbeat{Role: 9},
		"flags":                &elect.Heartbeat{Flags: 0x80},
		"epoch without leader": &elect.Claim{Epoch: volume.Epoch{Number: 1}},
		"epoch 0 with leader":  &elect.Claim{Epoch: volume.Epoch{Leader: "a"}},
		"wide tag":             &elect.Claim{Epoch: volume.Epoch{Number: 1, Leader: "a", Tag: 1 << 20}},
		"long reason":          &elect.HandoverRefused{Why: strings.Repeat("x", elect.MaxWhyLen+1)},
		"unprintable reason":   &elect.HandoverRefused{Why: "\x1b[2J"},
		"lineage back":         answer(func(c *elect.Copy) { c.Lineage[1].First = 1 }),
		"lineage epochs":       answer(func(c *elect.Copy) { c.Lineage[1].Epoch.Number = 1 }),
		"lineage too far":      answer(func(c *elect.Copy) { c.Position.Version = 19 }),
		"no lineage":           answer(func(c *elect.Copy) { c.Lineage = nil }),
		"position elsewhere":   answer(func(c *elect.Copy) { c.Position.Epoch = epoch(9) }),
		"version 0":            answer(func(c *elect.Copy) { c.Position.Version = 0; c.Lineage = nil }),
		"voter":                answer(func(c *elect.Copy) { c.Voters[0] = "../x" }),
		"participant":          answer(func(c *elect.Copy) { c.Lineage[0].Participants[0] = "" }),
		"many voters":          answer(func(c *elect.Copy) { c.Voters = make([]string, volume.MaxParticipants+1) }),
	} {
		if _, err := elect.Encode(m); volume.KindOf(err) != volume.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := elect.Copy{}
	for i := range 16000 {
		c.Lineage = append(c.Lineage, volume.Reign{Epoch: volume.Epoch{Number: uint64(i + 1), Leader: strings.Repeat("n", 60)}, First: volume.Version(i + 1)})
	}
	c.Position = volume.Position{Epoch: c.Lineage[15999].Epoch, Version: 16000}
	if _, err := elect.Encode(&elect.Answer{Copy: c}); volume.KindOf(err) != volume.TooBig {
		t.Errorf("long lineage: %v", err)
	}
}

func TestBeacons(t *testing.T) {
	b := sampleBeacon()
	p, err := b.Encode([]byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := elect.DecodeBeacon(p, []byte("new"), []byte("old")); err != nil || *got != *b {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := elect.DecodeBeacon(p, []byte("new")); volume.KindOf(err) != volume.Unauthorized {
		t.Errorf("another key: %v", err)
	}
	for i := range p {
		bad := bytes.Clone(p)
		bad[i] ^= 1
		if _, err := elect.DecodeBeacon(bad, []byte("old")); err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
	}
	for _, bad := range []elect.Beacon{{Address: "a:1"}, {NodeID: "a"}, {NodeID: "a", Address: "a b"}, {NodeID: "a", Address: strings.Repeat("x", 301)}} {
		if _, err := bad.Encode([]byte("old")); volume.KindOf(err) != volume.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	var w elect.ReplayWindow
	for i, row := range []struct {
		id      string
		counter uint64
		want    bool
	}{{"a", 5, true}, {"a", 5, false}, {"a", 4, false}, {"b", 4, true}, {"a", 6, true}} {
		if got := w.Fresh(&elect.Beacon{NodeID: row.id, Counter: row.counter}); got != row.want {
			t.Errorf("%d: %t", i, got)
		}
	}
}

func TestDialList(t *testing.T) {
	d := elect.DialList{Expire: time.Minute}
	d.Static("s:1")
	d.Told(0, "a:1")
	d.Told(0, "b:1")
	d.Told(0, "a:1")
	d.Answered(30*time.Second, "b:1")
	d.Answered(30*time.Second, "unknown:1")
	for _, row := range []struct {
		at   time.Duration
		want string
	}{{59 * time.Second, "s:1 a:1 b:1"}, {61 * time.Second, "s:1 b:1"}, {91 * time.Second, "s:1"}, {time.Hour, "s:1"}} {
		if got := strings.Join(d.Addresses(row.at), " "); got != row.want {
			t.Errorf("after %v: %s", row.at, got)
		}
	}
	for i := range elect.MaxDialled + 10 {
		d.Told(time.Duration(i), strings.Repeat("x", i%7+1)+string(rune('a'+i%26))+hex.EncodeToString([]byte{byte(i >> 8), byte(i)}))
	}
	if n := len(d.Addresses(0)); n != elect.MaxDialled {
		t.Errorf("%d addresses", n)
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range sampleMessages() {
		b, err := elect.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := elect.Decode(b)
		if err != nil {
			if k := volume.KindOf(err); k != volume.BadFormat && k != volume.WrongVersion {
				t.Fatalf("kind %v of %v", k, err)
			}
			return
		}
		again, err := elect.Encode(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}

func FuzzBeacon(f *testing.F) {
	b, err := sampleBeacon().Encode([]byte("key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-32])
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := elect.DecodeBeacon(elect.SealBeacon(body, []byte("key")), []byte("key"))
		if err != nil {
			return
		}
		if p, err := b.Encode([]byte("key")); err != nil || !bytes.HasPrefix(p, body) {
			t.Fatalf("%x became %x, %v", body, p, err)
		}
	})
}
