package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"wolfdisk/tests/cluster"
)

// s3Loads are the requests that are timed. Counts are of the long form; the short one
// makes a tenth of them.
var s3Loads = []struct {
	name        string
	bytes       int
	count       int
	unit        string
	perSecondOf float64 // what one of the unit is, in bytes; 0: one request
}{
	{"4k", 4 << 10, 2000, "1/s", 0},
	{"1m", 1 << 20, 200, "MB/s", 1e6},
	{"64m", 64 << 20, 20, "MB/s", 1e6},
}

// s3Clients are how many clients ask at once.
var s3Clients = []int{1, 16}

// s3Gateway is one gateway that is measured.
type s3Gateway struct {
	name string
	*s3Client
}

// s3 measures the gateway of a leader with a follower beside versitygw's posix gateway:
// over the mount of that leader, hence the same directory, and over a bare directory of
// the same disk. What versitygw is needed for is left out where it is not installed.
func (b *bench) s3(base, bin string) (err error) {
	p, err := newPair(base, bin, "s3")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.remove()) }()
	secret := filepath.Join(p.dir, "s3.secret")
	if err := os.WriteFile(secret, []byte(s3Secret+"\n"), 0o600); err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	leader := p.Leader
	leader.Env = append(leader.Env, "WOLFDISK_S3_ENABLED=true", "WOLFDISK_S3_BIND="+addr, "WOLFDISK_S3_ACCESS_KEY="+s3Access, "WOLFDISK_S3_SECRET_KEY_FILE="+secret)
	for _, n := range p.Nodes() {
		if err := n.StartReady(copyWait); err != nil {
			return err
		}
	}
	gateways := []s3Gateway{{leaderName(1), newS3Client("http://" + addr)}}
	program, err := exec.LookPath("versitygw")
	if err != nil {
		b.report.Skipped = append(b.report.Skipped, "S3 beside versitygw: it is not installed (make s3-clients does, into dist/s3-clients/bin)")
	} else {
		bare := filepath.Join(p.dir, "bare")
		if err := os.MkdirAll(bare, 0o755); err != nil {
			return err
		}
		for _, g := range []struct{ name, dir string }{{"versitygw on the mount", leader.Mount}, {"versitygw", bare}} {
			url, stop, err := startVersity(p.dir, program, g.name, g.dir)
			if err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
			defer func() { err = errors.Join(err, stop()) }()
			gateways = append(gateways, s3Gateway{g.name, newS3Client(url)})
		}
	}
	for round := range min(b.sizes.rounds, maxCopyRounds) {
		b.note("S3, round %d", round+1)
		for i := range gateways {
			g := gateways[(i+round)%len(gateways)]
			if err := b.s3Round(&g, fmt.Sprintf("round-%d-%d", round, i)); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
			if _, err := p.CatchUp(p.Followers[0], copyWait); err != nil {
				return err
			}
		}
	}
	return nil
}

// s3Round times all loads in a bucket of its own.
func (b *bench) s3Round(g *s3Gateway, bucket string) error {
	part := 1
	if b.report.Short {
		part = 10
	}
	if err := g.do("PUT", "/"+bucket, nil, nil, io.Discard); err != nil {
		return err
	}
	for _, load := range s3Loads {
		body := make([]byte, load.bytes)
		for i := range body {
			body[i] = byte(i * i >> 3)
		}
		count := max(load.count/part, 1)
		for _, clients := range s3Clients {
			for _, method := range []string{"PUT", "GET"} {
				took, err := each(clients, count, func(i int) error {
					path := fmt.Sprintf("/%s/%s-%d/%d", bucket, load.name, clients, i)
					if method == "PUT" {
						return g.do(method, path, nil, body, io.Discard)
					}
					n := &bodyCounter{}
					if err := g.do(method, path, nil, nil, n); err != nil || n.n != int64(load.bytes) {
						return fmt.Errorf("%s: %d bytes came: %w", path, n.n, err)
					}
					return nil
				})
				if err != nil {
					return err
				}
				rate := float64(count) / took.Seconds()
				if load.perSecondOf > 0 {
					rate *= float64(load.bytes) / load.perSecondOf
				}
				b.report.addS3(fmt.Sprintf("%s %s, %d at once", method, load.name, clients), load.unit, g.name, rate)
			}
		}
	}
	keys := 100000 / part
	if err := g.do("PUT", "/"+bucket+"-list", nil, nil, io.Discard); err != nil {
		return err
	}
	if _, err := each(16, keys, func(i int) error {
		return g.do("PUT", fmt.Sprintf("/%s-list/%06d", bucket, i), nil, nil, io.Discard)
	}); err != nil {
		return err
	}
	began := time.Now()
	n, err := g.list(bucket + "-list")
	if err == nil && n != keys {
		err = fmt.Errorf("%d of %d keys are listed", n, keys)
	}
	b.report.addS3(fmt.Sprintf("list of %d keys", keys), "s", g.name, time.Since(began).Seconds())
	return err
}

// bodyCounter counts the bytes of a body.
type bodyCounter struct{ n int64 }

func (c *bodyCounter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// startVersity starts versitygw's posix gateway over a directory, and waits for it.
func startVersity(base, program, name, dir string) (url string, stop func() error, err error) {
	addr, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	p, err := cluster.StartProc(filepath.Join(base, name+".log"), []string{"ROOT_ACCESS_KEY=" + s3Access, "ROOT_SECRET_KEY=" + s3Secret}, false,
		program, "--port", addr, "--quiet", "--keep-alive", "posix", dir)
	if err != nil {
		return "", nil, err
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return "http://" + addr, p.Kill9, nil
		}
		if !p.Running() || time.Now().After(deadline) {
			return "", nil, errors.Join(err, p.Kill9())
		}
	}
}
