//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

func (b *bed) reads(n *cluster.Node, name, want string) {
	b.t.Helper()
	r := b.ok(cluster.Run("cat", filepath.Join(n.Mount, name)))
	if r.Stdout != want {
		b.t.Fatalf("%s at the mount of %s holds %.100q, want %.100q", name, n.ID, r.Stdout, want)
	}
}

// TestS3 puts and gets through a leader and a follower, which forwards what changes something: with
// signatures in header, URL and chunks, which cover host, path and headers.
func TestS3(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	lead, follow := b.serveS3(b.Leader), b.serveS3(b.follower())
	b.must(b.Start(readyTimeout))

	t.Run("leader", func(t *testing.T) {
		b := b.on(t)
		lead.send(200, "PUT", "/photos", "")
		lead.send(200, "PUT", "/photos/2026/a.txt", "by the leader")
		b.reads(b.Leader, "photos/2026/a.txt", "by the leader")
		_, err := b.CatchUp(b.follower(), readyTimeout)
		b.must(err)
		b.reads(b.follower(), "photos/2026/a.txt", "by the leader")
		if a := follow.send(200, "GET", "/photos/2026/a.txt", ""); a.body != "by the leader" {
			t.Fatalf("the follower has %q", a.body)
		}
	})
	t.Run("follower", func(t *testing.T) {
		b := b.on(t)
		for i := range 30 { // at once, each time
			text := fmt.Sprintf("version %d", i)
			put := follow.send(200, "PUT", "/photos/b%20%2B%C3%A4.txt", text, "X-Amz-Meta-Who: me")
			got := follow.send(200, "GET", "/photos/b%20%2B%C3%A4.txt", "")
			if got.body != text || got.header.Get("ETag") != put.header.Get("ETag") || got.header.Get("X-Amz-Meta-Who") != "me" {
				t.Fatalf("after a PUT: %s, %v", got, got.header)
			}
			for name := range put.header {
				if strings.HasPrefix(name, "Wolfdisk") {
					t.Fatalf("the client sees %s", name)
				}
			}
		}
		b.reads(b.Leader, "photos/b +ä.txt", "version 29")
		b.reads(b.follower(), "photos/b +ä.txt", "version 29")
		follow.send(200, "PUT", "/films", "")
		follow.send(200, "PUT", "/films/copy", "", "X-Amz-Copy-Source: /photos/2026/a.txt")
		if a := follow.send(200, "GET", "/films/copy", ""); a.body != "by the leader" {
			t.Fatalf("the copy is %q", a.body)
		}
		follow.send(204, "DELETE", "/films/copy", "")
		follow.send(404, "GET", "/films/copy", "")
		lead.send(404, "GET", "/films/copy", "")
		follow.send(204, "DELETE", "/films", "")
		if a := follow.send(404, "HEAD", "/films", ""); a.body != "" {
			t.Fatal(a)
		}
	})
	t.Run("presigned", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), "PUT", follow.presign("PUT", "/photos/pre signed"), strings.NewReader("from a browser"))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := follow.do(r); err != nil || a.status != 200 {
			t.Fatal(a, err)
		}
		r, _ = http.NewRequestWithContext(t.Context(), "GET", follow.presign("GET", "/photos/pre%20signed"), nil)
		if a, err := follow.do(r); err != nil || a.body != "from a browser" {
			t.Fatal(a, err)
		}
	})
	t.Run("chunks", func(t *testing.T) {
		body := make([]byte, 1<<20+12345)
		rand.New(rand.NewSource(1)).Read(body)
		if a := follow.stream("/photos/stream", body); a.status != 200 {
			t.Fatal(a)
		}
		if a := follow.send(200, "GET", "/photos/stream", ""); a.body != string(body) {
			t.Fatalf("%d bytes differ from what was put", len(a.body))
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, c := range []*s3Client{lead, follow} {
			wrong := *c
			wrong.t, wrong.secret = t, "wrong"
			a, err := wrong.try("PUT", "/photos/wrong", strings.NewReader("x"))
			if err != nil || a.status != 403 || c.code(a) != "SignatureDoesNotMatch" {
				t.Fatal(a, err)
			}
			a, err = c.do(c.request(t.Context(), "PUT", "/photos/wrong", strings.NewReader("x")))
			if err != nil || a.status != 403 || c.code(a) != "AccessDenied" {
				t.Fatal(a, err)
			}
			a, err = c.try("PUT", "/photos/wrong", strings.NewReader("x"), "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==")
			if err != nil || a.status != 400 || c.code(a) != "BadDigest" {
				t.Fatal(a, err)
			}
			c.send(404, "GET", "/photos/wrong", "")
		}
		if a := follow.send(400, "PUT", "/photos/wrong", "x", "Wolfdisk-Anonymous: true"); follow.code(a) != "InvalidRequest" {
			t.Fatal(a)
		}
	})
	t.Run("parts", func(t *testing.T) {
		part := strings.Repeat("0123456789abcdef", 5<<16)
		id := follow.startUpload("/photos/parts")
		one := follow.send(200, "PUT", "/photos/parts?partNumber=1&uploadId="+id, part)
		two := follow.send(200, "PUT", "/photos/parts?partNumber=2&uploadId="+id, "end")
		if a := follow.send(200, "GET", "/photos/parts?uploadId="+id, ""); strings.Count(a.body, "<PartNumber>") != 2 {
			t.Fatal(a)
		}
		follow.send(200, "POST", "/photos/parts?uploadId="+id, completion(one.header.Get("ETag"), two.header.Get("ETag")))
		if a := follow.send(200, "GET", "/photos/parts", ""); a.body != part+"end" {
			t.Fatalf("%d bytes", len(a.body))
		}
	})
	t.Run("races", func(t *testing.T) { s3Races(b.on(t), lead, follow) })
	t.Run("caches", func(t *testing.T) { s3Caches(b.on(t), lead, follow) })
	t.Run("numbers", func(t *testing.T) {
		text, err := b.follower().Get("/metrics")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`wolfdisk_s3_requests_total{operation="PutObject",status="200"}`, "wolfdisk_s3_forwarded_requests_total ", "wolfdisk_s3_received_bytes_total ",
			"wolfdisk_s3_connections "} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("no %s in the metrics", want)
			}
		}
		if s, err := b.follower().Get("/v1/status"); err != nil || !bytes.Contains(s, []byte(follow.addr)) {
			t.Errorf("status does not say where S3 is served: %s, %v", s, err)
		}
	})
	if !t.Failed() {
		b.equal()
	}
}

