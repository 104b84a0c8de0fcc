package contrib

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"wolfdisk/node/config"
)

// machine is a folder that stands for a FreeBSD machine with the scripts installed.
type machine struct {
	t    *testing.T
	role string
	dir  string
}

func newMachine(t *testing.T, role string) *machine {
	t.Helper()
	for _, program := range []string{"pgrep", "ps"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: tests/need.sh procps installs it", err)
		}
	}
	m := &machine{t, role, t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"sbin", "run", "bin"} {
		if err := os.Mkdir(m.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(self, m.path("sbin/daemon")); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/etc/rc.subr", filepath.Join(repoDir, "tests/contrib/testdata/rc.subr"), "/usr/sbin/daemon", m.path("sbin/daemon"),
		"/var/run/", m.path("run")+"/", "/usr/local/bin/", m.path("bin")+"/", "/usr/local/libexec/wolfdisk/run", contribPath("libexec/run")).
		Replace(readFile(t, contribPath("rc.d/"+m.name())))
	writeFile(t, m.path("rc"), text, 0o755)
	writeFile(t, m.path("bin/wolfdisk-"+role), readFile(t, "testdata/program"), 0o755)
	m.configure("enable=YES", "restart_delay=1", "log="+m.path("log"))
	t.Cleanup(m.clear)
	return m
}

func (m *machine) name() string            { return "wolfdisk_" + m.role }
func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

// configure writes rc.conf, from NAME=VALUE without the name of the service.
func (m *machine) configure(vars ...string) {
	m.t.Helper()
	text := ""
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		text += m.name() + "_" + name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'\n"
	}
	writeFile(m.t, m.path("rc.conf"), text, 0o644)
}

