package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

func TestPrecedence(t *testing.T) {
	file := map[string]string{defaultFile: "[volume]\ncompress = 2\n[cluster]\npeers = [\"f\"]\n"}
	environ := []string{"WOLFDISK_VOLUME_COMPRESS=3", "WOLFDISK_CLUSTER_PEERS=e1,e2"}
	tests := []struct {
		name    string
		args    []string
		environ []string
		files   map[string]string
		level   int
		peers   string
		origin  string
	}{
		{"default", nil, nil, nil, 1, "", "default"},
		{"file", nil, nil, file, 2, "f:9500", defaultFile + ":2"},
		{"variable over file", nil, environ, file, 3, "e1:9500 e2:9500", "WOLFDISK_VOLUME_COMPRESS"},
		{"flag over both", []string{"-z4", "-c", "a", "-c", "b,a"}, environ, file, 4, "a:9500 b:9500", "--compress"},
		{"last flag counts", []string{"-z4", "-z", "5", "-c", "b"}, environ, file, 5, "b:9500", "--compress"},
		{"empty variable is an empty list", nil, []string{"WOLFDISK_CLUSTER_PEERS="}, file, 2, "", defaultFile + ":2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(Master, append(base(Master), tt.args...), testEnv(tt.environ, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			if c.Volume.Compress != tt.level || strings.Join(c.Cluster.Peers, " ") != tt.peers {
				t.Errorf("compress %d, peers %v", c.Volume.Compress, c.Cluster.Peers)
			}
			if got := c.Origin("volume.compress").String(); got != tt.origin {
				t.Errorf("origin %s, want %s", got, tt.origin)
			}
			if c.IsDefault("volume.compress") != (tt.origin == "default") {
				t.Error("IsDefault disagrees with the origin")
			}
		})
	}
}

func TestFileProblems(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"unknown key", "[volume]\n\nchunk_sise = \"4MiB\"\n", "c.toml:3: unknown key [volume] chunk_sise (did you mean [volume] chunk_size?)"},
		{"key of another section", "[node]\ncompress = 1\n", "c.toml:2: unknown key [node] compress (did you mean [volume] compress?)"},
		{"nothing near", "[node]\nzzzzzzzzzz = 1\n", "c.toml:2: unknown key [node] zzzzzzzzzz"},
		{"unknown section", "\n[volumes]\n", "c.toml:2: unknown section [volumes] (did you mean volume?)"},
		{"outside of a section", "compress = 1\n", `c.toml:1: unknown key "compress" outside of a section (did you mean [volume] compress?)`},
		{"section as value", "node = 1\n", `c.toml:1: "node" is a section: write [node] on a line of its own`},
		{"array of sections", "[[node]]\nid = \"a\"\n", "c.toml:2: [node] is one section: write it once, as [node]"},
		{"key as section", "[node.id]\nx = 1\n", "c.toml:1: [node] id is a string, not a section"},
		{"key of a key", "[node]\nid.x = 1\n", "c.toml:2: unknown key [node] id.x"},
		{"number as text", "[volume]\ncompress = \"1\"\n", "c.toml:2: [volume] compress: is a text, must be a number, without quotes"},
		{"fraction", "[volume]\ncompress = 1.5\n", "c.toml:2: [volume] compress: is a number with a fraction, must be a number"},
		{"boolean as text", "[mount]\nsuid = \"true\"\n", "c.toml:2: [mount] suid: is a text, must be true or false, without quotes"},
		{"text as number", "[node]\nid = 5\n", "c.toml:2: [node] id: is a number, must be a text in quotes"},
		{"size as boolean", "[oplog]\nsegment_size = true\n", `c.toml:2: [oplog] segment_size: is a boolean, must be a size in quotes like "64MiB"`},
		{"list as text", "[cluster]\npeers = \"a\"\n", `c.toml:2: [cluster] peers: is a text, must be a list like ["a", "b"]`},
		{"list of numbers", "[cluster]\npeers = [1]\n", "c.toml:2: [cluster] peers: has a number in the list"},
		{"list with nothing", "[cluster]\npeers = [\"\"]\n", "c.toml:2: [cluster] peers: has an empty text in the list"},
		{"date", "[node]\nid = 2020-01-01\n", "c.toml:2: [node] id: is a date or time, must be a text in quotes"},
		{"syntax", "[node]\nid = \n", "c.toml:2: "},
		{"twice", "[node]\nid = \"a\"\nid = \"b\"\n", "c.toml:3: "},
		{"relative path", "[volume]\ndir = \"data\"\n", `c.toml:2: [volume] dir: "data" is relative: must be an absolute path in a file`},
		{"NUL", "[volume]\ndir = \"/a\\u0000b\"\n", `holds a NUL byte`},
		{"no UTF-8", "[node]\nid = \"\xff\"\n", "c.toml:2: "},
		{"too large", strings.Repeat("#\n", maxFile/2+1), "c.toml:1: has more than 1048576 bytes"},
		{"inline", "node = {id = \"a\", xd = 1}\n", "c.toml:1: unknown key [node] xd (did you mean [node] id?)"},
		{"dotted", "\nnode.idd = 1\n", "c.toml:2: unknown key [node] idd (did you mean [node] id?)"},
		{"another program's key", "[node]\nid = \"a b\"\n", `c.toml:2: [node] id: "a b" is not a node ID`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(Master, append(base(Master), "--config", "/c.toml"), testEnv(nil, map[string]string{"/c.toml": tt.text}))
			wantProblem(t, err, exit.Config, tt.want)
		})
	}
}

