package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tokens is a workload that notes what was acknowledged. Each step makes a file
// with known content and appends a line; some steps also rename, remove or fsync.
// "try" is noted before what changes an older token, "ok" after any success.
type Tokens struct {
	Dir string // on a mount
	ID  string // of this writer; its files lie in Dir/ID
	// Acks is what the writer printed, over all its runs.
	Acks string
	next int
}

// Run writes for a time, or until the mount fails, which it reports as failed.
func (t *Tokens) Run(d time.Duration) (failed string, err error) {
	return t.run(d, 1<<30)
}

// RunSteps writes a number of steps.
func (t *Tokens) RunSteps(steps int, timeout time.Duration) (failed string, err error) {
	return t.run(timeout, steps)
}

func (t *Tokens) run(d time.Duration, steps int) (failed string, err error) {
	r := RunHelper(d+30*time.Second, "tokens", t.Dir, t.ID, strconv.Itoa(t.next), strconv.Itoa(steps), d.String())
	t.Acks += r.Stdout
	if err := r.OK(); err != nil {
		return "", err
	}
	for _, line := range strings.Split(r.Stdout, "\n") {
		if what, ok := strings.CutPrefix(line, "failed "); ok {
			failed = what
		}
		if n, ok := strings.CutPrefix(line, "begin "); ok {
			if t.next, err = strconv.Atoi(n); err != nil {
				return "", fmt.Errorf("tokens: %q: %w", line, err)
			}
			t.next++
		}
	}
	return failed, nil
}

// Count is how many steps were acknowledged.
func (t *Tokens) Count() int { return strings.Count(t.Acks, "ok file ") }

// Check reads everything that was acknowledged from a mount (the leader's or a
// follower's) and fails on what is missing or not as it was written.
func (t *Tokens) Check(dir string) error {
	cmd := HelperCmd(2*time.Minute, "checktokens", dir, t.ID)
	cmd.Stdin = t.Acks + "\n"
	return cmd.Run().OK()
}

func tokenText(id string, i int) string {
	return fmt.Sprintf("%s %d %s\n", id, i, strings.Repeat(strconv.Itoa(i), 1+i%200))
}

type tokenWriter struct {
	dir, id string
	log     int
}

// writeTokens is the child: DIR ID FIRST STEPS DURATION.
func writeTokens(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("want DIR ID FIRST STEPS DURATION, got %q", args)
	}
	first, err1 := strconv.Atoi(args[2])
	steps, err2 := strconv.Atoi(args[3])
	d, err3 := time.ParseDuration(args[4])
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	w := &tokenWriter{dir: args[0] + "/" + args[1], id: args[1], log: -1}
	err := w.open()
	until := time.Now().Add(d)
	for i := first; err == nil && i < first+steps && time.Now().Before(until); i++ {
		fmt.Println("begin", i)
		err = w.step(i)
	}
	if err != nil {
		fmt.Println("failed", err)
	}
	return nil
}

