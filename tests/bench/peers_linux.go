package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"wolfdisk/tests/cluster"
)

// peerWait bounds every wait for the other side. GlusterFS misses a machine after 42 s.
const peerWait = 100 * time.Second

// peerStep measures some rows of the table.
type peerStep struct {
	keys  []string
	both  bool // there is something to measure only if there is another side
	quick bool // left out for what is slow
	run   func(b *bench, p *peer) error
}

// peerSteps in their order: later ones use what earlier ones made.
var peerSteps = []peerStep{
	{[]string{"untar", "untar-there"}, false, false, (*bench).peerUntar},
	{[]string{"read-cold", "read-warm"}, false, false, (*bench).peerRead},
	{[]string{"create"}, false, true, (*bench).peerCreate},
	{[]string{"write-4k", "write-4k-fsync", "write-1m"}, false, true, (*bench).peerWrites},
	{[]string{"latency"}, true, false, (*bench).peerLatency},
	{[]string{"patch", "patch-bytes"}, true, true, (*bench).peerPatch},
	{[]string{"open"}, true, true, (*bench).peerOpen},
	{[]string{"rename", "rename-bytes"}, true, true, (*bench).peerRename},
	{[]string{"rm", "rm-there"}, false, false, (*bench).peerRemove},
	{[]string{"lost"}, true, false, (*bench).peerKept},
	{[]string{"order"}, true, true, (*bench).peerOrder},
	{[]string{"behind", "cut-read", "cut-write", "split"}, true, false, (*bench).peerCut},
}

// compare measures the table of README.md below a folder and writes it to a JSON file
// and, as markdown, to a file beside it. With a path it also puts it into that document.
func (b *bench) compare(base, bin, out, document string) (err error) {
	if err := buildNet(); err != nil {
		return err
	}
	if b.bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	c := &b.comparison
	c.Machine, c.Began, c.Short, c.Large = b.report.Machine, b.report.Began, b.report.Short, b.sizes.peerFile
	if c.Versions, err = peerVersions(); err != nil {
		return err
	}
	if err := b.packTree(base); err != nil {
		return err
	}
	var errs []error
	for i, s := range peerStarts {
		errs = append(errs, b.comparePeer(s, filepath.Join(base, fmt.Sprint("peer", i))))
	}
	if err := b.writeComparison(out); err != nil {
		return err
	}
	if document != "" && c.complete() {
		errs = append(errs, writeDocument(document, c.markdown()))
	}
	if !c.complete() {
		errs = append(errs, errors.New("not everything could be measured"))
	}
	return errors.Join(errs...)
}

// packTree packs the part of the source tree that is unpacked, and measures it.
func (b *bench) packTree(base string) error {
	if err := b.packPart(base, b.sizes.peerTree); err != nil {
		return err
	}
	r := cluster.Run("tar", "-tvf", b.archive)
	if err := r.OK(); err != nil {
		return err
	}
	files := 0
	for _, line := range strings.Split(r.Stdout, "\n") {
		if f := strings.Fields(line); strings.HasPrefix(line, "-") && len(f) > 2 {
			n, err := strconv.ParseInt(f[2], 10, 64)
			if err != nil {
				return err
			}
			files++
			b.treeBytes += n
		}
	}
	b.comparison.Tree = fmt.Sprintf("%d files of the Go source, %s", files, size(b.treeBytes))
	return nil
}

func (b *bench) writeComparison(out string) error {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	table := b.comparison.markdown()
	fmt.Print(table)
	encoded, err := json.MarshalIndent(b.comparison, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(out, append(encoded, '\n'), 0o644), os.WriteFile(strings.TrimSuffix(out, ".json")+".md", []byte(table), 0o644))
}

func writeDocument(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed, err := replaceTable(string(text), table)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

// comparePeer measures a column. What fails is a cell that says so, and an error.
func (b *bench) comparePeer(s peerStart, base string) (err error) {
	b.note("%s", s.column)
	p, err := s.start(b, s.column, base)
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", s.column, err)
			showLogs(p.logs)
		}
		err = errors.Join(err, p.stop(), killMachines(), cable(true), os.RemoveAll(base))
	}()
	if err != nil {
		return err
	}
	var errs []error
	for _, step := range peerSteps {
		rest := cellFailed
		if step.both && len(p.others) == 0 || step.quick && p.slow {
			rest = cellNone
		} else {
			b.note("%s: %s", s.column, strings.Join(step.keys, ", "))
			if err := step.run(b, p); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", step.keys[0], err))
			} else {
				rest = cellNone
			}
		}
		for _, key := range step.keys {
			if b.comparison.Cells[p.name][key] == "" {
				b.comparison.set(p.name, key, rest)
			}
		}
	}
	return errors.Join(errs...)
}

func showLogs(paths []string) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		fmt.Fprintf(os.Stderr, "--- end of %s\n%s\n", path, text[max(0, len(text)-3000):])
	}
}

// peerVersions are the other programs' names and versions.
func peerVersions() (versions []string, err error) {
	for _, name := range []string{"lsyncd", "rsync", "glusterfs-server"} {
		r := cluster.Run("dpkg-query", "-W", "-f", "${Package} ${Version}", name)
		if err := r.OK(); err != nil {
			return nil, err
		}
		versions = append(versions, r.Stdout)
	}
	return versions, nil
}