func TestFileForms(t *testing.T) {
	for _, text := range []string{
		"node.id = \"a\"\ncluster.peers = []\n",
		"node = {id = \"a\"}\n",
		"[node]\n\"id\" = 'a'\n",
		"[node]\r\nid = \"\"\"a\"\"\"\r\n[mount]\r\n",
	} {
		c, err := load(Master, append(base(Master), "--config", "c.toml"), testEnv(nil, map[string]string{"/work/c.toml": text}))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if c.Node.ID != "a" || c.File != "/work/c.toml" {
			t.Errorf("%q: id %q, file %q", text, c.Node.ID, c.File)
		}
	}
}

// All problems are told at once, and one on the command line decides the code.
func TestAllProblems(t *testing.T) {
	files := map[string]string{defaultFile: "[node]\nidd = 1\n[volume]\nfsync = \"x\"\n"}
	environ := []string{"WOLFDISK_NODE_KEY=hunter2", "WOLFDISK_LOG_LEVEL=x", "WOLFDISKX=1", "PATH=/bin"}
	_, err := load(Master, base(Master), testEnv(environ, files))
	for _, want := range []string{
		"WOLFDISK_NODE_KEY: unknown variable (did you mean WOLFDISK_NODE_KEY_FILE? secrets are read from files)",
		"config.toml:2: unknown key [node] idd", "config.toml:4: [volume] fsync:", "WOLFDISK_LOG_LEVEL: [log] level:",
	} {
		wantProblem(t, err, exit.Config, want)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the value of an unknown variable, which may be a secret, is in the message")
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 4 {
		t.Errorf("%d lines, want 4:\n%v", n, err)
	}
	_, err = load(Master, append(base(Master), "-z", "77"), testEnv(environ, files))
	wantProblem(t, err, exit.Usage, "--compress: [volume] compress: \"77\" is out of range")
}

func TestConfigFile(t *testing.T) {
	files := map[string]string{"/a.toml": "[node]\nid = \"a\"\n", "/b.toml": "[node]\nid = \"b\"\n", defaultFile: "[node]\nid = \"d\"\n"}
	tests := []struct {
		name    string
		args    []string
		environ []string
		want    string
	}{
		{"default", nil, nil, "d"},
		{"variable", nil, []string{"WOLFDISK_CONFIG=/a.toml"}, "a"},
		{"flag over variable", []string{"--config=/b.toml"}, []string{"WOLFDISK_CONFIG=/a.toml"}, "b"},
	}
	for _, tt := range tests {
		c, err := load(Master, append(base(Master), tt.args...), testEnv(tt.environ, files))
		if err != nil || c.Node.ID != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	_, err := load(Master, append(base(Master), "--config", "/none.toml"), testEnv(nil, files))
	wantProblem(t, err, exit.Config, "read configuration file: open /none.toml:")
	_, err = load(Master, append(base(Master), "--config", ""), testEnv(nil, files))
	wantProblem(t, err, exit.Config, `configuration file ""`)
	env := testEnv(nil, nil)
	env.readFile = func(name string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	_, err = load(Master, base(Master), env)
	wantProblem(t, err, exit.Config, "open "+defaultFile+": permission denied")
	if c, err := load(Master, base(Master), testEnv(nil, nil)); err != nil || c.File != "" {
		t.Errorf("without a file: %v", err)
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		name string
		p    Program
		args []string
		want string
	}{
		{"nothing", Master, nil, "--mirror: missing: say which directory to mirror, as in wolfdisk-master -m /srv/data"},
		{"nothing", Slave, nil, "--mirror: missing: say where to show the tree, as in wolfdisk-slave -m /srv/data, or --mount none"},
		{"unknown flag", Master, []string{"--mirorr", "x"}, "unknown flag: --mirorr (did you mean --mirror?); see wolfdisk-master --help"},
		{"unknown shorthand", Slave, []string{"-q"}, "unknown shorthand flag: 'q' in -q; see wolfdisk-slave --help"},
		{"no argument", Master, []string{"-m"}, "flag needs an argument: 'm' in -m"},
		{"argument", Master, []string{"/srv/data"}, `unexpected argument "/srv/data": a directory is given with -m`},
		{"-n", Master, []string{"-m", "/srv/data", "--no-nodelay=perhaps"}, `--no-nodelay: "perhaps" is neither true nor false`},
		{"-v is nothing", Master, []string{"-v"}, "unknown shorthand flag: 'v'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(tt.p, tt.args, testEnv(nil, nil))
			wantProblem(t, err, exit.Usage, tt.want)
		})
	}
	if _, err := Load("wolfdisk-boss", nil, nil, nil); exit.Of(err) != exit.Usage {
		t.Errorf("unknown program: %v", err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, tt := range []struct {
		p    Program
		args []string
		want []string
	}{
		{Master, []string{"-h"}, []string{"wolfdisk-master -m /srv/data -c replica1", "-m, --mirror DIR", "also the mount point", "-c, --connect HOST[:PORT]", "-n, --no-nodelay ", "--config FILE"}},
		{Slave, []string{"--help"}, []string{"wolfdisk-slave -m /srv/data -c leader1", "mount point of the read-only tree", "-z, --compress LEVEL"}},
		{Slave, []string{"--version"}, []string{"wolfdisk-slave ", "commit ", "go1."}},
	} {
		_, err := load(tt.p, tt.args, testEnv([]string{"WOLFDISK_BAD=1"}, nil))
		var shown *Shown
		if !errors.As(err, &shown) || exit.Of(err) != exit.OK {
			t.Errorf("%s %v: %v, code %d", tt.p, tt.args, err, exit.Of(err))
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(shown.Text, want) {
				t.Errorf("%s %v lacks %q:\n%s", tt.p, tt.args, want, shown.Text)
			}
		}
	}
}

func TestDirs(t *testing.T) {
	tests := []struct {
		name       string
		p          Program
		args       []string
		file       string
		dir, mount string
	}{
		{"-m on a leader", Master, []string{"-m", "/d"}, "", "/d", "/d"},
		{"-m relative", Master, []string{"-m", "d/../e"}, "", "/work/e", "/work/e"},
		{"-m over the file's mount point", Master, []string{"-m", "/d"}, "[mount]\ndir = \"/mnt\"", "/d", "/d"},
		{"--mount over -m", Master, []string{"-m", "/d", "--mount", "/mnt"}, "", "/d", "/mnt"},
		{"leader without a mount", Master, []string{"-m", "/d", "--mount", "none"}, "", "/d", ""},
		{"leader by file", Master, nil, "[volume]\ndir = \"/d\"", "/d", "/d"},
		{"leader by file, apart", Master, nil, "[volume]\ndir = \"/d\"\n[mount]\ndir = \"/mnt\"", "/d", "/mnt"},
		{"leader of chunks", Master, []string{"-m", "/mnt"}, "[volume]\nstorage = \"chunks\"", "", "/mnt"},
		{"-m on a follower", Slave, []string{"-m", "/mnt"}, "[volume]\ndir = \"/d\"", "", "/mnt"},
		{"follower without a mount", Slave, []string{"--mount", "none"}, "", "", ""},
		{"follower of a directory", Slave, []string{"-m", "/mnt"}, "[volume]\ndir = \"/d\"\nstorage = \"dir\"", "/d", "/mnt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(tt.p, tt.args, testEnv(nil, map[string]string{defaultFile: tt.file}))
			if err != nil {
				t.Fatal(err)
			}
			if c.Volume.Dir != tt.dir || c.Mount.Dir != tt.mount {
				t.Errorf("directory %q, mount point %q; want %q, %q", c.Volume.Dir, c.Mount.Dir, tt.dir, tt.mount)
			}
		})
	}
	_, err := load(Slave, []string{"-m", "/mnt"}, testEnv([]string{"WOLFDISK_VOLUME_STORAGE=dir"}, nil))
	wantProblem(t, err, exit.Config, "[volume] dir: missing:")
	_, err = load(Master, []string{"-m", "/a", "--role", "follower"}, testEnv(nil, nil))
	wantProblem(t, err, exit.Usage, "--role: [node] role: this node never leads")
}

func TestPlaces(t *testing.T) {
	tests := []struct {
		name string
		p    Program
		args []string
		want string // empty: accepted
	}{
		{"state in the tree", Master, []string{"-m", "/d", "--state-dir", "/d/.state"},
			"--state-dir: [node] data_dir: the state directory (/d/.state) must not lie in the mirrored directory (/d): it would be replicated into itself"},
		{"tree in the state", Master, []string{"-m", "/s/d", "--state-dir", "/s"}, "--mirror: [volume] dir: the mirrored directory (/s/d) must not lie in the state directory (/s)"},
		{"the same", Master, []string{"-m", "/s", "--state-dir", "/s"}, "the state directory (/s) must not lie in the mirrored directory (/s)"},
		{"by a link", Master, []string{"-m", "/d", "--state-dir", "/link/state"}, "the state directory (/link/state) must not lie in the mirrored directory (/d)"},
		{"state under the mount", Slave, []string{"-m", "/m", "--state-dir", "/m/s"}, "the mount would cover it"},
		{"mount in the state", Slave, []string{"-m", "/s/m", "--state-dir", "/s"}, "the mount point (/s/m) must not lie in the state directory (/s)"},
		{"mount in the tree", Master, []string{"-m", "/d", "--mount", "/d/m"}, "the mount point (/d/m) must not lie in the mirrored directory (/d)"},
		{"tree under the mount", Master, []string{"-m", "/m/d", "--mount", "/m"}, "the mirrored directory (/m/d) must not lie in the mount point (/m)"},
		{"key in the tree", Master, []string{"-m", "/d", "--key-file", "/d/key"}, "everybody who may read the tree would have the key"},
		{"key under the mount", Slave, []string{"-m", "/m", "--key-file", "/m/key"}, "the key file (/m/key) must not lie in the mount point (/m)"},
		{"root as the tree", Master, []string{"-m", "/"}, "the state directory (/var/lib/wolfdisk) must not lie in the mirrored directory (/)"},
		{"key in the state", Master, []string{"-m", "/d", "--state-dir", "/s", "--key-file", "/s/key"}, ""},
		{"names that begin alike", Master, []string{"-m", "/d", "--state-dir", "/d.state", "--mount", "/d..m"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := testEnv(nil, nil)
			env.resolve = func(path string) (string, error) {
				return strings.Replace(path, "/link", "/d", 1), nil
			}
			_, err := load(tt.p, tt.args, env)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantProblem(t, err, exit.Config, tt.want)
			var list Problems
			if errors.As(err, &list) && len(list) != 1 && tt.name != "root as the tree" {
				t.Errorf("said more than once:\n%v", err)
			}
		})
	}
	env := testEnv(nil, nil)
	env.resolve = func(string) (string, error) { return "", errors.New("a loop") }
	_, err := load(Master, base(Master), env)
	wantProblem(t, err, exit.Usage, "[volume] dir: resolve /srv/data: a loop")
}

func TestResolvePath(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/real", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"/link": "/real", "/link/a/b": "/real/a/b", "/none/x": "/none/x", "": "",
	} {
		if got, err := resolvePath(dir + in); err != nil || got != dir+want {
			t.Errorf("%s resolves to %s, %v", in, got, err)
		}
	}
}

func TestDefaultsOfMachine(t *testing.T) {
	tests := []struct {
		name       string
		euid       int
		environ    []string
		state, key string
		problem    string
	}{
		{"root", 0, []string{"XDG_STATE_HOME=/x", "HOME=/root"}, "/var/lib/wolfdisk", "/etc/wolfdisk/cluster.key", ""},
		{"user", 1000, []string{"HOME=/home/u"}, "/home/u/.local/state/wolfdisk", "/home/u/.config/wolfdisk/cluster.key", ""},
		{"user with XDG", 1000, []string{"HOME=/home/u", "XDG_STATE_HOME=/x", "XDG_CONFIG_HOME=/y"}, "/x/wolfdisk", "/y/wolfdisk/cluster.key", ""},
		{"relative XDG is ignored", 1000, []string{"HOME=/home/u", "XDG_STATE_HOME=x"}, "/home/u/.local/state/wolfdisk", "/home/u/.config/wolfdisk/cluster.key", ""},
		{"user without a home", 1000, nil, "", "", "[node] data_dir: neither XDG_STATE_HOME nor HOME is set, so there is no default: give --state-dir"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := testEnv(tt.environ, nil)
			env.euid = tt.euid
			c, err := load(Master, base(Master), env)
			if tt.problem != "" {
				wantProblem(t, err, exit.Config, tt.problem)
				wantProblem(t, err, exit.Config, "[node] key_file: neither XDG_CONFIG_HOME nor HOME is set")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Node.DataDir != tt.state || c.Node.KeyFile != tt.key {
				t.Errorf("state %s, key %s", c.Node.DataDir, c.Node.KeyFile)
			}
		})
	}
	env := testEnv(nil, nil)
	env.hostname = func() (string, error) { return strings.Repeat("x", 65), nil }
	_, err := load(Master, base(Master), env)
	wantProblem(t, err, exit.Config, "[node] id: the host name cannot be used")
	env.hostname = func() (string, error) { return "", errors.New("none") }
	_, err = load(Master, base(Master), env)
	wantProblem(t, err, exit.Config, "[node] id: the host name cannot be read (none): give --id")
	if c, err := load(Master, append(base(Master), "--id", "x"), env); err != nil || c.Node.ID != "x" {
		t.Errorf("with --id the host name should not matter: %v", err)
	}
}

func TestTyped(t *testing.T) {
	c, err := load(Slave, []string{"-m", "/mnt", "-n", "--role", "follower", "--advertise", "nat.example", "--bind", ":9700"}, testEnv(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if c.Program != Slave || c.Network.NoDelay || c.Node.Role != volume.RoleFollower || c.Volume.Storage != StorageChunks ||
		c.Node.Advertise != "nat.example:9700" || c.Node.Bind != ":9700" || c.Volume.ChunkSize != 4<<20 || c.Volume.Fsync != FsyncFile ||
		c.Admin.Bind != "127.0.0.1:9502" || !c.Mount.AllowOther || c.Mount.SUID || c.Mount.Dev {
		t.Errorf("%+v", c)
	}
	if got := c.Origin("no.such"); got != (Origin{}) {
		t.Errorf("origin of nothing: %v", got)
	}
}

// The control tool works without the file when it is told where the daemon is.
func TestCtlNeedsLittle(t *testing.T) {
	env := testEnv([]string{"WOLFDISK_BAD=1"}, map[string]string{defaultFile: "broken"})
	env.hostname = func() (string, error) { return "", errors.New("none") }
	if c, err := load(Ctl, []string{"--state-dir", "s"}, env); err != nil || c.Node.DataDir != "/work/s" {
		t.Errorf("%v", err)
	}
	_, err := load(Ctl, nil, env)
	wantProblem(t, err, exit.Config, "WOLFDISK_BAD: unknown variable")
	c, err := load(Ctl, nil, testEnv([]string{"WOLFDISK_NODE_DATA_DIR=/s"}, map[string]string{defaultFile: "[volume]\ncompress=55\n"}))
	if err != nil || c.Node.DataDir != "/s" {
		t.Errorf("a value that concerns only daemons should not stop the tool: %v", err)
	}
}

func TestReload(t *testing.T) {
	old, err := load(Master, base(Master), testEnv(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	next, err := load(Master, append(base(Master), "--log-level", "debug", "-z", "0", "-c", "b"), testEnv(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	old.OnReload(func(c *Config) { seen = append(seen, "1"+c.Log.Level) })
	old.OnReload(func(c *Config) { seen = append(seen, "2"+c.Log.Level) })
	pending := old.Reloaded(next)
	if !slices.Equal(seen, []string{"1debug", "2debug"}) {
		t.Errorf("hooks saw %v", seen)
	}
	if !slices.Equal(pending, []string{"[cluster] peers", "[volume] compress"}) {
		t.Errorf("pending: %v", pending)
	}
}

// A witness has nothing to show and nothing to keep.
func TestWitness(t *testing.T) {
	for _, args := range [][]string{{"--witness"}, {"--role", "witness"}, {"--witness=true", "--mount", "none"}, {"--witness=false", "--role=witness"}} {
		c, err := load(Slave, args, testEnv(nil, nil))
		if err != nil {
			t.Errorf("%q: %v", args, err)
		} else if c.Node.Role != volume.RoleWitness || c.Mount.Dir != "" || c.Volume.Dir != "" {
			t.Errorf("%q: %+v %+v %+v", args, c.Node, c.Mount, c.Volume)
		}
	}
	c, err := load(Slave, []string{"--witness=no", "-m", "/m"}, testEnv(nil, nil))
	if err != nil || c.Node.Role != volume.RoleAuto {
		t.Errorf("--witness=no: %v", err)
	}
	refused := []struct {
		want, file string
		args       []string
	}{
		{"leave out -m", "", []string{"--witness", "-m", "/m"}},
		{"has no copy to keep", "[volume]\nstorage = \"dir\"\ndir = \"/x\"\n", []string{"--witness"}},
		{"neither true nor false", "", []string{"--witness=boss"}},
	}
	for _, r := range refused {
		_, err := load(Slave, r.args, testEnv(nil, map[string]string{defaultFile: r.file}))
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%q: %v, want %q", r.args, err, r.want)
		}
	}
	_, err = load(Master, []string{"-m", "/m", "--role", "witness"}, testEnv(nil, nil))
	wantProblem(t, err, exit.Usage, "start wolfdisk-slave --witness")
}
