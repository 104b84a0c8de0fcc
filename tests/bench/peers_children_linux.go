package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// peerChildren are what touches the mounts of the programs compared.
var peerChildren = map[string]cluster.Helper{
	"peer-arrived": arrivedChild,
	"peer-read":    readChild,
	"peer-create":  createForChild,
	"peer-latency": latencyChild,
	"peer-patch":   patchChild,
	"peer-open":    openChild,
	"peer-order":   orderChild,
	"peer-make":    keptMakeChild,
	"peer-kept":    keptChild,
	"peer-stream":  streamChild,
	"peer-probe":   probeChild,
	"peer-names":   namesChild,
	"peer-content": contentChild,
}

// need checks how many arguments there are, at least.
func need(args []string, count int) error {
	if len(args) < count {
		return fmt.Errorf("%d arguments, want %d: %q", len(args), count, args)
	}
	return nil
}

// listing is every name below a folder with its type, and size and time of files.
func listing(dir string) (map[string]string, error) {
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir || strings.HasSuffix(path, "/.wolfdisk") {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := d.Type().String()
		if info.Mode().IsRegular() {
			text = fmt.Sprintf("%d %d", info.Size(), info.ModTime().Unix())
		}
		all[path[len(dir):]] = text
		return nil
	})
	return all, err
}

// arrivedChild waits for NAME of DIR on every OTHER and prints how long the last took.
func arrivedChild(args []string) error {
	if err := need(args, 3); err != nil {
		return err
	}
	began := time.Now()
	var want map[string]string
	var wantErr error
	known := make(chan struct{})
	go func() {
		want, wantErr = listing(filepath.Join(args[1], args[0]))
		close(known)
	}()
	latest := 0.0
	for _, other := range args[2:] {
		v, err := firstEqual(filepath.Join(other, args[0]), began, known, func(got map[string]string) bool { return maps.Equal(got, want) })
		if err := errors.Join(wantErr, err); err != nil {
			return err
		}
		latest = max(latest, v)
	}
	fmt.Println(latest)
	return nil
}

