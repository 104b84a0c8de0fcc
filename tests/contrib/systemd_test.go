package contrib

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wolfdisk/node/config"
	"wolfdisk/node/exit"
)

// units are the names of the units, without their ending.
var units = []string{"wolfdisk-master", "wolfdisk-slave", "wolfdisk-master@", "wolfdisk-slave@"}

// unit reads a unit's assignments, "Section.Key" to all its values.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	keys, section := map[string][]string{}, ""
	for i, line := range strings.Split(readFile(t, contribPath("systemd/"+name+".service")), "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Fatalf("%s:%d: %s", name, i+1, line)
			}
			keys[section+"."+key] = append(keys[section+"."+key], value)
		}
	}
	return keys
}

func TestUnits(t *testing.T) {
	for _, name := range units {
		u := unit(t, name)
		program, instance := strings.CutSuffix(name, "@")
		one := func(key string) string {
			if len(u["Service."+key]) != 1 {
				t.Fatalf("%s: %s=%q", name, key, u["Service."+key])
			}
			return u["Service."+key][0]
		}
		for key, want := range map[string]string{"Type": "notify", "NotifyAccess": "main", "TimeoutStartSec": "infinity", "ExecReload": "/bin/kill -HUP $MAINPID",
			"Restart": "on-failure", "StateDirectoryMode": "0700"} {
			if got := one(key); got != want {
				t.Errorf("%s: %s=%s, want %s", name, key, got, want)
			}
		}
		codes := fmt.Sprintf("%d %d %d", exit.Unsafe, exit.Usage, exit.Config)
		if got := one("RestartPreventExitStatus"); got != codes {
			t.Errorf("%s: RestartPreventExitStatus=%s, want %s", name, got, codes)
		}
		checkCommand(t, name, program, one("ExecStart"), instance)
		state := map[bool]string{false: "wolfdisk", true: "wolfdisk/%i"}[instance]
		if one("StateDirectory") != state || !strings.Contains(one("ExecStart"), " --state-dir /var/lib/"+state+" ") {
			t.Errorf("%s: the state directory is not %s", name, state)
		}
		if !slices.Contains(u["Service.EnvironmentFile"], "-/etc/default/wolfdisk") || !slices.Equal(u["Install.WantedBy"], []string{"multi-user.target"}) {
			t.Errorf("%s: EnvironmentFile=%q, WantedBy=%q", name, u["Service.EnvironmentFile"], u["Install.WantedBy"])
		}
		// What gives the service a mount namespace of its own hides the mount.
		for key := range u {
			key = strings.TrimPrefix(key, "Service.")
			for _, hides := range []string{"Private", "Protect", "ReadOnly", "ReadWrite", "Inaccessible", "TemporaryFileSystem", "Bind", "Root", "Mount", "Dynamic", "RestrictSUIDSGID", "Device", "Exec", "NoExec"} {
				if strings.HasPrefix(key, hides) && key != "ExecStart" && key != "ExecReload" {
					t.Errorf("%s: %s", name, key)
				}
			}
		}
	}
}

// checkCommand has the daemon's own code look at what the unit starts.
func checkCommand(t *testing.T, name, program, line string, instance bool) {
	t.Helper()
	words := strings.Fields(line)
	last := "$" + strings.ToUpper(strings.TrimPrefix(program, "wolfdisk-")) + "_FLAGS"
	if words[0] != "/usr/local/bin/"+program || words[len(words)-1] != last {
		t.Fatalf("%s: %s", name, line)
	}
	if instance != slices.Contains(words, "/etc/wolfdisk/%i.toml") {
		t.Errorf("%s: the configuration file in %s", name, line)
	}
	args := append(words[1:len(words)-1], "-m", "/srv/data")
	cfg, err := config.Load(program, args, []string{"HOME=/x", last[1:] + "=-m /srv/data"}, func(path string) ([]byte, error) {
		if path == "/etc/wolfdisk/%i.toml" {
			return nil, nil
		}
		return nil, os.ErrNotExist
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	text := unit(t, name)["Service.TimeoutStopSec"][0]
	minutes, err := strconv.Atoi(strings.TrimSuffix(text, "min"))
	if err != nil || time.Duration(minutes)*time.Minute < 2*cfg.Node.StopTimeout {
		t.Errorf("%s: TimeoutStopSec=%s, but stop_timeout is %v: %v", name, text, cfg.Node.StopTimeout, err)
	}
}

// TestUnitsVerify asks systemd what it thinks of them.
func TestUnitsVerify(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("NOT CHECKED: there is no systemd-analyze here to verify the units: ", err)
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, name := range units {
		text := strings.ReplaceAll(readFile(t, contribPath("systemd/"+name+".service")), "/usr/local/bin", binDir)
		path := filepath.Join(dir, strings.Replace(name, "@", "@a", 1)+".service")
		writeFile(t, path, text, 0o644)
		args = append(args, path)
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// It warns about what it does not know, and ends well.
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.Contains(line, dir) || strings.HasPrefix(line, "wolfdisk-") {
			t.Error(line)
		}
	}
}

// TestDefaults: what the example says can be uncommented.
func TestDefaults(t *testing.T) {
	vars := map[string]string{}
	for line := range strings.SplitSeq(readFile(t, contribPath("default/wolfdisk")), "\n") {
		if line, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(line, " ") && line != "" {
			name, value, _ := strings.Cut(line, "=")
			vars[name] = value
		} else if line != "" && !ok {
			t.Errorf("in effect by default: %s", line)
		}
	}
	for program, name := range map[string]string{"wolfdisk-master": "MASTER_FLAGS", "wolfdisk-slave": "SLAVE_FLAGS"} {
		var environ []string
		for k, v := range vars {
			environ = append(environ, k+"="+v)
		}
		if vars[name] == "" {
			t.Fatalf("no %s", name)
		}
		cfg, err := config.Load(program, strings.Fields(vars[name]), append(environ, "HOME=/x"), func(string) ([]byte, error) { return nil, os.ErrNotExist })
		if err != nil || cfg.Log.Format != "json" {
			t.Errorf("%s: %v", program, err)
		}
	}
}
