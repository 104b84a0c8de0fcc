package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wolfdisk/node/exit"
	"wolfdisk/wire"
)

var (
	binDir string
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "wdbin")
	if err == nil {
		binDir = dir
		var out []byte
		out, err = exec.Command("go", "build", "-ldflags", "-X wolfdisk/node/version.Version=9.8.7", "-o", dir+"/",
			"wolfdisk/cmd/wolfdisk", "wolfdisk/cmd/wolfdisk-master", "wolfdisk/cmd/wolfdisk-slave").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func tool(args ...string) (exit.Code, string, string) {
	var out, errs bytes.Buffer
	code := run(args, []string{"HOME=/home/u"}, &out, &errs)
	return code, out.String(), errs.String()
}

func TestInit(t *testing.T) {
	base := t.TempDir()
	dir, key := filepath.Join(base, "deep/er/state"), filepath.Join(base, "etc/key file")
	code, out, errs := tool("init", "-d", dir, "--id", "n1", "--key-file", key)
	if code != exit.OK {
		t.Fatalf("%d %s", code, errs)
	}
	keys, err := wire.LoadKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, key: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	for _, want := range []string{
		"state directory  " + dir + " (made)\n", "cluster key      " + key + " (made)\n", "cluster          " + keys.ClusterID().String() + "\n",
		"scp -p '" + key + "' root@OTHER:'" + key + "'\n",
		"wolfdisk-master -m /srv/data --id n1 --state-dir " + dir + " --key-file '" + key + "'\n",
		"wolfdiskctl --state-dir " + dir + " status\n",
	} {
		if os.Geteuid() != 0 {
			want = strings.ReplaceAll(want, "root@", "USER@")
		}
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks\n%s\n%s", want, out)
		}
	}
	if strings.Contains(out, string(mustRead(t, key))) {
		t.Error("the key is in the output")
	}
	before := mustRead(t, key)
	// Again, with the directory open to others: nothing changes but that.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	code, out, _ = tool("init", "-d", dir, "--key-file", key)
	if info, err := os.Stat(dir); code != exit.OK || !strings.Contains(out, dir+" (was there)") || !strings.Contains(out, key+" (was there)") || err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("again: %d %s", code, out)
	}
	if !bytes.Equal(before, mustRead(t, key)) {
		t.Error("the key has changed")
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestInitRefuses(t *testing.T) {
	base := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(base, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("foreign/photo.jpg", "precious")
	write("foreign2/state", "California")
	write("foreign3/oplog/x", "not ours, there is no state")
	write("file", "")
	write("ours/state", stateMagic+" and more")
	write("ours/whatever", "")
	write("cut/lock", "")
	write("cut/state.new", "")
	write("disk/lost+found/x", "")
	write("badkey", "nonsense")
	tests := []struct {
		args string
		code exit.Code
		text string
	}{
		{"-d B/foreign", exit.Unsafe, `foreign is not empty ("photo.jpg" is in it)`},
		{"-d B/foreign2", exit.Unsafe, `foreign2 is not empty ("state" is in it)`},
		{"-d B/foreign3", exit.Unsafe, `("oplog" is in it)`},
		{"-d B/file", exit.Unsafe, "is no directory"},
		{"-d B/file/x", exit.Failed, "not a directory"},
		{"-d B/ours", exit.OK, "ours (was there)"},
		{"-d B/cut", exit.OK, "cut (was there)"},
		{"-d B/disk", exit.OK, "disk (was there)"},
		{"-d B/inside --key-file B/inside/key", exit.OK, "inside/key (made)"},
		{"-d B/inside --key-file B/inside/key --id x", exit.OK, "inside/key (was there)"},
		{"-d B/new --key-file B/badkey", exit.Config, "badkey"},
		{"-d B/new2 --id a/b", exit.Usage, "--id: [node] id:"},
		{"-d B/new2 extra", exit.Usage, "unknown command"},
	}
	for _, tt := range tests {
		args := append([]string{"init", "--key-file", base + "/key"}, strings.Fields(strings.ReplaceAll(tt.args, "B/", base+"/"))...)
		code, out, errs := tool(args...)
		if code != tt.code || !strings.Contains(out+errs, tt.text) {
			t.Errorf("%s: code %d, want %d\n%s%s", tt.args, code, tt.code, out, errs)
		}
	}
	if got := mustRead(t, base+"/foreign/photo.jpg"); string(got) != "precious" {
		t.Errorf("the photo is %q", got)
	}
	if info, err := os.Stat(base + "/foreign"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the mode of a foreign directory was changed to %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(base + "/new2"); !os.IsNotExist(err) {
		t.Errorf("made a directory in spite of errors: %v", err)
	}
}

func TestConfigCommands(t *testing.T) {
	dir := t.TempDir()
	good, bad := dir+"/good.toml", dir+"/bad.toml"
	for path, text := range map[string]string{good: "[node]\nid = \"n7\"\n", bad: "[node]\nidd = \"n7\"\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		args string
		code exit.Code
		text string
	}{
		{"show --config GOOD -- -m /srv/data -z 3", exit.OK, "compress = 3"},
		{"show --config GOOD -- -m /srv/data", exit.OK, "# GOOD:2"},
		{"show --for slave --config GOOD -- -m /srv/data", exit.OK, `storage = "chunks"`},
		{"show --config BAD -- -m /srv/data", exit.Config, "BAD:2: unknown key [node] idd (did you mean [node] id?)"},
		{"validate --config GOOD -- -m /srv/data", exit.OK, "ok: wolfdisk-master would start with this (GOOD)"},
		{"validate --config GOOD", exit.Usage, "--mirror: missing"},
		{"validate --config BAD -- -m /srv/data", exit.Config, "wolfdisk: BAD:2: unknown key"},
		{"validate --config GOOD -- -m /srv/data -z 99", exit.Usage, "--compress: [volume] compress:"},
		{"validate --config GOOD -- --help", exit.OK, "Usage:"},
		{"validate --for boss", exit.Usage, `--for "boss": must be master or slave`},
		{"validate /x", exit.Usage, `unexpected argument "/x": flags of the daemon stand behind --`},
		{"validate /x -- -m /y", exit.Usage, `unexpected argument "/x"`},
		{"", exit.Usage, "say what to do: show, validate"},
	}
	for _, tt := range tests {
		expand := strings.NewReplacer("GOOD", good, "BAD", bad).Replace
		code, out, errs := tool(append([]string{"config"}, strings.Fields(expand(tt.args))...)...)
		if code != tt.code || !strings.Contains(out+errs, expand(tt.text)) {
			t.Errorf("%s: code %d, want %d\n%s%s", tt.args, code, tt.code, out, errs)
		}
	}
}

// What scripts see of the programs themselves, up to where a daemon would start.
func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/bad.toml", []byte("[volume]\nchunk_size = \"3MiB\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		program, args string
		environ       []string
		code          exit.Code
		text          string
	}{
		{"wolfdisk", "", nil, exit.Usage, "wolfdisk: say what to do: completion, config, init, mount, version"},
		{"wolfdisk", "version", nil, exit.OK, "wolfdisk 9.8.7 (commit "},
		{"wolfdisk", "--version", nil, exit.OK, "wolfdisk 9.8.7 (commit "},
		{"wolfdisk", "--help", nil, exit.OK, "wolfdisk init -d /tmp/a.state"},
		{"wolfdisk", "inti", nil, exit.Usage, "unknown command"},
		{"wolfdisk-master", "", nil, exit.Usage, "wolfdisk-master: --mirror: missing"},
		{"wolfdisk-master", "--version", nil, exit.OK, "wolfdisk-master 9.8.7 (commit "},
		{"wolfdisk-master", "-h", nil, exit.OK, "wolfdisk-master -m /srv/data -c replica1"},
		{"wolfdisk-master", "-m /srv/data -z 10", nil, exit.Usage, "must be a number from 0 to 9"},
		{"wolfdisk-master", "-m /srv/data --config " + dir + "/bad.toml", nil, exit.Config, dir + `/bad.toml:2: [volume] chunk_size: "3MiB" is out of range: must be a power of two from 64KiB to 64MiB`},
		{"wolfdisk-master", "-m " + dir + " --state-dir " + dir + "/state", nil, exit.Config, "must not lie in the mirrored directory"},
		{"wolfdisk-slave", "", nil, exit.Usage, "wolfdisk-slave: --mirror: missing"},
		{"wolfdisk-slave", "-m /srv/data --bogus", nil, exit.Usage, "unknown flag: --bogus"},
		{"wolfdisk-slave", "-m /srv/data -c a:b", nil, exit.Usage, `--connect: [cluster] peers: "a:b" has no port`},
		{"wolfdisk-slave", "-m /srv/data", []string{"WOLFDISK_NODE_KEY=x"}, exit.Config, "WOLFDISK_NODE_KEY: unknown variable"},
		{"wolfdisk-slave", "--version", nil, exit.OK, "wolfdisk-slave 9.8.7"},
	}
	for _, tt := range tests {
		t.Run(tt.program+" "+strings.ReplaceAll(tt.args, "/", "_"), func(t *testing.T) {
			cmd := exec.Command(filepath.Join(binDir, tt.program), strings.Fields(tt.args)...)
			cmd.Env = append([]string{"HOME=" + dir}, tt.environ...)
			out, err := cmd.CombinedOutput()
			var failed *exec.ExitError
			if err != nil && !errors.As(err, &failed) {
				t.Fatal(err)
			}
			if code := exit.Code(cmd.ProcessState.ExitCode()); code != tt.code || !strings.Contains(string(out), tt.text) {
				t.Errorf("code %d, want %d\n%s", code, tt.code, out)
			}
		})
	}
}