func (w *tokenWriter) open() (err error) {
	if err = unix.Mkdir(w.dir, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("mkdir: %w", err)
	}
	w.log, err = unix.Open(w.dir+"/log", unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	return nil
}

func (w *tokenWriter) step(i int) error {
	if err := w.file(i); err != nil {
		return fmt.Errorf("file %d: %w", i, err)
	}
	fmt.Println("ok file", i)
	if err := writeAll(w.log, []byte(strconv.Itoa(i)+"\n")); err != nil {
		return fmt.Errorf("append %d: %w", i, err)
	}
	fmt.Println("ok line", i)
	name := fmt.Sprintf("%s/%d", w.dir, i)
	if i%7 == 3 {
		fmt.Println("try rename", i)
		if err := unix.Rename(name, name+".r"); err != nil {
			return fmt.Errorf("rename %d: %w", i, err)
		}
		fmt.Println("ok rename", i)
	}
	if i%13 == 5 { // never one that is renamed: 13 steps back, unless that was
		return w.remove(i - 13)
	}
	return nil
}

func (w *tokenWriter) file(i int) error {
	fd, err := unix.Open(fmt.Sprintf("%s/%d", w.dir, i), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := writeAll(fd, []byte(tokenText(w.id, i))); err != nil {
		return err
	}
	if i%11 == 0 {
		return unix.Fsync(fd)
	}
	return nil
}

func (w *tokenWriter) remove(i int) error {
	if i < 0 || i%7 == 3 {
		return nil
	}
	fmt.Println("try remove", i)
	err := unix.Unlink(fmt.Sprintf("%s/%d", w.dir, i))
	if err != nil && err != unix.ENOENT { // a step that was never acknowledged
		return fmt.Errorf("remove %d: %w", i, err)
	}
	fmt.Println("ok remove", i)
	return nil
}

func writeAll(fd int, p []byte) error {
	n, err := unix.Write(fd, p)
	if err == nil && n != len(p) {
		err = fmt.Errorf("%d of %d bytes: %w", n, len(p), io.ErrShortWrite)
	}
	return err
}

// tokenFate is what the notes say about one token.
type tokenFate struct {
	file, line           bool
	renameTried, renamed bool
	removeTried, removed bool
}

// checkTokens is the child: DIR ID, with the notes on standard input.
func checkTokens(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want DIR ID, got %q", args)
	}
	dir, id := args[0]+"/"+args[1], args[1]
	fates, err := readFates(os.Stdin)
	if err != nil {
		return err
	}
	var errs []error
	for i, f := range fates {
		errs = append(errs, f.check(dir, id, i))
	}
	errs = append(errs, checkTokenLog(dir+"/log", fates))
	return errors.Join(errs...)
}

func readFates(r io.Reader) (map[int]*tokenFate, error) {
	fates := make(map[int]*tokenFate)
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) != 3 || f[0] != "ok" && f[0] != "try" {
			continue // begin, failed
		}
		i, err := strconv.Atoi(f[2])
		if err != nil {
			return nil, fmt.Errorf("note %q: %w", sc.Text(), err)
		}
		if fates[i] == nil {
			fates[i] = &tokenFate{}
		}
		fates[i].note(f[0] + " " + f[1])
	}
	return fates, sc.Err()
}

func (f *tokenFate) note(what string) {
	switch what {
	case "ok file":
		f.file = true
	case "ok line":
		f.line = true
	case "try rename":
		f.renameTried = true
	case "ok rename":
		f.renamed = true
	case "try remove":
		f.removeTried = true
	case "ok remove":
		f.removed = true
	}
}

func (f *tokenFate) check(dir, id string, i int) error {
	name := fmt.Sprintf("%s/%d", dir, i)
	plain, plainErr := os.ReadFile(name)
	moved, movedErr := os.ReadFile(name + ".r")
	isPlain, isMoved := plainErr == nil, movedErr == nil
	for _, err := range []error{plainErr, movedErr} {
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("token %d: %w", i, err)
		}
	}
	want := tokenText(id, i)
	switch {
	case isPlain && isMoved:
		return fmt.Errorf("token %d: there under its old and its new name", i)
	case f.removed && (isPlain || isMoved):
		return fmt.Errorf("token %d: removed, but there", i)
	case f.renamed && isPlain:
		return fmt.Errorf("token %d: renamed, but there under its old name", i)
	case f.file && !f.removeTried && !isPlain && !isMoved:
		return fmt.Errorf("token %d: acknowledged, but lost", i)
	case isMoved && !f.renameTried:
		return fmt.Errorf("token %d: never renamed, but there under the new name", i)
	case f.file && isPlain && string(plain) != want, isMoved && string(moved) != want:
		return fmt.Errorf("token %d: content %q%q, want %q", i, plain, moved, want)
	}
	return nil
}

// checkTokenLog: every acknowledged line is there once, and all are in order. Lines
// of steps that failed may be there. A writer that was stopped before its first step has none.
func checkTokenLog(path string, fates map[int]*tokenFate) error {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return fmt.Errorf("log: ends in the middle of a line: %q", text[max(0, len(text)-40):])
	}
	seen := make(map[int]bool)
	last := -1
	for line := range strings.Lines(string(text)) {
		i, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return fmt.Errorf("log: line %q", line)
		}
		if i <= last {
			return fmt.Errorf("log: line %d after line %d", i, last)
		}
		last, seen[i] = i, true
	}
	for i, f := range fates {
		if f.line && !seen[i] {
			return fmt.Errorf("log: line %d was acknowledged, but lost", i)
		}
	}
	return nil
}
