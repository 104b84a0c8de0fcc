//go:build linux

package e2e

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// badStart is a daemon that must not start: it ends with the code and says the
// words, and the volume that was there before is as it was.
type badStart struct {
	name    string
	prepare func(b *bed) *cluster.Node // returns the node to start
	code    int
	says    []string // each must occur in what it prints; %L is the leader's and %F the follower's base folder
	root    bool
}

const (
	codeUnsafe      = 6
	codeUsage       = 64
	codeUnavailable = 69
	codeConfig      = 78
)

// withFlags changes a node's flags.
func withFlags(leader bool, extra ...string) func(*bed) *cluster.Node {
	return func(b *bed) *cluster.Node {
		n := b.follower()
		if leader {
			n = b.Leader
		}
		n.Extra = extra
		return n
	}
}

func write(b *bed, path, text string) string {
	b.t.Helper()
	b.must(os.MkdirAll(filepath.Dir(path), 0o755))
	b.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// onceRun starts the cluster, writes something, and stops it.
func onceRun(b *bed) {
	b.t.Helper()
	b.must(b.Start(readyTimeout))
	b.shell("mkdir d; echo kept >d/f; echo other >g")
	b.equal()
	for _, n := range b.Nodes() {
		b.must(n.Stop())
	}
}

var badStarts = []badStart{
	// The command line.
	{"unknown flag", withFlags(true, "--no-such-flag"), codeUsage, []string{"--no-such-flag"}, false},
	{"unknown flag of a follower", withFlags(false, "--no-such-flag"), codeUsage, []string{"--no-such-flag"}, false},
	{"argument that is no flag", withFlags(true, "stray"), codeUsage, []string{"stray"}, false},
	{"compression level", withFlags(true, "-z", "10"), codeUsage, []string{"compress", "10"}, false},
	{"address", withFlags(false, "-c", "host:port:more"), codeUsage, []string{"host:port:more"}, false},
	{"node ID", withFlags(true, "--id", "no/slash"), codeUsage, []string{"no/slash"}, false},
	{"role against the program", withFlags(true, "--role", "follower"), codeUsage, []string{"wolfdisk-slave"}, false},

	// Configuration.
	{"unknown key in the file", func(b *bed) *cluster.Node {
		return withFlags(true, "--config", write(b, b.Dir+"/config.toml", "[node]\nnane = 'x'\n"))(b)
	}, codeConfig, []string{"config.toml:2", "nane"}, false},
	{"no TOML", func(b *bed) *cluster.Node {
		return withFlags(true, "--config", write(b, b.Dir+"/config.toml", "[node\n"))(b)
	}, codeConfig, []string{"config.toml:1"}, false},
	{"configuration file that is not there", withFlags(true, "--config", "/nowhere/config.toml"), codeConfig, []string{"/nowhere/config.toml"}, false},
	{"unknown variable", func(b *bed) *cluster.Node {
		b.Leader.Env = []string{"WOLFDISK_NODE_IDD=x"}
		return b.Leader
	}, codeConfig, []string{"WOLFDISK_NODE_IDD"}, false},
	{"state inside the directory", func(b *bed) *cluster.Node {
		b.Leader.State = filepath.Join(b.Leader.Dir, "state")
		return b.Leader
	}, codeConfig, []string{"%L/data/state", "%L/data"}, false},
	{"directory inside the state", func(b *bed) *cluster.Node {
		b.Leader.State = filepath.Dir(b.Leader.Dir)
		return b.Leader
	}, codeConfig, []string{"%L/data"}, false},
	{"state inside the mount point", func(b *bed) *cluster.Node {
		b.follower().State = filepath.Join(b.follower().Mount, "state")
		return b.follower()
	}, codeConfig, []string{"%F/data/state"}, false},
	{"key that others can read", func(b *bed) *cluster.Node {
		b.ok(cluster.Run(filepath.Join(b.Bin, "wolfdisk"), "init", "-d", b.Dir+"/s", "--key-file", b.Key))
		b.must(os.Chmod(b.Key, 0o644))
		return b.Leader
	}, codeConfig, []string{"cluster.key", "chmod 600"}, false},
	{"key that is none", func(b *bed) *cluster.Node {
		b.must(os.WriteFile(b.Key, []byte("not a key\n"), 0o600))
		return b.Leader
	}, codeConfig, []string{"cluster.key"}, false},

	// What is needed is not there.
	{"missing directory", func(b *bed) *cluster.Node {
		b.must(os.Remove(b.Leader.Dir))
		return b.Leader
	}, codeUnavailable, []string{"%L/data"}, false},
	{"directory that is a file", func(b *bed) *cluster.Node {
		b.must(os.Remove(b.Leader.Dir))
		write(b, b.Leader.Dir, "")
		return b.Leader
	}, codeUnavailable, []string{"%L/data"}, false},
	{"missing mount point", func(b *bed) *cluster.Node {
		b.must(os.Remove(b.follower().Mount))
		return b.follower()
	}, codeUnavailable, []string{"%F/data"}, false},
	{"port in use", func(b *bed) *cluster.Node {
		ln, err := net.Listen("tcp", b.Leader.Addr)
		b.must(err)
		b.t.Cleanup(func() { ln.Close() })
		return b.Leader
	}, codeUnavailable, []string{"in use", "--bind"}, false},
	{"second daemon on one state", func(b *bed) *cluster.Node {
		b.must(b.Start(readyTimeout))
		b.Followers = append(b.Followers, b.second("gamma"))
		second := b.Followers[1]
		second.State = b.follower().State
		return second
	}, codeUnavailable, []string{"%F/state"}, false},
	{"no /dev/fuse", func(b *bed) *cluster.Node {
		b.Leader.Wrap = []string{"unshare", "-m", "sh", "-euc", `mkdir "$0"; mount -t tmpfs none "$0"
			for n in null zero random urandom; do cp -a /dev/$n "$0/"; done
			mount --bind "$0" /dev; exec "$@"`, filepath.Join(b.Dir, "dev")}
		return b.Leader
	}, codeUnavailable, []string{"/dev/fuse"}, true},

	// What would destroy or hide data.
	{"mount point with files", func(b *bed) *cluster.Node {
		write(b, b.follower().Mount+"/precious", "file")
		return b.follower()
	}, codeUnsafe, []string{"%F/data"}, false},
	{"most files removed while stopped", func(b *bed) *cluster.Node {
		onceRun(b)
		b.must(os.RemoveAll(b.Leader.Dir + "/d"))
		return b.Leader
	}, codeUnsafe, []string{"WD-1405", "--confirm-deletes"}, false},
	{"directory without its marker", func(b *bed) *cluster.Node {
		onceRun(b)
		b.must(os.RemoveAll(b.Leader.Dir + "/.wolfdisk"))
		return b.Leader
	}, codeUnsafe, []string{"%L/data", "--adopt"}, false},
	{"something else under the reserved name", func(b *bed) *cluster.Node {
		write(b, b.Leader.Dir+"/.wolfdisk/theirs", "file")
		return b.Leader
	}, codeUnsafe, []string{".wolfdisk", "theirs"}, false},
	{"empty directory in place of the full one", func(b *bed) *cluster.Node {
		onceRun(b)
		b.must(os.Rename(b.Leader.Dir, b.Dir+"/elsewhere"))
		b.must(os.Mkdir(b.Leader.Dir, 0o755))
		return b.Leader
	}, codeUnsafe, []string{"%L/data", "mounted", "--force"}, false},
	{"directory of another volume", func(b *bed) *cluster.Node {
		onceRun(b)
		b.must(os.RemoveAll(b.Leader.State))
		return b.Leader
	}, codeUnsafe, []string{"%L/data", "--adopt"}, false},
}

// second prepares another follower without adding it to the bed.
func (b *bed) second(id string) *cluster.Node {
	b.t.Helper()
	had := b.Followers
	n, err := b.AddFollower(id)
	b.must(err)
	b.Followers = had
	return n
}

func TestBadStarts(t *testing.T) {
	t.Parallel()
	for _, tt := range badStarts {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root {
				needRoot(t)
			}
			b := newBed(t, "beta")
			n := tt.prepare(b)
			before := plainTree(b, n)
			b.must(n.Start())
			code, err := n.WaitExit(20 * time.Second)
			b.must(err)
			if code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, n.LogTail())
			}
			said := n.LastLog()
			for _, want := range tt.says {
				want = strings.ReplaceAll(strings.ReplaceAll(want, "%L", b.Dir+"/alpha"), "%F", b.Dir+"/beta")
				if !strings.Contains(said, want) {
					t.Errorf("%q is not in what it said:\n%s", want, said)
				}
			}
			if strings.Contains(said, "panic") || strings.Contains(said, "goroutine ") {
				t.Errorf("it panicked:\n%s", said)
			}
			if n.Leader {
				// A marker may be made before the start fails; the files are as they were.
				marked := tree.Rules{Skip: []string{".wolfdisk"}, IgnoreRoot: []string{"nlink", "mtime", "ctime"}}
				b.noDiff(tree.Diff(before, plainTree(b, n), marked), "the directory before and after the refusal")
			}
			for _, other := range b.Nodes() {
				if other.Running() { // a cluster that the bad start had to leave alone
					b.shell("echo still here >alive")
					_, err := b.CatchUp(b.follower(), equalTimeout)
					b.must(err)
					break
				}
			}
		})
	}
}

