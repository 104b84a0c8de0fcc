package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"wolfdisk/tests/cluster"
)

func (b *bench) peerOrder(p *peer) error {
	if _, err := p.shell("mkdir order; for f in a b z y; do printf '\\0\\0\\0\\0\\0\\0\\0\\0' >order/$f; done"); err != nil {
		return err
	}
	if _, err := p.arrived("order"); err != nil {
		return err
	}
	r := cluster.RunHelper(peerWait, "peer-order", strconv.Itoa(b.sizes.peerOrder), p.dir, p.others[0])
	if err := r.OK(); err != nil {
		return err
	}
	var states, wrong int
	if _, err := fmt.Sscan(r.Stdout, &states, &wrong); err != nil {
		return err
	}
	switch {
	case states < 4:
		return fmt.Errorf("only %d changes came to the other side", states)
	case wrong == 0:
		b.set(p, "order", "yes, %d states seen", states)
	default:
		b.set(p, "order", "no, %d of %d states seen never were", wrong, states)
	}
	_, err := p.arrived("order")
	return err
}

// Contents of the file that both sides change.
const (
	fromWriter = "writer\n"
	fromOther  = "other side\n"
)

// probed is what a side could do while it was cut off.
type probed struct {
	Read, Write float64 // seconds until it worked; negative: it did not
	Why         string  // what writing was answered with last
}

// peerCut pulls the cable of the writer's machine while files are made there: the other
// side sees what it sees when that machine dies. Then it plugs it in again.
func (b *bench) peerCut(p *peer) (err error) {
	if _, err := p.shell("mkdir cut; echo before >cut/shared"); err != nil {
		return err
	}
	if _, err := p.arrived("cut"); err != nil {
		return err
	}
	other := p.others[len(p.others)-1]
	acks := p.dir + ".acks"
	stream := make(chan cluster.Result, 1)
	go func() {
		stream <- cluster.RunHelper(peerWait, "peer-stream", strconv.Itoa(b.sizes.peerStream), p.dir+"/cut", acks)
	}()
	time.Sleep(time.Duration(b.sizes.peerStream)*time.Second - 500*time.Millisecond)
	cutAt := time.Now()
	if err := cable(false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cable(true)) }()
	// Both sides try to work on, at the same time.
	var here, there probed
	writer := make(chan error, 1)
	go func() { writer <- childJSON(&here, "peer-probe", p.dir+"/cut/shared", fromWriter) }()
	err = childJSON(&there, "peer-probe", other+"/cut/shared", fromOther)
	if err := errors.Join(err, <-writer, (<-stream).OK()); err != nil {
		return err
	}
	if err := b.behind(p, other+"/cut", acks, cutAt); err != nil {
		return err
	}
	b.set(p, "cut-read", "%s", probedCell(there.Read, ""))
	b.set(p, "cut-write", "%s", probedCell(there.Write, there.Why))
	if err := cable(true); err != nil {
		return err
	}
	if there.Write < 0 {
		b.set(p, "split", "cannot be")
		return nil
	}
	outcome, err := splitOutcome(p, p.dir+"/cut/shared", other+"/cut/shared")
	b.set(p, "split", "%s", outcome)
	return err
}

func probedCell(v float64, why string) string {
	if v < 0 {
		return strings.TrimSpace("no " + why)
	}
	return seconds(v)
}

// behind counts the files whose making was acknowledged before the cut and that the
// other side does not have.
func (b *bench) behind(p *peer, other, acks string, cutAt time.Time) error {
	text, err := os.ReadFile(acks)
	if err != nil {
		return err
	}
	all, lacking := 0, 0
	var names []string
	for _, line := range strings.Fields(string(text)) {
		name, at, _ := strings.Cut(line, "@")
		nanos, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return err
		}
		if nanos < cutAt.UnixNano() {
			names = append(names, name)
		}
	}
	var has []string
	if err := childJSON(&has, "peer-names", other); err != nil {
		return err
	}
	there := make(map[string]bool)
	for _, name := range has {
		there[name] = true
	}
	for _, name := range names {
		all++
		if !there[name] {
			lacking++
		}
	}
	if all < 10 {
		return fmt.Errorf("only %d files were made before the cut", all)
	}
	b.set(p, "behind", "%d of %d", lacking, all)
	return nil
}

// splitOutcome waits until the sides agree on what became of the file, or until it is
// clear that they do not.
func splitOutcome(p *peer, here, there string) (string, error) {
	outcome := ""
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if p.conflicts != nil {
			if n, err := p.conflicts(); err == nil && n > 0 {
				return "one wins, the other is kept as a conflict", nil
			}
		}
		var a, b content
		if err := errors.Join(childJSON(&a, "peer-content", here), childJSON(&b, "peer-content", there)); err != nil {
			return "", err
		}
		switch {
		case a.Why != "" && b.Why != "":
			return "neither side can read it any more " + a.Why, nil
		case a.Why != "" || b.Why != "":
			outcome = "one side cannot read it any more " + a.Why + b.Why
		case a == b && a.Text == fromWriter:
			return "the other side's change is gone, silently", nil
		case a == b:
			return "the writer's change is gone, silently", nil
		default:
			outcome = "each side keeps its own"
		}
	}
	return outcome, nil
}

// streamChild makes 200 files a second in DIR for SECONDS and notes in ACKS when each
// was acknowledged.
func streamChild(args []string) error {
	if err := need(args, 3); err != nil {
		return err
	}
	limit, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	acks, err := os.Create(args[2])
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for i := 0; time.Since(began) < time.Duration(limit)*time.Second; i++ {
		<-tick.C
		name := fmt.Sprintf("f%05d", i)
		err := os.WriteFile(filepath.Join(args[1], name), []byte("text\n"), 0o644)
		if err != nil && i > 0 && time.Since(began) > time.Duration(limit-1)*time.Second {
			break // refused after the cut: nothing was acknowledged
		}
		if err != nil {
			return errors.Join(err, acks.Close())
		}
		if _, err := fmt.Fprintf(acks, "%s@%d\n", name, time.Now().UnixNano()); err != nil {
			return errors.Join(err, acks.Close())
		}
	}
	return acks.Close()
}

// giveUp is when a side that answers, but refuses to be written to, is believed.
const giveUp = 8 * time.Second

// probeChild tries to read FILE and to write CONTENT into it until both work.
func probeChild(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	began := time.Now()
	out := probed{Read: -1, Write: -1}
	read := make(chan float64, 1)
	go func() {
		for time.Since(began) < peerWait-10*time.Second {
			if _, err := os.ReadFile(args[0]); err == nil {
				read <- time.Since(began).Seconds()
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		read <- -1
	}()
	for {
		err := overwrite(args[0], args[1])
		if err == nil {
			out.Write, out.Why = time.Since(began).Seconds(), ""
			break
		}
		out.Why = errno(err)
		if time.Since(began) > giveUp {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	out.Read = <-read
	return json.NewEncoder(os.Stdout).Encode(out)
}

func overwrite(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}

// errno is the name of what the kernel said.
func errno(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return "(" + no.Error() + ")"
	}
	return "(" + err.Error() + ")"
}

// namesChild prints the names in a folder.
func namesChild(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	entries, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return json.NewEncoder(os.Stdout).Encode(names)
}

// content is what reading a file gives.
type content struct{ Why, Text string }

// contentChild prints what is in a file, or why it cannot be read.
func contentChild(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	text, err := os.ReadFile(args[0])
	c := content{Text: string(text)}
	if err != nil {
		c.Why = errno(err)
	}
	return json.NewEncoder(os.Stdout).Encode(c)
}
