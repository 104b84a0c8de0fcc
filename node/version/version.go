package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version and Commit are set by the build:
//
//	go build -ldflags "-X wolfdisk/node/version.Version=1.2.3 -X wolfdisk/node/version.Commit=0123abcd"
//
// They are variables only for that.
var (
	Version = ""
	Commit  = ""
)

// Info describes the running build.
type Info struct {
	Name     string `json:"name"`    // the program
	Version  string `json:"version"` // "devel" if nobody set one
	Commit   string `json:"commit"`  // hash of the source; empty if not recorded
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

// Get returns the build's description for a program.
func Get(name string) Info {
	info := Info{Name: name, Version: Version, Commit: Commit, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if b, ok := debug.ReadBuildInfo(); ok {
		info.fill(b)
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	return info
}

func (i *Info) fill(b *debug.BuildInfo) {
	if i.Version == "" && b.Main.Version != "(devel)" {
		i.Version = b.Main.Version
	}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			if i.Commit == "" {
				i.Commit = s.Value
			}
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
}

// String is the version alone, as nodes tell each other.
func String() string { return Get("").Version }

// String is the line that --version prints.
func (i Info) String() string {
	commit := i.Commit
	switch {
	case commit == "":
		commit = "unknown"
	case len(commit) > 12:
		commit = commit[:12]
	}
	if i.Modified {
		commit += "+changes"
	}
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)", i.Name, i.Version, commit, i.Go, i.OS, i.Arch)
}