// service runs a command of the script.
func (m *machine) service(command string) (string, int) {
	m.t.Helper()
	cmd := exec.Command("sh", m.path("rc"), command)
	cmd.Env = append(os.Environ(), "RC_TEST="+m.dir)
	out, err := os.Create(m.path("out"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out // a file, because what stays in the background keeps it open
	err = cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		m.t.Fatal(err)
	}
	return readFile(m.t, m.path("out")), cmd.ProcessState.ExitCode()
}

func (m *machine) expect(command string, code int, text string) {
	m.t.Helper()
	if out, got := m.service(command); got != code || !strings.Contains(out, text) {
		m.t.Fatalf("%s: code %d, want %d\n%s\nevents:\n%s", command, got, code, out, strings.Join(m.events(), "\n"))
	}
}

// events are what the program has noted.
func (m *machine) events() []string {
	text, err := os.ReadFile(m.path("events"))
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func (m *machine) count(event string) (n int) {
	for _, e := range m.events() {
		if e == event || strings.HasPrefix(e, event+" ") {
			n++
		}
	}
	return n
}

// pids are those of the programs that were started, the last one last.
func (m *machine) pids() (list []int) {
	for _, e := range m.events() {
		if text, ok := strings.CutPrefix(e, "begin "); ok {
			pid, err := strconv.Atoi(text)
			if err != nil {
				m.t.Fatal(err)
			}
			list = append(list, pid)
		}
	}
	return list
}

// alive reports whether a process runs: not if nobody has taken notice of its end yet.
func alive(pid int) bool {
	state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(string(state), "Z")
}

// supervisor is the process of daemon(8); 0 if there is none.
func (m *machine) supervisor() int {
	text, err := os.ReadFile(m.path("run/" + m.name() + ".pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil || !alive(pid) {
		return 0
	}
	return pid
}

// clear ends what a failed test has left.
func (m *machine) clear() {
	if pid := m.supervisor(); pid != 0 {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range m.pids() {
		if alive(pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// gone fails if anything still runs.
func (m *machine) gone() {
	m.t.Helper()
	if pid := m.supervisor(); pid != 0 {
		m.t.Errorf("daemon(8) still runs as %d", pid)
	}
	for _, pid := range m.pids() {
		if alive(pid) {
			m.t.Errorf("the program still runs as %d", pid)
		}
	}
}

func TestServiceLife(t *testing.T) {
	for _, role := range []string{"master", "slave"} {
		m := newMachine(t, role)
		m.expect("status", 1, "is not running")
		m.expect("stop", 1, "is not running")
		m.expect("reload", 1, "is not running")
		m.expect("start", 0, "Starting")
		eventually(t, "the program runs", func() bool { return m.count("ready") == 1 })
		m.expect("status", 0, "is running as pid "+strconv.Itoa(m.supervisor()))
		m.expect("start", 1, "already running")
		m.expect("reload", 0, "")
		eventually(t, "the signal to reload arrives", func() bool { return m.count("reload") == 1 })
		m.expect("restart", 0, "Stopping")
		if m.count("stopped") != 1 {
			t.Errorf("restart did not wait for the program to stop: %q", m.events())
		}
		eventually(t, "it runs again", func() bool { return m.count("ready") == 2 })
		// A graceful stop: it returns when the program has ended by itself.
		m.expect("stop", 0, "Stopping")
		if m.count("stopped") != 2 {
			t.Errorf("stop did not wait for the program: %q", m.events())
		}
		m.gone()
		if got := strings.Count(readFile(t, m.path("log")), "last words"); got != 2 {
			t.Errorf("%d of 2 last messages are in the log", got)
		}
		if got := readFile(t, m.path("trace")); !strings.Contains(got, "modules fusefs\n") {
			t.Errorf("the module was not asked for: %q", got)
		}
		m.expect("status", 1, "is not running")
	}
}

// What fails is started again; what was told to stop, ended well, or wants an operator
// is not.
func TestServiceRestarts(t *testing.T) {
	for code, again := range map[string]bool{"0": false, "1": true, "2": true, "6": false, "64": false, "69": true, "78": false} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "master")
			writeFile(t, m.path("code"), code+"\n", 0o644)
			m.expect("start", 0, "Starting")
			if again {
				eventually(t, "it was started again", func() bool { return m.count("end") >= 2 })
				m.expect("stop", 0, "Stopping") // most of the time while nothing runs
			} else {
				eventually(t, "daemon(8) has left", func() bool { return m.count("end") >= 1 && m.supervisor() == 0 })
				if m.count("begin") != 1 {
					t.Errorf("started again: %q", m.events())
				}
			}
			m.gone()
			m.expect("status", 1, "is not running")
		})
	}
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t, "slave")
		m.expect("start", 0, "Starting")
		eventually(t, "the program runs", func() bool { return m.count("ready") == 1 })
		if err := syscall.Kill(m.pids()[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it was started again", func() bool { return m.count("ready") == 2 })
		m.expect("stop", 0, "Stopping")
		m.gone()
	})
}

func TestServiceDisabled(t *testing.T) {
	m := newMachine(t, "master")
	m.configure("log=" + m.path("log"))
	m.expect("start", 0, "Set wolfdisk_master_enable to YES")
	m.expect("rcvar", 0, `wolfdisk_master_enable="NO"`)
	if m.supervisor() != 0 || m.count("begin") != 0 {
		t.Error("it was started")
	}
	m.expect("onestart", 0, "Starting")
	eventually(t, "the program runs", func() bool { return m.count("ready") == 1 })
	m.expect("stop", 0, "Stopping")
	m.expect("nonsense", 1, "unknown directive")
	m.gone()
}

// Every variable reaches the program as one word, whatever is in it, and the program
// understands the result.
func TestServiceArguments(t *testing.T) {
	tests := []struct {
		role string
		vars []string
		want []string
	}{
		{"master", nil, nil},
		{"slave", nil, nil},
		{"master", []string{"dir=/srv/my 'own' $data", "mount=/mnt/a b", "connect=a,b:9501", "config=/etc/x y.toml", "state_dir=/var/db/w d", `flags=--id n1 -z 3 --log-level "warn"`},
			[]string{"--state-dir", "/var/db/w d", "--config", "/etc/x y.toml", "-m", "/srv/my 'own' $data", "--mount", "/mnt/a b", "-c", "a,b:9501", "--id", "n1", "-z", "3", "--log-level", "warn"}},
		{"slave", []string{"dir=/srv/data", "connect=a", "flags=--id n2"}, []string{"-m", "/srv/data", "-c", "a", "--id", "n2"}},
	}
	for _, tt := range tests {
		m := newMachine(t, tt.role)
		m.configure(append(tt.vars, "enable=YES")...)
		m.expect("start", 0, "Starting")
		eventually(t, "the program runs", func() bool { return m.count("ready") == 1 })
		m.expect("stop", 0, "Stopping")
		var got []string
		for _, e := range m.events() {
			if arg, ok := strings.CutPrefix(e, "arg "); ok {
				got = append(got, arg)
			}
		}
		if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
			t.Errorf("%q: got %q", tt.vars, got)
		}
		if tt.want == nil {
			continue
		}
		_, err := config.Load("wolfdisk-"+tt.role, got, []string{"HOME=/x"}, func(string) ([]byte, error) { return nil, nil })
		if err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
}

// The header is the manual: it names each variable that the script reads, and no other.
func TestServiceVariables(t *testing.T) {
	for _, role := range []string{"master", "slave"} {
		text := readFile(t, contribPath("rc.d/wolfdisk_"+role))
		header, code, _ := strings.Cut(text, "\n. /etc/rc.subr\n")
		prefix := "# wolfdisk_" + role + "_"
		documented := map[string]bool{}
		for line := range strings.SplitSeq(header, "\n") {
			if name, ok := strings.CutPrefix(line, prefix); ok {
				name, _, _ = strings.Cut(name, " ")
				documented[name] = true
				if name != "flags" && !strings.Contains(code, ": \"${wolfdisk_"+role+"_"+name+":=") {
					t.Errorf("%s has no default in %s", name, role)
				}
			}
		}
		for line := range strings.SplitSeq(code, "\n") {
			if name, ok := strings.CutPrefix(line, ": \"${wolfdisk_"+role+"_"); ok {
				name, _, _ = strings.Cut(name, ":")
				if !documented[name] {
					t.Errorf("%s is not documented in %s", name, role)
				}
			}
		}
		if len(documented) < 7 {
			t.Errorf("only %v in the header of %s", documented, role)
		}
	}
}
