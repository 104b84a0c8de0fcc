package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"wolfdisk/tests/cluster"
)

type bench struct {
	report      *Report
	sizes       sizes
	archive     string
	convergence map[string][]float64 // by system
	began       time.Time
	onlyCopies  bool
	onlyDuring  bool
	onlyS3      bool
	only        *regexp.Regexp // names of workloads; nil for everything

	bin        string // of the comparison with other programs, as all that follows
	comparison Comparison
	treeBytes  int64 // in the tree that is unpacked
}

func main() {
	helpers := map[string]cluster.Helper{"lag": lagChild, "create": createChild, "during": duringChild}
	maps.Copy(helpers, peerChildren)
	cluster.Dispatch(cluster.Helpers(helpers))
	bin := flag.String("bin", "bin", "folder of the programs")
	overlay := flag.String("overlay", "", "program that lays a FUSE overlay: OVERLAY MOUNTPOINT DIR")
	out := flag.String("json", "bench.json", "file for the report as JSON; a .txt beside it has the text")
	short := flag.Bool("short", false, "one round with small sizes: does it run, not how fast")
	copies := flag.Bool("copies", false, "only adoption and snapshots, against cp and rsync")
	during := flag.Bool("during", false, "only writing while a follower makes a copy, against writing alone")
	s3 := flag.Bool("s3", false, "only the gateway of S3, beside versitygw's")
	compare := flag.String("compare", "", "only the comparison with other programs, below this `FOLDER` (tests/bench/compare.sh)")
	document := flag.String("document", "", "with --compare: put the table into this `FILE`")
	followers := flag.String("followers", "1,2", "how many followers a leader has: a cluster for each number of this `LIST`")
	only := flag.String("only", "", "only the workloads whose names match this `PATTERN`, without the figures that belong to none")
	rounds := flag.Int("rounds", 0, "rounds (default 5, short 1)")
	flag.Parse()
	counts, err := parseFollowers(*followers)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(64)
	}
	b := &bench{sizes: longSizes, began: time.Now(), convergence: map[string][]float64{}}
	if *short {
		b.sizes = shortSizes
	}
	b.onlyCopies, b.onlyDuring, b.onlyS3 = *copies, *during, *s3
	if *only != "" {
		if b.only, err = regexp.Compile(*only); err != nil {
			fmt.Fprintln(os.Stderr, "bench: --only:", err)
			os.Exit(64)
		}
	}
	if *rounds > 0 {
		b.sizes.rounds = *rounds
	}
	b.report = &Report{Machine: machine(), Began: b.began.UTC().Format(time.RFC3339), Short: *short, Rounds: b.sizes.rounds, Followers: counts, Extras: map[string]float64{}}
	if *compare != "" {
		if err := b.compare(*compare, *bin, *out, *document); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	pass, err := b.run(*bin, *overlay, *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !pass {
		os.Exit(1)
	}
}

func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(text), "model name"); ok {
			line, _, _ := strings.Cut(after, "\n")
			model = strings.TrimSpace(strings.TrimLeft(line, "\t :"))
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	return fmt.Sprintf("%d x %s, Linux %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)))
}

func (b *bench) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// run measures and reports. What was measured is reported also when something fails.
func (b *bench) run(bin, overlay, out string) (pass bool, err error) {
	if _, err := cluster.CleanStale(); err != nil {
		return false, err
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return false, err
	}
	base, err := cluster.TempDir()
	if err != nil {
		return false, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- b.measure(base, bin, overlay) }()
	select {
	case err = <-done:
	case sig := <-signals:
		err = fmt.Errorf("stopped by %v", sig)
	}
	err = errors.Join(err, cluster.RemoveTemp(base))
	pass = b.report.judge() && err == nil
	return pass, errors.Join(err, b.write(out))
}

func (b *bench) write(out string) error {
	if err := b.report.writeText(os.Stdout); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	for name, write := range map[string]func(*os.File) error{
		out: func(f *os.File) error { return b.report.writeJSON(f) },
		strings.TrimSuffix(out, ".json") + ".txt": func(f *os.File) error { return b.report.writeText(f) },
	} {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measure(base, bin, overlay string) (err error) {
	if err := b.pack(base); err != nil {
		return err
	}
	if b.onlyCopies {
		return errors.Join(b.copies(base, bin), b.during(base, bin))
	}
	if b.onlyDuring {
		return b.during(base, bin)
	}
	if b.onlyS3 {
		return b.s3(base, bin)
	}
	systems, mirrors, err := startSystems(base, bin, overlay, b.report.Followers)
	defer func() {
		for _, m := range mirrors {
			for _, n := range m.Nodes() {
				if err != nil {
					fmt.Fprintln(os.Stderr, n.LogTail())
				}
			}
		}
		for _, s := range systems {
			err = errors.Join(err, s.stop())
		}
		for _, m := range mirrors {
			err = errors.Join(err, m.Close())
		}
	}()
	if err != nil {
		return err
	}
	s, err := mirrors[0].Leader.Status()
	if err != nil {
		return err
	}
	b.report.Software = s.Software
	for round := range b.sizes.rounds {
		for _, w := range workloads {
			if b.only != nil && !b.only.MatchString(w.name) {
				continue
			}
			b.note("round %d of %d: %s", round+1, b.sizes.rounds, w.name)
			for i := range systems {
				if err := b.once(systems[(i+round)%len(systems)], w); err != nil {
					return err
				}
			}
		}
	}
	if b.only != nil {
		return nil
	}
	for _, m := range mirrors {
		b.extra(m, "convergence_seconds", median(b.convergence[leaderName(m.followers)]))
		if err := b.extras(m); err != nil {
			return fmt.Errorf("%s: %w", leaderName(m.followers), err)
		}
	}
	return errors.Join(b.copies(base, bin), b.during(base, bin), b.s3(base, bin))
}

// once runs a workload in a folder of its own and removes it again, unmeasured.
func (b *bench) once(s *system, w workload) error {
	dir, err := mkdir(s.dir, w.name)
	if err != nil {
		return fmt.Errorf("%s on %s: %w", w.name, s.name, err)
	}
	if err := cluster.Run("sync").OK(); err != nil {
		return err
	}
	v, err := w.run(b, s, w.name)
	if err != nil {
		return fmt.Errorf("%s on %s: %w", w.name, s.name, err)
	}
	b.report.add(w.name, w.unit, s.name, v)
	if err := (cluster.Cmd{Args: []string{"rm", "-r", dir}, Timeout: 5 * time.Minute}).Run().OK(); err != nil {
		return err
	}
	return s.settle()
}

// pack makes the archive that is unpacked: the source tree of the Go toolchain.
func (b *bench) pack(base string) error {
	if b.sizes.wholeTree {
		return b.packPart(base, ".")
	}
	return b.packPart(base, "crypto")
}

func (b *bench) packPart(base, part string) error {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	src, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(out)), "src"))
	if err != nil {
		return err
	}
	b.archive = filepath.Join(base, "source.tar")
	return cluster.Run("tar", "-C", src, "-cf", b.archive, part).OK()
}
