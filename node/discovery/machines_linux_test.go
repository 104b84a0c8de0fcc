package discovery

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/wire"
)

// childEnv makes the test program a machine's daemon: key file, ID, where, counter file.
const childEnv = "WOLFDISK_TEST_DISCOVERY"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(strings.Fields(text)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child finds others, and says on its output whom.
func child(args []string) error {
	keys, err := wire.LoadKeys(args[0])
	if err != nil {
		return err
	}
	where, err := Parse(args[2])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("begun")
	return Run(ctx, Options{
		Where: where, Keys: keys, NodeID: args[1], Address: ":9500", Log: zerolog.Nop(), pace: quick,
		CounterFile: args[3],
		Found:       func(id, address string) { fmt.Println("found", id, address) },
	})
}

// machine is a process in a network of its own, which ends with it.
type machine struct {
	t     *testing.T
	cmd   *exec.Cmd
	mu    sync.Mutex
	lines map[string]bool
}

func startMachine(t *testing.T, key, id, where string) *machine {
	t.Helper()
	m := &machine{t: t, cmd: exec.Command(os.Args[0]), lines: map[string]bool{}}
	counter := filepath.Join(t.TempDir(), "beacon")
	m.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s", childEnv, key, id, where, counter))
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			m.mu.Lock()
			m.lines[s.Text()] = true
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		m.cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if err := m.cmd.Wait(); err != nil {
			t.Errorf("%s: %v, %v", id, err, m.lines)
		}
	})
	eventually(t, id+" has begun", func() bool { return m.said("begun") })
	return m
}

func (m *machine) said(line string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lines[line]
}

// ip runs ip(8) in the machine's network.
func (m *machine) ip(format string, args ...any) {
	m.t.Helper()
	words := strings.Fields(fmt.Sprintf("--net=/proc/%d/ns/net ip "+format, append([]any{m.cmd.Process.Pid}, args...)...))
	if out, err := exec.Command("nsenter", words...).CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
}

// Two machines at one cable find each other, which comes only after they have begun; also
// where the interface of one takes no multicast, and after the cable was pulled and the
// address changed.
func TestMachines(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := newKeys(t).Save(key); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, where string
		deaf        bool // a's interface takes no multicast
	}{{"multicast", "multicast", false}, {"own group", "udp://239.99.1.2:9777", false}, {"broadcast", "broadcast", false}, {"fallback", "multicast", true}} {
		t.Run(c.name, func(t *testing.T) {
			a, b := startMachine(t, key, "a", c.where), startMachine(t, key, "b", c.where)
			a.ip("link add eth0 type veth peer name eth0 netns %d", b.cmd.Process.Pid)
			if c.deaf {
				a.ip("link set eth0 multicast off")
			}
			a.ip("addr add 10.97.5.1/24 dev eth0")
			b.ip("addr add 10.97.5.2/24 broadcast + dev eth0")
			a.ip("link set eth0 up")
			b.ip("link set eth0 up")
			eventually(t, "b finds a", func() bool { return b.said("found a 10.97.5.1:9500") })
			if !c.deaf { // else it cannot hear b, which dials it
				eventually(t, "a finds b", func() bool { return a.said("found b 10.97.5.2:9500") })
			}
			a.ip("link set eth0 down")
			time.Sleep(2 * quick.look)
			a.ip("addr flush dev eth0")
			a.ip("addr add 10.97.5.9/24 dev eth0")
			a.ip("link set eth0 up")
			eventually(t, "b finds a at its new address", func() bool { return b.said("found a 10.97.5.9:9500") })
			if a.said("found a 10.97.5.1:9500") || b.said("found b 10.97.5.2:9500") {
				t.Error("one found itself")
			}
		})
	}
}
