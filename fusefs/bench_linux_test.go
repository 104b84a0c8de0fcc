package fusefs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Benchmarks drive a mount from an agent.

func benchAgent(b *testing.B, op string) {
	for _, d := range []string{DriverBazil, DriverGofuse} {
		b.Run(d, func(b *testing.B) { benchOver(b, d, op) })
	}
}

func benchOver(b *testing.B, driver, op string) {
	h := newHub()
	r := mountHub(b, h, Options{Driver: driver})
	a := startAgent(b, r.dir, 0)
	start := time.Now()
	b.ResetTimer()
	got := a.do(cmd{Op: op, Path: ".", Len: int64(b.N)})
	b.StopTimer()
	if got.N != 0 {
		b.Fatalf("%s: %d", op, got.N)
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "ops/s")
	b.Log(r.srv.Stats().Requests)
	var total uint64
	for _, n := range r.srv.Stats().Requests {
		total += n
	}
	b.ReportMetric(float64(total)/float64(b.N), "requests/op")
}

func BenchmarkWrite4K(b *testing.B) { benchAgent(b, "bench-write") }
func BenchmarkCreate(b *testing.B)  { benchAgent(b, "bench-create") }
func BenchmarkStat(b *testing.B)    { benchAgent(b, "bench-stat") }

func bench(c *cmd) error {
	switch c.Op {
	case "bench-write":
		fd, err := unix.Open(filepath.Join(c.Path, "f"), unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		buf := make([]byte, 4096)
		for i := range c.Len {
			if _, err := unix.Pwrite(fd, buf, i%16384*4096); err != nil {
				return err
			}
		}
	case "bench-create":
		buf := make([]byte, 2000)
		for i := range c.Len {
			dir := filepath.Join(c.Path, fmt.Sprint("d", i/100))
			if i%100 == 0 {
				if err := os.Mkdir(dir, 0o755); err != nil {
					return err
				}
			}
			name := filepath.Join(dir, fmt.Sprint("f", i))
			fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			if _, err := unix.Write(fd, buf); err != nil {
				return err
			}
			ts := []unix.Timespec{{Sec: 1}, {Sec: 2}}
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, 0); err != nil {
				return err
			}
			unix.Close(fd)
		}
	case "bench-stat":
		for i := range c.Len {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(c.Path, fmt.Sprint("no", i)), &st); err != unix.ENOENT {
				return fmt.Errorf("stat: %v", err)
			}
		}
	}
	return nil
}
