package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"wolfdisk/tests/cluster"
)

// set fills a cell of the peer's column.
func (b *bench) set(p *peer, key, format string, args ...any) {
	b.comparison.set(p.name, key, fmt.Sprintf(format, args...))
}

// seconds says how long something took.
func seconds(v float64) string {
	switch {
	case v < 0.001:
		return "< 1 ms"
	case v < 0.01:
		return fmt.Sprintf("%.1f ms", v*1000)
	case v < 1:
		return fmt.Sprintf("%.0f ms", v*1000)
	case v < 20:
		return fmt.Sprintf("%.1f s", v)
	}
	return fmt.Sprintf("%.0f s", v)
}

// size says how many bytes something is.
func size(v int64) string {
	if v < 1<<20 {
		return fmt.Sprintf("%.3g KiB", float64(v)/(1<<10))
	}
	return fmt.Sprintf("%.3g MiB", float64(v)/(1<<20))
}

// child runs a helper that prints one number.
func child(name string, args ...string) (v float64, err error) {
	r := cluster.RunHelper(peerWait+20*time.Second, name, args...)
	if err := r.OK(); err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(r.Stdout), 64)
}

// arrived waits until the other sides have what the writer has below a name, and returns
// how many seconds it took.
func (p *peer) arrived(name string) (float64, error) {
	if len(p.others) == 0 {
		return 0, nil
	}
	return child("peer-arrived", append([]string{name, p.dir}, p.others...)...)
}

// shell runs a script in the writer's folder and returns how long it took.
func (p *peer) shell(script string) (float64, error) {
	r := cluster.Shell(p.dir, script, 5*time.Minute)
	return r.Took.Seconds(), r.OK()
}

func (b *bench) peerUntar(p *peer) error {
	took, err := p.shell("mkdir tree; exec tar -C tree -xf '" + b.archive + "'")
	if err != nil {
		return err
	}
	there, err := p.arrived("tree")
	if err != nil {
		return err
	}
	b.set(p, "untar", "%s", seconds(took))
	if len(p.others) > 0 {
		b.set(p, "untar-there", "%s", seconds(there))
	}
	return nil
}

// peerRead reads on the other side; without one, on the only one.
func (b *bench) peerRead(p *peer) error {
	dir := p.dir
	if len(p.others) > 0 {
		dir = p.others[0]
	}
	if err := cluster.Run("sync").OK(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return err
	}
	for _, key := range []string{"read-cold", "read-warm"} {
		took, err := child("peer-read", filepath.Join(dir, "tree"))
		if err != nil {
			return err
		}
		b.set(p, key, "%s", seconds(took))
	}
	return nil
}

func (b *bench) peerCreate(p *peer) error {
	rate, err := child("peer-create", p.dir, strconv.Itoa(b.sizes.peerSeconds))
	if err != nil {
		return err
	}
	b.set(p, "create", "%s/s", number(rate, true))
	if _, err := p.arrived("created"); err != nil {
		return err
	}
	if _, err := p.shell("rm -rf created"); err != nil {
		return err
	}
	_, err = p.arrived(".")
	return err
}

// peerWrites takes the median of some short runs.
func (b *bench) peerWrites(p *peer) error {
	runtime := "--runtime=" + strconv.Itoa(b.sizes.peerSeconds)
	for _, w := range []struct {
		key, figure, unit string
		args              []string
	}{
		{"write-4k", "iops", "/s", []string{"--rw=randwrite", "--bs=4k", "--size=" + b.sizes.peerSmall, "--overwrite=1", "--time_based", runtime}},
		{"write-4k-fsync", "iops", "/s", []string{"--rw=randwrite", "--bs=4k", "--size=" + b.sizes.peerSmall, "--overwrite=1", "--fsync=1", "--time_based", runtime}},
		{"write-1m", "bw", " MB/s", []string{"--rw=write", "--bs=1m", "--size=" + b.sizes.peerFile, "--end_fsync=1"}},
	} {
		var runs []float64
		for range b.sizes.peerRounds {
			if _, err := p.shell("mkdir fio"); err != nil {
				return err
			}
			v, err := b.fio(filepath.Join(p.dir, "fio"), "write", w.figure, w.args...)
			if err != nil {
				return err
			}
			runs = append(runs, v)
			if _, err := p.shell("rm -r fio"); err != nil {
				return err
			}
			if _, err := p.arrived("."); err != nil {
				return err
			}
		}
		b.set(p, w.key, "%s%s", number(median(runs), true), w.unit)
	}
	return nil
}

