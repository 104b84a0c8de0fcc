package node

import (
	"strings"
	"testing"
	"time"

	"wolfdisk/volume"
)

// What an earlier run has done counts as done, and not for the rate.
func TestProgressGoesOn(t *testing.T) {
	p := &progress{begun: time.Now().Add(-10 * time.Second), files: 60, allFiles: 100, hadFiles: 50}
	s := p.show()
	if s.Percent != 60 || s.FilesPerSecond < 0.9 || s.FilesPerSecond > 1 || s.ETASeconds < 39 || s.ETASeconds > 45 {
		t.Errorf("%+v", s)
	}
}

// What a follower tells of its copy is what the leader shows.
func TestToldProgress(t *testing.T) {
	p := &progress{phase: "copying content", begun: time.Now().Add(-10 * time.Second), files: 3, allFiles: 10, hadFiles: 1, bytes: 5 << 30, allBytes: 9 << 30, hadBytes: 2 << 30, path: "a/b c"}
	got, err := decodeProgress(p.encode())
	if err != nil {
		t.Fatal(err)
	}
	want, is := p.show(), got.show()
	if is.Seconds < 9.9 || is.Seconds > want.Seconds+1 {
		t.Errorf("%v s, want %v", is.Seconds, want.Seconds)
	}
	is.Seconds, is.ETASeconds, is.FilesPerSecond, is.BytesPerSecond = want.Seconds, want.ETASeconds, want.FilesPerSecond, want.BytesPerSecond
	if *is != *want {
		t.Errorf("%+v, want %+v", *is, *want)
	}
	p.path = strings.Repeat("d/", 4000) + "end"
	if got, err = decodeProgress(p.encode()); err != nil || !strings.HasSuffix(got.path, "d/end") || len(got.path) != maxToldPath {
		t.Errorf("of a long path %d bytes, %v", len(got.path), err)
	}
}

func FuzzDecodeProgress(f *testing.F) {
	f.Add((&progress{phase: "copying names", begun: time.Now(), files: 1}).encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeProgress(b)
		if err != nil {
			if volume.KindOf(err) != volume.BadFormat {
				t.Fatal(err)
			}
			return
		}
		if s := p.show(); s.Percent < 0 || s.Percent > 100 || s.Seconds < 0 {
			t.Errorf("%+v", s)
		}
	})
}
