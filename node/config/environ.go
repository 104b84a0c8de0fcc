package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"wolfdisk/volume"
)

const (
	envPrefix = "WOLFDISK_"
	envConfig = "WOLFDISK_CONFIG" // the --config flag's variable

	defaultFile = "/etc/wolfdisk/config.toml"
	// maxFile bounds the configuration file, in bytes.
	maxFile = 1 << 20
)

// environment is what defaults and paths depend on: the variables, and a few facts
// about the process, which tests replace.
type environment struct {
	vars     map[string]string
	euid     int
	hostname func() (string, error)
	cwd      func() (string, error)
	resolve  func(string) (string, error)
	readFile func(string) ([]byte, error)
}

func newEnvironment(environ []string, readFile func(string) ([]byte, error)) *environment {
	if readFile == nil {
		readFile = os.ReadFile
	}
	env := &environment{vars: make(map[string]string), euid: os.Geteuid(), hostname: os.Hostname, cwd: os.Getwd,
		resolve: resolvePath, readFile: readFile}
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env.vars[name] = value // of repeated ones the last counts
		}
	}
	return env
}

func envName(section, name string) string {
	return envPrefix + strings.ToUpper(section) + "_" + strings.ToUpper(name)
}

// hookVars are what a hook is told about its node: it may run programs of ours.
var hookVars = []string{"WOLFDISK_ROLE", "WOLFDISK_EPOCH", "WOLFDISK_LEADER_ID"}

// unknownVars finds variables that look like ours and are not.
func (e *environment) unknownVars() []*Problem {
	known := []string{envConfig}
	for _, k := range keys {
		if !k.fileOnly() {
			known = append(known, k.Env())
		}
	}
	var names []string
	for name := range e.vars {
		if strings.HasPrefix(name, envPrefix) && !contains(known, name) && !slices.Contains(hookVars, name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var problems []*Problem
	for _, name := range names {
		meant := didYouMean(name, known)
		if contains(known, name+"_FILE") {
			meant = " (did you mean " + name + "_FILE? secrets are read from files)"
		}
		problems = append(problems, &Problem{Origin: Origin{Source: FromEnv, Name: name}, Text: "unknown variable" + meant})
	}
	return problems
}

// xdg is our directory below the base directory that the XDG variable names, or its default below
// HOME. Relative values of the variable are to be ignored, says its specification.
func (e *environment) xdg(variable, below, what string) (string, error) {
	if dir := e.vars[variable]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "wolfdisk"), nil
	}
	if home := e.vars["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, below, "wolfdisk"), nil
	}
	return "", errors.New("neither " + variable + " nor HOME is set, so there is no default: give " + what)
}

func defaultDataDir(e *environment) (string, error) {
	if e.euid == 0 {
		return "/var/lib/wolfdisk", nil
	}
	return e.xdg("XDG_STATE_HOME", ".local/state", "--state-dir")
}

func defaultKeyFile(e *environment) (string, error) {
	if e.euid == 0 {
		return "/etc/wolfdisk/cluster.key", nil
	}
	dir, err := e.xdg("XDG_CONFIG_HOME", ".config", "--key-file")
	return filepath.Join(dir, "cluster.key"), err
}

func defaultID(e *environment) (string, error) {
	name, err := e.hostname()
	if err != nil {
		return "", errors.New("the host name cannot be read (" + err.Error() + "): give --id")
	}
	if err := volume.CheckNodeID(name); err != nil {
		return "", errors.New("the host name cannot be used (" + err.Error() + "): give --id")
	}
	return name, nil
}

// absolute makes a path from the command line or a variable absolute.
func (e *environment) absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	dir, err := e.cwd()
	if err != nil {
		return "", errors.New("is relative, and the working directory cannot be read: " + err.Error())
	}
	return filepath.Join(dir, path), nil
}

// resolvePath follows the symbolic links of the part of a path that exists.
func resolvePath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil || path == "/" {
		return real, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		// Not for us to judge: who opens it will say what is wrong. A mount left
		// over by a crashed daemon is such a case.
		return path, nil
	}
	parent, err := resolvePath(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}