// s3Races has 32 clients at both nodes put one key under a condition: one of them wins.
func s3Races(b *bed, clients ...*s3Client) {
	race := func(what string, headers func(round int) string) {
		for round := range 3 {
			var won, lost atomic.Int32
			var group sync.WaitGroup
			header := headers(round)
			key := fmt.Sprintf("/photos/race-%d", round)
			for i := range 32 {
				c := clients[i%len(clients)]
				group.Go(func() {
					a, err := c.try("PUT", key, strings.NewReader(fmt.Sprint(what, i)), header)
					switch {
					case err != nil:
						b.t.Error(err)
					case a.status == 200:
						won.Add(1)
					case a.status == 412 || a.status == 409:
						lost.Add(1)
					default:
						b.t.Errorf("%s: %s", what, a)
					}
				})
			}
			group.Wait()
			if won.Load() != 1 || lost.Load() != 31 {
				b.t.Fatalf("%s: %d won, %d lost", what, won.Load(), lost.Load())
			}
		}
	}
	race("none", func(int) string { return "If-None-Match: *" })
	race("match", func(round int) string {
		return "If-Match: " + clients[0].send(200, "HEAD", fmt.Sprintf("/photos/race-%d", round), "").header.Get("ETag")
	})
}

// s3Caches: who reads a file through a mount sees what is put over S3, whatever the kernel had kept.
func s3Caches(b *bed, lead, follow *s3Client) {
	for i, c := range []*s3Client{lead, follow, lead, follow} {
		text := fmt.Sprintf("text %d %s", i, strings.Repeat("x", 100*i))
		c.send(200, "PUT", "/photos/cached", text)
		b.reads(b.Leader, "photos/cached", text)
		_, err := b.CatchUp(b.follower(), readyTimeout)
		b.must(err)
		deadline := time.Now().Add(5 * time.Second)
		for {
			r := b.ok(cluster.Run("cat", filepath.Join(b.follower().Mount, "photos/cached")))
			if r.Stdout == text {
				break
			}
			if time.Now().After(deadline) {
				b.t.Fatalf("the follower's mount shows %.60q, want %.60q", r.Stdout, text)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	b.shell("echo by a mount >photos/cached")
	if a := lead.send(200, "GET", "/photos/cached", ""); a.body != "by a mount\n" {
		b.t.Fatal(a)
	}
}

// peakOf is the most memory a daemon has had, bytes.
func peakOf(b *bed, n *cluster.Node) int64 {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Proc().Pid()))
	b.must(err)
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	b.t.Fatal("no VmHWM")
	return 0
}

// s3Body is an endless body that is never in memory.
type s3Body struct{ at, end int64 }

func (p *s3Body) Read(b []byte) (int, error) {
	n := int(min(int64(len(b)), p.end-p.at))
	if n == 0 {
		return 0, io.EOF
	}
	for i := range n {
		at := p.at + int64(i)
		b[i] = byte(at ^ at>>8 ^ at>>17)
	}
	p.at += int64(n)
	return n, nil
}

// TestS3Large puts 300 MiB through a follower: no daemon holds them in memory.
func TestS3Large(t *testing.T) {
	t.Parallel()
	const size = 300 << 20
	b := newBed(t, "beta")
	b.serveS3(b.Leader)
	follow := b.serveS3(b.follower())
	b.must(b.Start(readyTimeout))
	follow.send(200, "PUT", "/big", "")
	var before []int64
	for _, n := range b.Nodes() {
		before = append(before, peakOf(b, n))
	}
	r := follow.request(t.Context(), "PUT", "/big/object", &s3Body{end: size})
	r.ContentLength = size
	follow.sign(r, "UNSIGNED-PAYLOAD")
	began := time.Now()
	if a, err := follow.do(r); err != nil || a.status != 200 {
		t.Fatal(a, err)
	}
	t.Logf("%d MiB in %v", size>>20, time.Since(began).Round(time.Millisecond))
	for i, n := range b.Nodes() {
		grown := peakOf(b, n) - before[i]
		t.Logf("%s has grown by %d MiB", n.ID, grown>>20)
		if grown > size/2 {
			t.Errorf("%s has grown by %d MiB", n.ID, grown>>20)
		}
	}
	r = follow.request(t.Context(), "GET", "/big/object", nil)
	follow.sign(r, "UNSIGNED-PAYLOAD")
	res, err := follow.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, want := make([]byte, 1<<20), make([]byte, 1<<20)
	for p := (&s3Body{end: size}); p.at < size; {
		if _, err := io.ReadFull(res.Body, got); err != nil {
			t.Fatalf("at %d: %v", p.at, err)
		}
		if p.Read(want); !bytes.Equal(got, want) {
			t.Fatalf("differs before %d", p.at)
		}
	}
}

// TestS3Failover kills the leader in the middle of an upload in parts. The follower that has taken
// the parts goes on with the next leader: a change that comes while nobody leads waits for it.
func TestS3Failover(t *testing.T) {
	t.Parallel()
	b := newTrio(t)
	beta, gamma := b.Followers[0], b.Followers[1]
	b.serveS3(b.Leader)
	second, third := b.serveS3(beta), b.serveS3(gamma)
	b.must(b.Start(readyTimeout))
	third.send(200, "PUT", "/work", "")
	part := strings.Repeat("0123456789abcdef", 5<<16)
	id := third.startUpload("/work/object")
	one := third.send(200, "PUT", "/work/object?partNumber=1&uploadId="+id, part)
	b.must(b.waitSame(beta, gamma))
	was, err := b.Leader.Status()
	b.must(err)
	slow := third.putSlowly("/work/slow")
	_, err = b.Leader.WaitStatus(readyTimeout, "storing the body", func(s cluster.Status) bool { return s.Position.Version >= was.Position.Version+3 })
	b.must(err)
	b.must(b.Leader.Kill9())
	began := time.Now()
	// What is asked now waits: nobody is told of the failover.
	two := third.send(200, "PUT", "/work/object?partNumber=2&uploadId="+id, "end")
	t.Logf("a part that came when the leader was dead took %v", time.Since(began).Round(time.Millisecond))
	second.sent(200, "POST", "/work/object?uploadId="+id, completion(one.header.Get("ETag"), two.header.Get("ETag")))
	if a := second.send(200, "GET", "/work/object", ""); a.body != part+"end" {
		t.Fatalf("%d bytes", len(a.body))
	}
	// What was on its way is to be sent again, and is not there.
	if a := <-slow; a != "503 ServiceUnavailable" {
		t.Fatalf("a PUT that was half-way at the dead leader: %s", a)
	}
	third.send(404, "GET", "/work/slow", "")
	third.sent(200, "PUT", "/work/after", "after")
	if a := third.send(200, "GET", "/work/after", ""); a.body != "after" {
		t.Fatal(a)
	}
	// The leader that returns has all of it, and takes the lead again while clients write.
	b.must(b.Leader.Start())
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				text := fmt.Sprint("text ", i)
				third.sent(200, "PUT", "/work/during", text)
				if a := third.send(200, "GET", "/work/during", ""); a.body != text {
					t.Errorf("after a PUT of %q: %s", text, a)
				}
			}
		}
	})
	b.waitLeads(b.Leader, 30*time.Second)
	time.Sleep(200 * time.Millisecond)
	close(stop)
	group.Wait()
	b.agree(b.Leader.ID, 20*time.Second)
	b.equal()
}