// firstEqual looks at a folder until it is as it should be. What counts is when the look
// began that saw it, even if what should be became known only later: the writer's side
// may take long to list.
func firstEqual(dir string, began time.Time, known <-chan struct{}, equal func(map[string]string) bool) (float64, error) {
	type look struct {
		at  float64
		got map[string]string
	}
	var looks []look // each other than the one before
	for {
		at := time.Since(began)
		got, err := listing(dir)
		if err == nil && (len(looks) == 0 || !maps.Equal(got, looks[len(looks)-1].got)) {
			looks = append(looks, look{at.Seconds(), got})
		}
		select {
		case <-known:
			for _, l := range looks {
				if equal(l.got) {
					return l.at, nil
				}
			}
			looks = looks[:0]
		default:
		}
		if at > peerWait {
			return 0, fmt.Errorf("%s is not as on the writer's side after %v: it has %d names: %w", dir, peerWait, len(got), err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// readChild reads every file below DIR.
func readChild(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	began := time.Now()
	err := filepath.WalkDir(args[0], func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	fmt.Println(time.Since(began).Seconds())
	return err
}

// createForChild makes files of 100 bytes in DIR/created for SECONDS.
func createForChild(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	limit, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	dir := filepath.Join(args[0], "created")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	text := bytes.Repeat([]byte("x"), 100)
	count, began := 0, time.Now()
	for ; time.Since(began) < time.Duration(limit)*time.Second; count++ {
		if err := os.WriteFile(fmt.Sprintf("%s/%06d", dir, count), text, 0o644); err != nil {
			return err
		}
	}
	fmt.Println(float64(count) / time.Since(began).Seconds())
	return nil
}

// appeared waits until every folder's file holds the content at the offset.
func appeared(dirs []string, name string, content []byte, offset int64, patience time.Duration) error {
	began, got := time.Now(), make([]byte, len(content))
	for _, dir := range dirs {
		for {
			f, err := os.Open(filepath.Join(dir, name))
			if err == nil {
				var n int
				n, err = f.ReadAt(got, offset)
				f.Close() // only read
				if n == len(got) && bytes.Equal(got, content) {
					break
				}
			}
			if time.Since(began) > patience {
				return fmt.Errorf("%s/%s is not as written after %v: %w", dir, name, patience, err)
			}
			time.Sleep(200 * time.Microsecond)
		}
	}
	return nil
}

// latencyChild makes COUNT files in DIR, one at a time, and prints the median of the
// times until every OTHER has them.
func latencyChild(args []string) error {
	if err := need(args, 3); err != nil {
		return err
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var took []float64
	for i := range count {
		// Never in step with somebody's clock.
		time.Sleep(time.Duration(50+i*37%100) * time.Millisecond)
		name, text := fmt.Sprint("latency-", i), []byte("content\n")
		began := time.Now()
		if err := os.WriteFile(filepath.Join(args[1], name), text, 0o644); err != nil {
			return err
		}
		if err := appeared(args[2:], name, text, 0, peerWait); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
	}
	fmt.Println(median(took))
	return nil
}

// patchChild changes 4 KiB in the middle of FILE of DIR and waits for every OTHER.
func patchChild(args []string) error {
	if err := need(args, 3); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(args[1], args[0]), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	content, offset := bytes.Repeat([]byte("new "), 1024), info.Size()/2
	began := time.Now()
	_, err = f.WriteAt(content, offset)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	err = appeared(args[2:], args[0], content, offset, peerWait)
	fmt.Println(time.Since(began).Seconds())
	return err
}

// openChild writes to a file of DIR that stays open, and prints how long it took until
// every OTHER had it; a negative number if it came only when the file was closed.
func openChild(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(args[0], "open"))
	if err != nil {
		return err
	}
	first, content := []byte("first\n"), bytes.Repeat([]byte("text"), 1024)
	if _, err := f.Write(first); err != nil {
		return errors.Join(err, f.Close())
	}
	// That the file was made may be seen at once: it is what follows that counts.
	if err := appeared(args[1:], "open", first, 0, peerWait); err != nil {
		return errors.Join(err, f.Close())
	}
	began := time.Now()
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	const patience = 5 * time.Second // longer than the delays with which this is measured
	took := -1.0
	if appeared(args[1:], "open", content, int64(len(first)), patience) == nil {
		took = time.Since(began).Seconds()
	}
	fmt.Println(took)
	if err := f.Close(); err != nil {
		return err
	}
	return appeared(args[1:], "open", content, int64(len(first)), peerWait)
}

// orderChild counts up in pairs of files in DIR, always one of a pair before the other,
// and looks for SECONDS on OTHER whether the second is ever ahead of the first. It prints
// how many states it saw, and how many of them the writer never had.
func orderChild(args []string) error {
	if err := need(args, 3); err != nil {
		return err
	}
	limit, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	names := []string{"order/a", "order/b", "order/z", "order/y"} // first, second, first, second
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() { done <- countUp(args[1], names, &stop) }()
	states, wrong := 0, 0
	var last [4]uint64
	for end := time.Now().Add(time.Duration(limit) * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for i := 0; i < len(names); i += 2 {
			second, err2 := counter(args[2], names[i+1])
			first, err1 := counter(args[2], names[i])
			if err1 != nil || err2 != nil || first == last[i] && second == last[i+1] {
				continue
			}
			last[i], last[i+1] = first, second
			states++
			if first < second {
				wrong++
			}
		}
	}
	stop.Store(true)
	fmt.Println(states, wrong)
	return <-done
}

// countUp writes 1, 2, 3 ... into the files, in their order, and closes them each time:
// there are programs that wait for that.
func countUp(dir string, names []string, stop *atomic.Bool) error {
	for n := uint64(1); !stop.Load(); n++ {
		for _, name := range names {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(binary.BigEndian.AppendUint64(nil, n), 0)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func counter(dir, name string) (uint64, error) {
	fd, err := unix.Open(filepath.Join(dir, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var b [8]byte
	if n, err := unix.Pread(fd, b[:], 0); err != nil || n != len(b) {
		return 0, fmt.Errorf("%s/%s: %d bytes, %w", dir, name, n, err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}
