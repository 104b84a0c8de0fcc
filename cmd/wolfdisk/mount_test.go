package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wolfdisk/node/exit"
)

func TestMountPlan(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.toml")
	if err := os.WriteFile(file, []byte("[mount]\nsuid = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args    string
		program string
		command string // its end
		vars    string
		timeout time.Duration
		noexec  bool
	}{
		{"/srv/data /srv/data -o rw", "wolfdisk-master", "-m /srv/data --mount /srv/data", "", time.Minute, false},
		{"/srv/data /mnt -o rw,connect=a,connect=b:1 -n -v", "wolfdisk-master", "-m /srv/data --mount /mnt --connect=a --connect=b:1", "", time.Minute, false},
		{"a,b:9501 /mnt -o rw,_netdev,nofail,x-systemd.automount", "wolfdisk-slave", "--mount /mnt --connect a,b:9501", "", time.Minute, false},
		{"none /mnt -o role=follower,config=FILE,state-dir=DIR/s,timeout=0", "wolfdisk-slave", "--mount /mnt --config=FILE --state-dir=DIR/s", "", 0, false},
		{"/srv/data /mnt -o role=master,timeout=5,id=n1,bind=:9500,key-file=/k,compress=3 -t fuse.wolfdisk", "wolfdisk-master",
			"-m /srv/data --mount /mnt --id=n1 --bind=:9500 --key-file=/k --compress=3", "", 5 * time.Second, false},
		{"/srv/data /mnt -r -o nosuid,nodev,noexec,timeout=90s", "wolfdisk-master", "-m /srv/data --mount /mnt",
			"WOLFDISK_MOUNT_SUID=false WOLFDISK_MOUNT_DEV=false WOLFDISK_MOUNT_READ_ONLY=true", 90 * time.Second, true},
		{"-o ro,suid,dev,noexec,exec,allow_other h /mnt", "wolfdisk-slave", "--mount /mnt --connect h",
			"WOLFDISK_MOUNT_READ_ONLY=true WOLFDISK_MOUNT_SUID=true WOLFDISK_MOUNT_DEV=true WOLFDISK_MOUNT_ALLOW_OTHER=true", time.Minute, false},
		{"h /mnt -o admin.bind=none,node.stop_timeout=3s,user=joe,defaults,noatime,,comment=x", "wolfdisk-slave", "--mount /mnt --connect h",
			"WOLFDISK_ADMIN_BIND=none WOLFDISK_NODE_STOP_TIMEOUT=3s", time.Minute, false},
		{"h /mnt -s -o nonsense,more=nonsense", "wolfdisk-slave", "--mount /mnt --connect h", "", time.Minute, false},
	}
	place := strings.NewReplacer("FILE", file, "DIR", dir)
	for _, tt := range tests {
		p, err := parseMount(strings.Fields(place.Replace(tt.args)), []string{"HOME=/home/u"})
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		if got := strings.Join(p.args, " "); p.program != tt.program || got != place.Replace(tt.command) {
			t.Errorf("%s: %s %s", tt.args, p.program, got)
		}
		if got := strings.Join(p.environ[1:], " "); got != tt.vars || p.timeout != tt.timeout || p.noexec != tt.noexec {
			t.Errorf("%s: %s, %v, %v", tt.args, got, p.timeout, p.noexec)
		}
	}
	// What fstab says comes before the configuration file.
	p, err := parseMount([]string{"h", "/mnt", "-o", "nosuid,config=" + file}, []string{"HOME=/home/u"})
	if err != nil || p.cfg.Mount.SUID {
		t.Errorf("nosuid has no effect: %v", err)
	}
}

func TestMountUsage(t *testing.T) {
	tests := []struct{ args, text string }{
		{"", "takes a source and a mount point"},
		{"h", "takes a source and a mount point"},
		{"h /mnt /mnt2", "takes a source and a mount point"},
		{"h /mnt --nonsense", "unknown flag"},
		{"h /mnt -t ext4", "must be wolfdisk"},
		{"h /mnt -N 17", "nsenter"},
		{"none /mnt", "role=leader or role=follower"},
		{"h /mnt -o role=leader", "absolute path"},
		{"/srv/data /mnt -o role=slave", "address of another node"},
		{"h /mnt -o role=king", "must be leader or follower"},
		{"h /mnt -o nonsense", `option "nonsense": is not known`},
		{"h /mnt -o remount,ro", "unmount it"},
		{"h /mnt -o bind", "mount --bind"},
		{"h /mnt -o sync", "fsync"},
		{"h /mnt -o timeout=soon", "must be a time"},
		{"h /mnt -o timeout=-1s", "must be a time"},
		{"h /mnt -o log=", "has no value"},
		{"h /mnt -o id=a/b", "[node] id"},
		{"h /mnt -o volume.nonsense=1", "WOLFDISK_VOLUME_NONSENSE"},
		{"h /mnt -o config=/none/x.toml", "read configuration file"},
		{"none /mnt -o role=leader", "which directory to mirror"},
	}
	for _, tt := range tests {
		code, out, errs := tool(append([]string{"mount"}, strings.Fields(tt.args)...)...)
		if code != mountUsage || !strings.Contains(errs, tt.text) || out != "" {
			t.Errorf("%q: code %d, %s%s", tt.args, code, out, errs)
		}
	}
}

func TestMountFake(t *testing.T) {
	dir := t.TempDir()
	code, out, errs := tool("mount", "-f", "/srv/my data", dir+"/none", "-o", "rw,state-dir="+dir+"/s,log="+dir+"/log/x")
	if code != exit.OK || out != "wolfdisk-master -m '/srv/my data' --mount "+dir+"/none --state-dir="+dir+"/s\n" {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("-f left %v, %v", entries, err)
	}
	for _, flag := range []string{"--help", "-h"} {
		if code, out, _ := tool("mount", flag); code != exit.OK || !strings.Contains(out, "/etc/fstab") {
			t.Errorf("%s: %d %s", flag, code, out)
		}
	}
}

func TestMountLog(t *testing.T) {
	if got := defaultMountLog("/srv/my/data", "/var/lib/wolfdisk", true); got != "/var/log/wolfdisk/srv-my-data.log" {
		t.Error(got)
	}
	if got := defaultMountLog("/mnt", "/home/u/.local/state/wolfdisk", false); got != "/home/u/.local/state/wolfdisk-mnt.log" {
		t.Error(got)
	}
}

// Every flag of the daemons with a value is an option, but for those that source and
// mount point stand for.
func TestMountFlagsAreKnown(t *testing.T) {
	_, help, _ := tool("config", "show", "--", "--help")
	for _, f := range mountFlags {
		if !strings.Contains(help, "--"+f+" ") {
			t.Errorf("the daemon has no --%s", f)
		}
	}
	for _, f := range []string{"mount", "mirror"} {
		if slices.Contains(mountFlags, f) {
			t.Errorf("--%s is an option", f)
		}
	}
}

func TestMountTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	old, first, rest := "old\n", strings.Repeat("x", 2*shownLog)+"\n", "one\ntwo\n"
	for text, want := range map[string]string{old + rest: "one\ntwo", old: "", old + first + rest: "one\ntwo"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d := &background{log: path, began: int64(len(old))}
		if got := d.tail(); got != want {
			t.Errorf("%.40q", got)
		}
	}
}