func (b *bench) peerLatency(p *peer) error {
	count := "15"
	if p.slow {
		count = "1"
	}
	v, err := child("peer-latency", append([]string{count, p.dir}, p.others...)...)
	if err != nil {
		return err
	}
	b.set(p, "latency", "%s", seconds(v))
	return nil
}

// quietLine waits until the cable rests, and returns what went through it so far.
func quietLine() (int64, error) {
	last, err := sentBytes()
	for still, deadline := 0, time.Now().Add(20*time.Second); err == nil && still < 3 && time.Now().Before(deadline); {
		time.Sleep(300 * time.Millisecond)
		var now int64
		now, err = sentBytes()
		still++
		if now-last > 4096 { // more than two that ask each other for signs of life
			still = 0
		}
		last = now
	}
	return last, err
}

// sent measures what goes through the cable while something is done.
func sent(do func() (float64, error)) (took float64, bytes int64, err error) {
	before, err := quietLine()
	if err != nil {
		return 0, 0, err
	}
	if took, err = do(); err != nil {
		return 0, 0, err
	}
	after, err := quietLine()
	return took, after - before, err
}

func (b *bench) peerPatch(p *peer) error {
	if _, err := p.shell("mkdir large; head -c " + b.sizes.peerFile + " /dev/urandom >large/file"); err != nil {
		return err
	}
	if _, err := p.arrived("large"); err != nil {
		return err
	}
	took, bytes, err := sent(func() (float64, error) {
		return child("peer-patch", append([]string{"large/file", p.dir}, p.others...)...)
	})
	if err != nil {
		return err
	}
	b.set(p, "patch", "%s", seconds(took))
	b.set(p, "patch-bytes", "%s", size(bytes))
	_, err = p.shell("rm -r large")
	return err
}

// peerOpen writes to a file and leaves it open, as databases and logs do.
func (b *bench) peerOpen(p *peer) error {
	v, err := child("peer-open", append([]string{p.dir}, p.others...)...)
	if err != nil {
		return err
	}
	if v < 0 {
		b.set(p, "open", "not before it is closed")
	} else {
		b.set(p, "open", "%s", seconds(v))
	}
	return nil
}

func (b *bench) peerRename(p *peer) error {
	if _, err := p.arrived("."); err != nil {
		return err
	}
	took, bytes, err := sent(func() (float64, error) {
		if _, err := p.shell("mv tree moved"); err != nil {
			return 0, err
		}
		return p.arrived(".")
	})
	if err != nil {
		return err
	}
	how := "a rename"
	if bytes > b.treeBytes/10 {
		how = "a copy"
	}
	b.set(p, "rename", "%s", seconds(took))
	b.set(p, "rename-bytes", "%s: %s", size(bytes), how)
	_, err = p.shell("mv moved tree")
	return err
}

func (b *bench) peerRemove(p *peer) error {
	if _, err := p.arrived("."); err != nil {
		return err
	}
	took, err := p.shell("exec rm -rf tree")
	if err != nil {
		return err
	}
	there, err := p.arrived(".")
	if err != nil {
		return err
	}
	b.set(p, "rm", "%s", seconds(took))
	if len(p.others) > 0 {
		b.set(p, "rm-there", "%s", seconds(there))
	}
	return nil
}
