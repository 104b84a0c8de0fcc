package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"wolfdisk/tests/cluster"
)

const (
	wait = 20 * time.Second
	// total is when a demo that hangs is given up; a good one takes under 30 s.
	total = 100 * time.Second
)

type demo struct {
	*cluster.Cluster
	source string // the tree to unpack
	keep   bool
	began  time.Time
}

func main() {
	cluster.Dispatch(cluster.Helpers(map[string]cluster.Helper{"refused": refused}))
	bin := flag.String("bin", "bin", "folder of the programs")
	source := flag.String("source", "", "source tree to unpack (default: parts of the Go toolchain's)")
	keep := flag.Bool("keep", false, "leave everything running and print the paths")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q\n", flag.Arg(0))
		os.Exit(64)
	}
	os.Exit(run(*bin, *source, *keep))
}

func run(bin, source string, keep bool) int {
	d := &demo{source: source, keep: keep, began: time.Now()}
	if _, err := cluster.CleanStale(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: left over from an earlier run:", err)
		return 1
	}
	bin, err := filepath.Abs(bin)
	if err == nil {
		d.Cluster, err = cluster.New(bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan error, 1)
	go func() { done <- d.play() }()
	select {
	case err = <-done:
	case sig := <-signals:
		err = fmt.Errorf("stopped by %v", sig)
	case <-time.After(total):
		err = fmt.Errorf("not done after %v", total)
	}
	return d.end(err)
}

// end removes everything, unless it is to be kept, and says how it went.
func (d *demo) end(err error) int {
	if err != nil {
		for _, n := range d.Nodes() {
			fmt.Fprintln(os.Stderr, n.LogTail())
		}
	}
	if err == nil && d.keep {
		err = d.leave()
		if err == nil {
			fmt.Printf("PASS after %.1f s\n", time.Since(d.began).Seconds())
			return 0
		}
	}
	if err2 := d.Close(); err2 != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", err2))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		fmt.Printf("FAIL after %.1f s\n", time.Since(d.began).Seconds())
		return 1
	}
	fmt.Printf("PASS after %.1f s, nothing left behind\n", time.Since(d.began).Seconds())
	return 0
}

// say prints a line with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Printf("%5.1f s  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// play is the demo.
func (d *demo) play() error {
	for _, act := range []struct {
		what string
		do   func() error
	}{
		{"start the daemons", d.start},
		{"unpack a source tree", d.unpack},
		{"compare the trees", d.compare},
		{"change the follower", d.readOnly},
		{"kill the follower", d.killFollower},
		{"kill the leader", d.killLeader},
		{"stop", d.stop},
	} {
		if err := act.do(); err != nil {
			return fmt.Errorf("%s: %w", act.what, err)
		}
	}
	return nil
}

// leave starts both daemons again, without the proxies, which end with this process.
func (d *demo) leave() error {
	if err := d.Keep(); err != nil {
		return err
	}
	for _, n := range d.Nodes() {
		n.Detach, n.Advertise, n.Connect = true, n.Addr, nil
		if !n.Leader {
			n.Connect = []string{d.Leader.Addr}
		}
		if err := n.Start(); err != nil {
			return err
		}
	}
	for _, n := range d.Nodes() {
		if err := n.WaitReady(wait); err != nil {
			return err
		}
	}
	fmt.Println("\nLeft running:")
	for _, n := range d.Nodes() {
		fmt.Printf("  %-8s %s\n           state %s, log %s, process %d\n", n.ID, n.Mount, n.State, filepath.Join(d.Dir, n.ID+".log"), n.Proc().Pid())
	}
	ctl := filepath.Join(d.Bin, "wolfdiskctl")
	fmt.Printf("Look:  %s --state-dir %s status\n", ctl, d.Leader.State)
	fmt.Printf("Stop:  %s --state-dir %s stop; %s --state-dir %s stop; rm -r %s\n\n", ctl, d.Followers[0].State, ctl, d.Leader.State, d.Dir)
	return nil
}