// plainTree is the leader's directory while it does not run; none if that is not
// possible.
func plainTree(b *bed, n *cluster.Node) tree.Tree {
	if fi, err := os.Stat(n.Dir); !n.Leader || err != nil || !fi.IsDir() {
		return nil
	}
	t, err := cluster.Describe(n.Dir, equalTimeout)
	b.must(err)
	return t
}

// otherKey makes a key file; with sameCluster it belongs to the bed's cluster and
// holds another key.
func (b *bed) otherKey(name string, sameCluster bool) string {
	b.t.Helper()
	path := filepath.Join(b.Dir, name)
	b.ok(cluster.Run(filepath.Join(b.Bin, "wolfdisk"), "init", "-d", path+".state", "--key-file", path))
	if sameCluster {
		theirs, err := os.ReadFile(path)
		b.must(err)
		ours, err := os.ReadFile(b.Key)
		b.must(err)
		line := regexp.MustCompile(`(?m)^cluster .*$`)
		mixed := line.ReplaceAllString(string(theirs), line.FindString(string(ours)))
		b.must(os.WriteFile(path, []byte(mixed), 0o600))
	}
	return path
}

// TestStrangersAreRefused: a node with another key, of another cluster, or of
// another volume says so, gets nothing and changes nothing.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		code string // in the log
		make func(b *bed) *cluster.Node
	}{
		{"other key", "WD-1301", func(b *bed) *cluster.Node {
			n := b.second("stranger")
			n.Extra = []string{"--key-file", b.otherKey("other.key", true)}
			return n
		}},
		{"other cluster", "WD-130", func(b *bed) *cluster.Node {
			n := b.second("stranger")
			n.Extra = []string{"--key-file", b.otherKey("other.key", false)}
			return n
		}},
		{"other volume", "WD-1303", func(b *bed) *cluster.Node {
			// A follower that has synchronised with another leader of the cluster.
			other := newBed(b.t, "stranger")
			b.must(os.WriteFile(other.Key, readFile(b, b.Key), 0o600))
			b.must(other.Start(readyTimeout))
			other.shell("echo another volume >file")
			other.equal()
			b.must(other.follower().Stop())
			b.must(other.Leader.Stop()) // or it would follow that one: its address is remembered
			n := b.second("stranger")
			n.State, n.Extra = other.follower().State, nil
			b.t.Cleanup(func() { n.Kill9() }) // before the other bed removes the state
			return n
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := startBed(t)
			b.shell("echo secret >file")
			before := b.equal()
			n := tt.make(b)
			b.must(n.Start())
			defer func() {
				n.Kill9()
				cluster.UnmountBelow(n.Mount)
			}()
			deadline := time.Now().Add(15 * time.Second)
			for !strings.Contains(n.Log(), tt.code) && !strings.Contains(b.Leader.Log(), tt.code) {
				if time.Now().After(deadline) {
					t.Fatalf("nobody said %s\n%s\n%s", tt.code, n.LogTail(), b.Leader.LogTail())
				}
				time.Sleep(20 * time.Millisecond)
			}
			if tt.name == "other key" && !strings.Contains(n.Log(), "other.key") {
				t.Errorf("the file to copy is not named\n%s", n.LogTail())
			}
			if r := cluster.Shell(n.Mount, "cat file 2>/dev/null || :", 10*time.Second); strings.Contains(r.Stdout, "secret") {
				t.Error("the stranger got the content")
			}
			if r := n.Ctl(time.Minute, "--timeout", "500ms", "status", "--wait"); r.Code == 0 {
				t.Error("the stranger says that it is ready")
			}
			b.noDiff(tree.Diff(before, b.equal(), tree.Rules{}), "before and after the stranger")
		})
	}
}

