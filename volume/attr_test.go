package volume

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	sorted := []Time{{Sec: -1 << 63}, {Sec: -2, Nsec: 5}, {Sec: -1, Nsec: 0}, {Sec: -1, Nsec: 999999999}, {}, {Nsec: 1}, {Sec: 1}, {Sec: 1<<63 - 1, Nsec: 999999999}}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := sign(a.Compare(b)); got != sign(i-j) {
				t.Errorf("%v and %v compare %d", a, b, got)
			}
		}
	}
	for _, tm := range []Time{{}, {Sec: -1, Nsec: 999999999}, {Sec: 1700000000, Nsec: 123456789}, {Sec: -1 << 40, Nsec: 7}, {Sec: 1 << 40, Nsec: 7}} {
		if back := TimeOf(tm.Std()); back != tm {
			t.Errorf("%v came back as %v", tm, back)
		}
	}
	// half a second before 1970 counts forward from the second before
	if got := TimeOf(time.Unix(0, -5e8)); got != (Time{Sec: -1, Nsec: 5e8}) {
		t.Errorf("half a second before 1970 is %v", got)
	}
	if got := TimeOf(time.Date(2040, 1, 1, 5, 0, 0, 3, time.FixedZone("", 3600))).Std(); got.Location() != time.UTC || got.Hour() != 4 {
		t.Errorf("%v is not UTC", got)
	}
}

func TestAttrType(t *testing.T) {
	for _, typ := range []uint32{ModeSocket, ModeLink, ModeFile, ModeBlock, ModeDir, ModeChar, ModeFIFO} {
		a := Attr{Mode: typ | ModePerm}
		if a.Type() != typ || a.IsDir() != (typ == ModeDir) || a.IsFile() != (typ == ModeFile) {
			t.Errorf("type %o: %o, dir %t, file %t", typ, a.Type(), a.IsDir(), a.IsFile())
		}
	}
}

func TestEntryCookie(t *testing.T) {
	last := uint64(FirstCookie - 1)
	for v := Version(0); v < 1000; v++ {
		for _, second := range []bool{false, true} {
			c := EntryCookie(v, second)
			if c != last+1 {
				t.Fatalf("version %d, second %t: cookie %d after %d", v, second, c, last)
			}
			last = c
		}
	}
}
