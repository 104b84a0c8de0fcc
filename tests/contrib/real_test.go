//go:build linux

package contrib

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// site is a folder with what two real daemons need.
type site struct {
	t      *testing.T
	dir    string
	port   string // of the leader
	helper string // mount.wolfdisk, with the programs of this build
}

func newSite(t *testing.T) *site {
	t.Helper()
	problem := ""
	if os.Geteuid() != 0 {
		problem = "not root"
	} else if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		problem = err.Error()
	} else {
		f.Close()
	}
	if problem != "" && !requireFuse {
		t.Skip("NOT CHECKED: mounts are not possible here: " + problem)
	} else if problem != "" {
		t.Fatal("mounts are not possible here: " + problem)
	}
	dir, err := os.MkdirTemp("", "wdsite")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, port: strconv.Itoa(freePort(t)), helper: filepath.Join(dir, "mount.wolfdisk")}
	for _, name := range []string{"real", "leader", "follower"} {
		if err := os.Mkdir(s.path(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, s.helper, strings.ReplaceAll(readFile(t, contribPath("mount.wolfdisk")), "/usr/local/bin", binDir), 0o755)
	t.Cleanup(s.clear)
	return s
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// options are what every daemon of the site needs, as options of mount(8).
func (s *site) options(name, port string, more ...string) string {
	list := []string{"rw", "id=" + name, "state-dir=" + s.path(name+".state"), "key-file=" + s.path("key"), "bind=127.0.0.1:" + port, "admin.bind=none", "log=" + s.path(name+".log")}
	return strings.Join(append(list, more...), ",")
}

// flags are the same as flags of the daemon.
func (s *site) flags(name, port string) []string {
	return []string{"--id", name, "--state-dir", s.path(name + ".state"), "--key-file", s.path("key"), "--bind", "127.0.0.1:" + port}
}

// mount calls the helper as mount(8) does.
func (s *site) mount(args ...string) (string, int) {
	s.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(s.helper, args...)
	cmd.Stdout, cmd.Stderr = &out, &out // a pipe: it must not stay open in the daemon
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		s.t.Fatalf("%s %q: %v\n%s", s.helper, args, err, &out)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (s *site) mounts(code int, text string, args ...string) {
	s.t.Helper()
	if out, got := s.mount(args...); got != code || !strings.Contains(out, text) {
		s.t.Fatalf("%q: code %d, want %d with %q\n%s", args, got, code, text, out)
	}
}

// mountedAt gives the line of a mount; "" if there is none.
func (s *site) mountedAt(name string) string {
	s.t.Helper()
	for line := range strings.SplitSeq(readFile(s.t, "/proc/self/mountinfo"), "\n") {
		if fields := strings.Fields(line); len(fields) > 5 && fields[4] == s.path(name) {
			return line
		}
	}
	return ""
}

// daemons are the processes of this site.
func (s *site) daemons() (pids []int) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		pid, _ := strconv.Atoi(filepath.Base(dir)) // digits
		if err == nil && pid != os.Getpid() && bytes.Contains(line, []byte(s.dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// empty says what still runs or is mounted.
func (s *site) empty() string {
	if pids := s.daemons(); len(pids) > 0 {
		return fmt.Sprintf("daemons %v", pids)
	}
	return s.mountedAt("leader") + s.mountedAt("follower")
}

func (s *site) ends(why string) {
	s.t.Helper()
	eventually(s.t, why+": everything has ended", func() bool { return s.empty() == "" })
}

// clear ends what a failed test has left.
func (s *site) clear() {
	for _, pid := range s.daemons() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, name := range []string{"leader", "follower", "real"} {
		unix.Unmount(s.path(name), unix.MNT_DETACH)
	}
	os.RemoveAll(s.dir)
}

func (s *site) unmount(name string) {
	s.t.Helper()
	if err := unix.Unmount(s.path(name), 0); err != nil {
		s.t.Fatal(err)
	}
}

// TestMountHelper: a leader and a follower as fstab would have them.
func TestMountHelper(t *testing.T) {
	s := newSite(t)
	leader := []string{s.path("real"), s.path("leader"), "-o", s.options("a", s.port, "_netdev", "nofail", "noexec")}
	s.mounts(0, "", leader...)
	line := s.mountedAt("leader")
	for _, want := range []string{"nosuid", "nodev", "noexec", "fuse.wolfdisk"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q lacks %s", line, want)
		}
	}
	writeFile(t, s.path("leader/file"), "hello", 0o755)
	if got := readFile(t, s.path("real/file")); got != "hello" {
		t.Errorf("the real file holds %q", got)
	}
	if err := exec.Command(s.path("leader/file")).Run(); !errors.Is(err, os.ErrPermission) {
		t.Errorf("noexec: %v", err)
	}
	s.mounts(0, "mounted already", leader...) // as mount -a does
	follower := []string{"127.0.0.1:" + s.port, s.path("follower"), "-n", "-o", s.options("b", strconv.Itoa(freePort(t)))}
	s.mounts(0, "", follower...)
	eventually(t, "the follower has the file", func() bool {
		text, err := os.ReadFile(s.path("follower/file"))
		return err == nil && string(text) == "hello"
	})
	if len(s.daemons()) != 2 {
		t.Errorf("%d daemons", len(s.daemons()))
	}
	s.unmount("follower")
	eventually(t, "unmounting ends the follower", func() bool { return len(s.daemons()) == 1 })
	// A follower that holds the volume serves it also without its leader.
	s.unmount("leader")
	s.ends("unmounting ends the leader")
	s.mounts(0, "", follower...)
	if got := readFile(t, s.path("follower/file")); got != "hello" {
		t.Errorf("the follower alone has %q", got)
	}
	s.unmount("follower")
	s.ends("unmounting ends the follower")
	for _, log := range []string{"a.log", "b.log"} {
		text := readFile(t, s.path(log))
		if !strings.Contains(text, "stopped") || strings.Contains(text, "service manager") {
			t.Errorf("%s\n%s", log, text)
		}
	}
}

// TestMountHelperFails: whatever goes wrong, nothing is left behind.
func TestMountHelperFails(t *testing.T) {
	s := newSite(t)
	before, err := filepath.Glob("/run/wolfdisk-mount-*")
	if err != nil {
		t.Fatal(err)
	}
	s.mounts(1, "is not known", s.path("real"), s.path("leader"), "-o", "nonsense")
	s.mounts(32, "none does not exist", s.path("real"), s.path("none"), "-o", s.options("a", s.port))
	s.mounts(32, "did not mount", s.path("gone"), s.path("leader"), "-o", s.options("a", s.port))
	s.mounts(2, "open the log", s.path("real"), s.path("leader"), "-o", s.options("a", s.port, "log="+s.path("real")))
	// Nobody brings a volume.
	nobody := []string{"127.0.0.1:" + strconv.Itoa(freePort(t)), s.path("follower"), "-o"}
	s.mounts(32, "waiting for a leader", append(nobody, s.options("b", strconv.Itoa(freePort(t)), "timeout=1"))...)
	if what := s.empty(); what != "" {
		t.Error(what)
	}
	// Told to stop, as systemd does when it has lost patience.
	cmd := exec.Command(s.helper, append(nobody, s.options("c", strconv.Itoa(freePort(t)), "timeout=0"))...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon waits", func() bool {
		text, err := os.ReadFile(s.path("c.log"))
		return err == nil && strings.Contains(string(text), "waiting for a leader")
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 32 {
		t.Errorf("interrupted: code %d", code)
	}
	if what := s.empty(); what != "" {
		t.Error(what)
	}
	after, err := filepath.Glob("/run/wolfdisk-mount-*")
	if err != nil || len(after) > len(before) {
		t.Errorf("sockets are left: %v, %v", after, err)
	}
	// And then it works.
	s.mounts(0, "", s.path("real"), s.path("leader"), "-o", s.options("a", s.port))
	s.unmount("leader")
	s.ends("unmounted")
}

// ears is a service manager's socket.
func (s *site) ears(name string) (*net.UnixConn, string) {
	s.t.Helper()
	path := s.path(name + ".notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn, path
}

// hears waits for a message that begins with a text, and returns those before it.
func hears(t *testing.T, conn *net.UnixConn, want string) (before []string) {
	t.Helper()
	buf := make([]byte, 4096)
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("no %q after %q: %v", want, before, err)
		}
		if strings.HasPrefix(string(buf[:n]), want) {
			return before
		}
		before = append(before, string(buf[:n]))
	}
}

// TestNotify: what real daemons tell systemd, and when.
func TestNotify(t *testing.T) {
	s := newSite(t)
	start := func(name, socket string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(binDir, args[0]), args[1:]...)
		log, err := os.Create(s.path(name + ".log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=400000", "WOLFDISK_ADMIN_BIND=none")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	ends := func(cmd *exec.Cmd, name string) {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, readFile(t, s.path(name+".log")))
		}
	}
	// A follower without a volume is not ready, but alive.
	fEars, fSocket := s.ears("b")
	follower := start("b", fSocket, append([]string{"wolfdisk-slave", "-m", s.path("follower"), "-c", "127.0.0.1:" + s.port}, s.flags("b", strconv.Itoa(freePort(t)))...)...)
	var before []string
	for range 4 {
		before = append(before, hears(t, fEars, "WATCHDOG=1")...)
	}
	if text := strings.Join(before, "\n"); strings.Contains(text, "READY=1") || !strings.Contains(text, "STATUS=waiting") {
		t.Errorf("without a volume it says %q", before)
	}
	lEars, lSocket := s.ears("a")
	leader := start("a", lSocket, append([]string{"wolfdisk-master", "-m", s.path("real"), "--mount", s.path("leader")}, s.flags("a", s.port)...)...)
	hears(t, lEars, "READY=1")
	writeFile(t, s.path("leader/file"), "hello", 0o644) // at once
	if s.mountedAt("leader") == "" {
		t.Error("ready, and not mounted")
	}
	hears(t, fEars, "READY=1")
	if s.mountedAt("follower") == "" {
		t.Error("the follower is ready, and not mounted")
	}
	eventually(t, "the file is there", func() bool {
		_, err := os.Stat(s.path("follower/file"))
		return err == nil
	})
	leader.Process.Signal(syscall.SIGHUP)
	hears(t, lEars, "RELOADING=1\nMONOTONIC_USEC=")
	if before := hears(t, lEars, "READY=1"); len(before) > 2 {
		t.Errorf("between: %q", before)
	}
	writeFile(t, s.path("leader/another"), "hello", 0o644)
	hears(t, lEars, "STATUS=leading, version ")
	follower.Process.Signal(syscall.SIGTERM)
	hears(t, fEars, "STOPPING=1")
	ends(follower, "b")
	s.unmount("leader") // also when nobody told it to
	hears(t, lEars, "STOPPING=1")
	ends(leader, "a")
	s.ends("told to stop")
}

// ask asks the admin address, and gives the status and the text.
func ask(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// TestMonitoring: metrics and health of a leader as a monitor sees them, while its
// follower is there and when it has died.
func TestMonitoring(t *testing.T) {
	s := newSite(t)
	addr := "127.0.0.1:" + strconv.Itoa(freePort(t))
	s.mounts(0, "", s.path("real"), s.path("leader"), "-o", s.options("a", s.port, "admin.bind="+addr))
	alone := s.daemons()
	s.mounts(0, "", "127.0.0.1:"+s.port, s.path("follower"), "-o", s.options("b", strconv.Itoa(freePort(t))))
	writeFile(t, s.path("leader/file"), "hello", 0o644)
	metric := func(name, value string) func() bool {
		return func() bool {
			code, text := ask(t, addr, "/metrics")
			return code == 200 && regexp.MustCompile(`(?m)^wolfdisk_`+name+` (?:`+value+`)$`).MatchString(text)
		}
	}
	peer := `\{peer="b",role="follower"\}`
	for _, name := range []string{"lag_ops", "lag_bytes", "lag_seconds"} {
		eventually(t, "no "+name, metric("peer_"+name+peer, "0"))
	}
	if !metric("peer_connected"+peer, "1")() || !metric("leader", "1")() || !metric("mounted", "1")() {
		t.Error("the metrics are wrong")
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/readyz?max_lag=0&wait=10s": 200, "/version": 200, "/": 200, "/v1/status": 404, "/v1/stop": 404} {
		if code, text := ask(t, addr, path); code != want {
			t.Errorf("%s: %d\n%s", path, code, text)
		}
	}
	for _, pid := range s.daemons() {
		if !slices.Contains(alone, pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	eventually(t, "the follower is missed", metric("peer_connected"+peer, "0"))
	writeFile(t, s.path("leader/more"), strings.Repeat("x", 100000), 0o644)
	for _, name := range []string{"lag_ops", "lag_bytes", "lag_seconds"} {
		eventually(t, name+" grows", metric("peer_"+name+peer, `[1-9][0-9.e+]*|0\.[0-9]+`))
	}
	if code, _ := ask(t, addr, "/readyz?max_lag=0"); code != 200 {
		t.Errorf("a leader is not ready because a follower is away: %d", code)
	}
	s.unmount("leader")
	eventually(t, "the leader has ended", func() bool {
		code, _ := ask(t, addr, "/healthz")
		return code == 0 && len(s.daemons()) == 0
	})
}