// putSlowly begins a PUT that goes on until it is answered. What comes is the answer's status and code.
func (c *s3Client) putSlowly(path string) <-chan string {
	body, feed := io.Pipe()
	r := c.request(c.t.Context(), "PUT", path, body)
	r.ContentLength = 1 << 30
	c.sign(r, "UNSIGNED-PAYLOAD")
	answered := make(chan string, 1)
	go func() {
		a, err := c.do(r)
		if err != nil {
			answered <- err.Error()
			return
		}
		answered <- fmt.Sprint(a.status, " ", c.code(a))
		feed.CloseWithError(io.ErrClosedPipe)
	}()
	block := make([]byte, 1<<20)
	go func() {
		for range 4 {
			feed.Write(block)
		}
		for {
			if _, err := feed.Write(block[:1<<10]); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return answered
}

// TestS3Paused stops the leader's process without ending it: nothing tells that its connections are
// of no use. A change that it was asked for goes to the next leader.
func TestS3Paused(t *testing.T) {
	t.Parallel()
	b := newTrio(t)
	third := b.serveS3(b.Followers[1])
	for _, n := range b.Nodes() { // the leader serves no clients, but has the keys
		n.Env = append(n.Env, "WOLFDISK_S3_ACCESS_KEY="+s3Access, "WOLFDISK_S3_SECRET_KEY_FILE="+filepath.Join(b.Dir, "s3.secret"))
	}
	b.must(b.Start(readyTimeout))
	third.send(200, "PUT", "/work", "")
	b.must(b.waitSame(b.Followers...))
	b.must(b.Leader.Proc().Signal(syscall.SIGSTOP))
	began := time.Now()
	third.sent(200, "PUT", "/work/object", "text") // a lead that changes hands twice may take it half-way
	t.Logf("took %v", time.Since(began).Round(time.Millisecond))
	if a := third.send(200, "GET", "/work/object", ""); a.body != "text" {
		t.Fatal(a)
	}
	b.must(b.Leader.Proc().Signal(syscall.SIGCONT))
	if testing.Short() {
		return
	}
	b.waitLeads(b.Leader, 30*time.Second)
	b.agree(b.Leader.ID, 20*time.Second)
	b.equal()
}

// waitSame waits until nodes are at one version.
func (b *bed) waitSame(nodes ...*cluster.Node) error {
	var last []uint64
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		last = last[:0]
		for _, n := range append(nodes, b.Leader) {
			s, err := n.Status()
			if err != nil {
				return err
			}
			last = append(last, s.Position.Version)
		}
		if len(slices.Compact(slices.Clone(last))) == 1 {
			return nil
		}
	}
	return fmt.Errorf("they are at %v", last)
}

// TestS3Killed kills the leader in the middle of a PUT: nothing of it is left.
func TestS3Killed(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	lead := b.serveS3(b.Leader)
	b.must(b.Start(readyTimeout))
	lead.send(200, "PUT", "/work", "")
	lead.send(200, "PUT", "/work/object", "before")
	s, err := b.Leader.Status()
	b.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, feed := io.Pipe()
	r := lead.request(ctx, "PUT", "/work/object", body)
	r.ContentLength = 64 << 20
	lead.sign(r, "UNSIGNED-PAYLOAD")
	answered := make(chan string, 1)
	go func() {
		a, err := lead.do(r)
		answered <- fmt.Sprint(a, err)
	}()
	if _, err := io.Copy(feed, &s3Body{end: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	_, err = b.Leader.WaitStatus(readyTimeout, "storing the body", func(now cluster.Status) bool { return now.Position.Version >= s.Position.Version+4 })
	b.must(err)
	b.must(b.Leader.Kill9())
	cancel()
	feed.CloseWithError(io.ErrUnexpectedEOF)
	if a := <-answered; strings.HasPrefix(a, "200") {
		t.Fatal(a)
	}
	b.must(b.Leader.StartReady(readyTimeout))
	lead.send(200, "PUT", "/work/other", "after") // the epoch's first op ends what the last one has left
	now, err := b.Leader.Status()
	b.must(err)
	if now.Files != s.Files+1 || now.Bytes != s.Bytes+5 {
		t.Errorf("%d files of %d bytes are there, before there were %d of %d", now.Files, now.Bytes, s.Files, s.Bytes)
	}
	if a := lead.send(200, "GET", "/work/object", ""); a.body != "before" {
		t.Fatal(a)
	}
	b.must(b.Leader.Stop())
	if left := b.ok(cluster.Run("find", b.Leader.Dir, "-path", "*/.wolfdisk", "-prune", "-o", "-type", "f", "-print")).Stdout; len(strings.Fields(left)) != 2 {
		t.Errorf("left in the directory:\n%s", left)
	}
}

// TestS3Keys reads keys again on SIGHUP, and holds what they allow on both nodes; a leader without
// keys says what is missing.
func TestS3Keys(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	addr, err := cluster.FreeAddr()
	b.must(err)
	file := filepath.Join(b.Dir, "config.toml")
	write := func(text string) {
		b.must(os.WriteFile(file, []byte("[s3]\n"+text), 0o600))
	}
	both := "[[s3.keys]]\naccess_key = \"wolfmain\"\nsecret_key = \"wolfmainsecret\"\n" +
		"[[s3.keys]]\naccess_key = \"reader\"\nsecret_key = \"readersecret\"\nread_only = true\nbuckets = [\"open\"]\n"
	write(both)
	for _, n := range b.Nodes() {
		n.Extra = append(n.Extra, "--config", file)
	}
	b.follower().Env = append(b.follower().Env, "WOLFDISK_S3_ENABLED=true", "WOLFDISK_S3_BIND="+addr)
	b.must(b.Start(readyTimeout)) // the leader serves no clients, and answers what is forwarded
	main := newS3Client(t, addr)
	reader := newS3Client(t, addr)
	reader.access, reader.secret = "reader", "readersecret"
	main.send(200, "PUT", "/open", "")
	main.send(200, "PUT", "/shut", "")
	main.send(200, "PUT", "/open/a", "text")
	reader.send(200, "GET", "/open/a", "")
	reader.send(403, "PUT", "/open/a", "x")
	reader.send(403, "GET", "/shut?list-type=2", "")

	reload := func(n *cluster.Node) {
		count := strings.Count(n.Log(), "read the configuration again")
		b.must(n.Proc().Signal(syscall.SIGHUP))
		for deadline := time.Now().Add(10 * time.Second); strings.Count(n.Log(), "read the configuration again") == count; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not read its configuration again", n.ID)
			}
		}
	}
	write(strings.Replace(both, "readersecret", "othersecret", 1))
	for _, n := range b.Nodes() {
		reload(n)
	}
	reader.send(403, "GET", "/open/a", "")
	reader.secret = "othersecret"
	reader.send(200, "GET", "/open/a", "")
	main.send(200, "PUT", "/open/b", "text")

	write("")
	reload(b.Leader)
	a := main.send(503, "PUT", "/open/c", "x")
	if main.code(a) != "ServiceUnavailable" || !strings.Contains(a.body, "no S3 keys") {
		t.Fatal(a)
	}
	for _, n := range b.Nodes() {
		if !strings.Contains(n.Log(), "WD-1603") {
			t.Errorf("%s does not say that the leader has no keys", n.ID)
		}
	}
	main.send(200, "GET", "/open/a", "")
	write(both)
	reload(b.Leader)
	main.send(200, "PUT", "/open/c", "x")
	if strings.Contains(b.follower().Log(), "WD-1602") {
		t.Error("a file of mode 0600 is said to be readable by others")
	}
	b.must(os.Chmod(file, 0o644))
	reload(b.follower())
	if !strings.Contains(b.follower().Log(), "WD-1602") {
		t.Error("it is not said that others can read the secrets")
	}
}

// TestS3Refused: what does not start.
func TestS3Refused(t *testing.T) {
	b := newBed(t)
	b.Leader.Env = []string{"WOLFDISK_S3_ENABLED=true", "WOLFDISK_S3_BIND=0.0.0.0:0"}
	ends := func(want int, text string) {
		t.Helper()
		b.must(b.Leader.Start())
		code, err := b.Leader.WaitExit(readyTimeout)
		b.must(err)
		if log := b.Leader.LastLog(); code != want || !strings.Contains(log, text) {
			t.Errorf("exit code %d, want %d and %q:\n%s", code, want, text, log)
		}
	}
	ends(78, "can be reached from other machines, and there are no keys")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(err)
	defer busy.Close()
	b.Leader.Env = []string{"WOLFDISK_S3_ENABLED=true", "WOLFDISK_S3_BIND=" + busy.Addr().String()}
	ends(69, "the port is in use: stop what has it, or give another address with [s3] bind")
	b.Leader.Env = []string{"WOLFDISK_S3_ENABLED=true", "WOLFDISK_S3_BIND=127.0.0.1:0", "WOLFDISK_S3_TLS_CERT=/none", "WOLFDISK_S3_TLS_KEY=/none"}
	ends(78, "[s3] tls_cert, tls_key: open /none")
}

// TestS3Anonymous: without keys, on loopback, nobody is asked for one, at a follower, too.
func TestS3Anonymous(t *testing.T) {
	b := newBed(t, "beta")
	addr, err := cluster.FreeAddr()
	b.must(err)
	b.follower().Env = append(b.follower().Env, "WOLFDISK_S3_ENABLED=true", "WOLFDISK_S3_BIND="+addr)
	b.must(b.Start(readyTimeout))
	c := newS3Client(t, addr)
	c.send(200, "PUT", "/any", "") // signed by a key that nobody knows
	r := c.request(t.Context(), "PUT", "/any/a", strings.NewReader("text"))
	if a, err := c.do(r); err != nil || a.status != 200 {
		t.Fatal(a, err)
	}
	b.reads(b.Leader, "any/a", "text")
}
