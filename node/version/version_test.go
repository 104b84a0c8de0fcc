package version

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestString(t *testing.T) {
	tests := []struct {
		info Info
		want string
	}{
		{Info{Name: "wolfdisk", Version: "1.2.3", Commit: "0123456789abcdef", Go: "go1.26", OS: "linux", Arch: "amd64"},
			"wolfdisk 1.2.3 (commit 0123456789ab, go1.26, linux/amd64)"},
		{Info{Name: "x", Version: "devel", Commit: "abc", Modified: true, Go: "go1.26", OS: "freebsd", Arch: "arm64"},
			"x devel (commit abc+changes, go1.26, freebsd/arm64)"},
		{Info{Name: "x", Version: "devel", Go: "go1", OS: "a", Arch: "b"}, "x devel (commit unknown, go1, a/b)"},
	}
	for _, tt := range tests {
		if got := tt.info.String(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestFill(t *testing.T) {
	build := &debug.BuildInfo{Main: debug.Module{Version: "v2.0.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "cafe"}, {Key: "vcs.modified", Value: "true"}}}
	i := Info{}
	i.fill(build)
	if i.Version != "v2.0.0" || i.Commit != "cafe" || !i.Modified {
		t.Errorf("filled %+v", i)
	}
	i = Info{Version: "1.0", Commit: "beef"}
	i.fill(build)
	if i.Version != "1.0" || i.Commit != "beef" {
		t.Errorf("what the linker set was replaced by %q, %q", i.Version, i.Commit)
	}
	i = Info{}
	i.fill(&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}})
	if i.Version != "" {
		t.Errorf("(devel) taken as a version: %q", i.Version)
	}
}

func TestGet(t *testing.T) {
	i := Get("wolfdisk")
	if i.Name != "wolfdisk" || i.Version == "" || i.Go != runtime.Version() {
		t.Errorf("Get: %+v", i)
	}
	if s := String(); s == "" || strings.Contains(s, " ") {
		t.Errorf("String() = %q", s)
	}
}
