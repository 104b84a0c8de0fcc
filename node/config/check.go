package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

// complete checks what concerns several keys and fills in what follows from others.
func (c *Config) complete(env *environment) Problems {
	c.Node.Advertise = completeAdvertise(c.Node.Advertise, c.Node.Bind)
	var problems Problems
	add := func(p *Problem) {
		if p != nil {
			problems = append(problems, p)
		}
	}
	add(c.checkRole())
	add(c.completeDirs())
	problems = append(problems, c.completeS3(env)...)
	if len(problems) == 0 {
		problems = c.checkPlaces(env)
	}
	return problems
}

func (c *Config) problem(key, format string, args ...any) *Problem {
	section, name, _ := strings.Cut(key, ".")
	for _, k := range keys {
		if k.Section == section && k.Name == name {
			return &Problem{Origin: c.origins[k], Key: k, Text: fmt.Sprintf(format, args...)}
		}
	}
	return &Problem{Text: fmt.Sprintf(format, args...)}
}

// checkRole refuses a program that contradicts the role.
func (c *Config) checkRole() *Problem {
	if c.Program == Master && c.Node.Role == volume.RoleFollower {
		return c.problem("node.role", "this node never leads: start wolfdisk-slave, or give it another role")
	}
	if c.Program == Master && c.Node.Role == volume.RoleWitness {
		return c.problem("node.role", "a witness has no directory to mirror: start wolfdisk-slave --witness, or give this node another role")
	}
	return nil
}

// completeWitness leaves out what needs a copy.
func (c *Config) completeWitness() *Problem {
	if !c.IsDefault("mount.dir") && c.Mount.Dir != "" {
		return c.problem("mount.dir", "a witness has no copy to show: leave out -m and --mount")
	}
	if c.Volume.Dir != "" {
		return c.problem("volume.dir", "a witness has no copy to keep: leave it out")
	}
	c.Mount.Dir, c.Volume.Storage = "", StorageChunks
	return nil
}

// completeDirs settles where content lies and where the tree is shown.
func (c *Config) completeDirs() *Problem {
	missing := func(flag, text string) *Problem {
		return &Problem{Origin: Origin{Source: FromFlag, Name: flag}, Text: text}
	}
	if c.Program == Slave && c.Node.Role == volume.RoleWitness {
		return c.completeWitness()
	}
	if c.Volume.Storage == StorageChunks {
		c.Volume.Dir = ""
	} else if c.Volume.Dir == "" {
		if c.Program == Master {
			return missing("mirror", "missing: say which directory to mirror, as in wolfdisk-master -m /srv/data")
		}
		return c.problem("volume.dir", `missing: [volume] storage = "dir" keeps the copy in a directory of its own, which has to be named`)
	}
	if c.IsDefault("mount.dir") {
		c.Mount.Dir = c.Volume.Dir
		if c.Program == Slave || c.Volume.Dir == "" {
			return missing("mirror", "missing: say where to show the tree, as in "+c.Program.String()+" -m /srv/data, or --mount none")
		}
	}
	return nil
}

// checkPlaces refuses directories that would swallow each other.
func (c *Config) checkPlaces(env *environment) Problems {
	places := []struct{ key, what, path, real string }{
		{"node.data_dir", "the state directory", c.Node.DataDir, ""},
		{"volume.dir", "the mirrored directory", c.Volume.Dir, ""},
		{"mount.dir", "the mount point", c.Mount.Dir, ""},
		{"node.key_file", "the key file", c.Node.KeyFile, ""},
	}
	var problems Problems
	for i := range places {
		p := &places[i]
		if p.path == "" {
			continue
		}
		real, err := env.resolve(p.path)
		if err != nil {
			problems = append(problems, c.problem(p.key, "resolve %s: %v", p.path, err))
			continue
		}
		p.real = real
	}
	const state, dir, mount, key = 0, 1, 2, 3
	for _, rule := range []struct {
		inner, outer int
		sameOK       bool
		why          string
	}{
		{state, dir, false, "it would be replicated into itself"},
		{dir, state, false, "it would mix content with state"},
		{state, mount, false, "the mount would cover it"},
		{mount, state, false, "the state directory holds nothing else"},
		{mount, dir, true, "it would be replicated into itself"},
		{dir, mount, true, "the mount would cover it"},
		{key, dir, false, "everybody who may read the tree would have the key"},
		{key, mount, false, "the mount would cover it"},
	} {
		in, out := places[rule.inner], places[rule.outer]
		if in.real == "" || out.real == "" || !within(in.real, out.real) || rule.sameOK && in.real == out.real {
			continue
		}
		if in.real == out.real && rule.outer == state {
			continue // said by the rule for the other direction
		}
		if (rule.outer == mount || rule.inner == mount) && places[mount].real == places[dir].real {
			continue // said by the rule about the directory
		}
		p := c.problem(in.key, "%s (%s) must not lie in %s (%s): %s", in.what, in.path, out.what, out.path, rule.why)
		p.Code = exit.Config // a matter of places, however they were given
		problems = append(problems, p)
	}
	return problems
}

// within reports whether path is dir or lies in it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
