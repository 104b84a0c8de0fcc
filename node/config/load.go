package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"wolfdisk/node/exit"
)

// Load brings flags that were parsed, environment, file and defaults together, for
// programs with commands of their own. See the function Load.
func (f *Flags) Load(environ []string, readFile func(string) ([]byte, error)) (*Config, error) {
	return f.load(newEnvironment(environ, readFile))
}

func (f *Flags) load(env *environment) (*Config, error) {
	c := &Config{Program: f.program, origins: make(map[*Key]Origin), hooks: new(hooks), Insist: f.insist}
	if v := f.values["state-dir"]; f.program == Ctl && v != nil && len(v.texts) > 0 {
		// The control tool needs nothing else, and must work while somebody
		// mends a broken file.
		env = &environment{cwd: env.cwd}
		problems := f.fill(c, env, nil)
		return c, problems.err()
	}
	problems := Problems(env.unknownVars())
	file, more, err := f.readFile(c, env)
	if err != nil {
		return nil, err
	}
	problems = append(problems, more...)
	problems = append(problems, f.fill(c, env, file)...)
	if len(problems) == 0 && f.program&Daemons != 0 {
		problems = c.complete(env)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// readFile reads the file that is named, or the default one if there is one.
func (f *Flags) readFile(c *Config, env *environment) (map[*Key]given, []*Problem, error) {
	name, named := env.vars[envConfig]
	if len(f.config.texts) > 0 {
		name, named = f.config.texts[0], true
	}
	if !named {
		name = defaultFile
	}
	path, err := env.absolute(name)
	if name == "" || err != nil {
		return nil, nil, exit.Errorf(exit.Config, "configuration file %q: is not a file name that can be used", name)
	}
	data, err := env.readFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, exit.Errorf(exit.Config, "read configuration file: %w", err)
	}
	c.File = path
	values, problems := readTOML(path, data)
	return values, problems, nil
}

// fill sets every key of the program from the first source that has it.
func (f *Flags) fill(c *Config, env *environment, file map[*Key]given) Problems {
	var problems Problems
	for _, k := range keys {
		if k.Programs&f.program == 0 {
			continue
		}
		flag, problem := f.given(k)
		if problem != nil {
			problems = append(problems, problem)
			continue
		}
		sources := []given{flag, {}, file[k], {}}
		if value, ok := env.vars[k.Env()]; ok && !k.fileOnly() {
			sources[1] = given{origin: Origin{Source: FromEnv, Name: k.Env()}, texts: []string{value}}
		}
		problems = append(problems, k.choose(c, env, sources)...)
	}
	return problems
}

// choose takes the first source that says something, the last standing for the
// default. What is overruled must be right too, or it would fail on the day when
// nothing overrules it.
func (k *Key) choose(c *Config, env *environment, sources []given) (problems Problems) {
	target := c
	for i, g := range sources {
		last := i == len(sources)-1
		if g.origin.Source == FromDefault && (!last || target != c) {
			continue
		}
		if problem := k.take(target, env, g); problem != nil {
			problems = append(problems, problem)
		}
		target = &Config{Program: c.Program, origins: make(map[*Key]Origin)}
	}
	return problems
}

// take sets the key from what was given, or to its default.
func (k *Key) take(c *Config, env *environment, g given) *Problem {
	if g.origin.Source == FromDefault {
		text, err := k.defaultFor(c.Program, env)
		if err != nil {
			return &Problem{Key: k, Text: err.Error()}
		}
		if text == "" {
			return nil // the zero value
		}
		g.texts = []string{text}
	}
	c.origins[k] = g.origin
	if k.decode != nil {
		if err := k.decode(c, g.table); err != nil {
			return &Problem{Origin: g.origin, Key: k, Text: err.Error()}
		}
		return nil
	}
	bad := func(format string, args ...any) *Problem {
		said := fmt.Sprintf("%q ", strings.Join(g.texts, ","))
		if k.secret {
			said = ""
		}
		return &Problem{Origin: g.origin, Key: k, Text: said + fmt.Sprintf(format, args...)}
	}
	if k.path && !(k.none && g.texts[0] == "none") {
		text := g.texts[len(g.texts)-1]
		if text == "" {
			return bad("is empty: must be %s", k.rangeText())
		}
		if g.origin.Source == FromFile && !filepath.IsAbs(text) {
			return bad("is relative: must be an absolute path in a file")
		}
		abs, err := env.absolute(text)
		if err != nil {
			return bad("%v", err)
		}
		g.texts = []string{abs}
	}
	if err := k.set(c, g.texts); err != nil {
		return bad("%v: must be %s", err, k.rangeText())
	}
	return nil
}

func (k *Key) defaultFor(p Program, env *environment) (string, error) {
	if text, ok := k.Defaults[p]; ok {
		return text, nil
	}
	if k.compute != nil {
		return k.compute(env)
	}
	return k.Default, nil
}