func readFile(b *bed, path string) []byte {
	b.t.Helper()
	text, err := os.ReadFile(path)
	b.must(err)
	return text
}

// TestGarbageConnections: bytes of strangers cost the daemon nothing.
func TestGarbageConnections(t *testing.T) {
	b := startBed(t)
	b.shell("echo x >f")
	before := rssKiB(b, b.Leader)
	junk := make([]byte, 1<<20)
	rand.Read(junk)
	tls := append([]byte{22, 3, 1, 0x40, 0}, junk[:1<<14]...) // a record that is no handshake
	for i := range 200 {
		for _, n := range b.Nodes() {
			c, err := net.DialTimeout("tcp", n.Addr, 5*time.Second)
			b.must(err)
			c.SetDeadline(time.Now().Add(2 * time.Second))
			text := [][]byte{junk, tls, junk[:i], tls[:5+i], []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")}[i%5]
			c.Write(text) // refused early or late
			if i%3 == 0 {
				defer c.Close() // held open, silent
			} else {
				c.Close()
			}
		}
	}
	b.shell("echo y >g")
	b.equal()
	if grown := rssKiB(b, b.Leader) - before; grown > 64<<10 {
		t.Errorf("the leader grew by %d KiB", grown)
	}
}

func rssKiB(b *bed, n *cluster.Node) (kib int) {
	b.t.Helper()
	text := string(readFile(b, fmt.Sprintf("/proc/%d/status", n.Proc().Pid())))
	_, after, _ := strings.Cut(text, "VmRSS:")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		b.t.Fatal(err)
	}
	return kib
}
