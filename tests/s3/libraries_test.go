package s3

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// texts are sizes as arguments.
func texts(list []int) (args []string) {
	for _, n := range list {
		args = append(args, fmt.Sprint(n))
	}
	return args
}

func TestGoSDK(t *testing.T) {
	b := newBench(t, "gosdk")
	if out := b.run(append([]string{"gosdk", "@EP"}, texts(sizes())...)...); !strings.Contains(out, "went well") {
		t.Error(out)
	}
}

func TestJavaScriptSDK(t *testing.T) {
	dir := filepath.Join(installed(), "js")
	if _, err := os.Stat(filepath.Join(dir, "node_modules/@aws-sdk/client-s3")); err != nil {
		t.Skip("the AWS SDK for JavaScript is not installed: `make s3-clients` installs it")
	}
	b := newBench(t, "node")
	if out := b.run(append([]string{"node", filepath.Join(dir, "all.mjs")}, texts(sizes())...)...); !strings.Contains(out, "went well") {
		t.Error(out)
	}
}

func TestMC(t *testing.T) {
	b := newBench(t, "mc")
	mc := func(args ...string) string { return b.run(append([]string{"mc", "--quiet"}, args...)...) }
	mc("alias", "set", "w", "@EP", "wolfmain", "wolfmainsecret")
	mc("mb", "w/box")
	for _, n := range sizes() {
		name := fmt.Sprintf("f%d", n)
		want := b.file(name, n)
		mc("cp", name, "w/box/dir/"+name)
		mc("cp", "w/box/dir/"+name, "back")
		b.equal("back", want)
	}
	for i := range 30 {
		b.file(fmt.Sprintf("tree/%d/%d", i%3, i), i*100)
	}
	mc("mirror", "tree", "w/box/tree")
	mc("mirror", "w/box/tree", "back-tree")
	b.run("diff", "-r", "tree", "back-tree")
	mc("stat", "w/box/dir/f1")
	mc("tag", "set", "w/box/dir/f1", "a=1&b=2")
	if out := mc("tag", "list", "w/box/dir/f1"); !strings.Contains(out, "b") {
		t.Errorf("tags: %s", out)
	}
	mc("mv", "w/box/dir/f1", "w/box/moved")
	if out := mc("ls", "--recursive", "w/box"); strings.Count(out, "\n") != 30+len(sizes()) {
		t.Errorf("ls: %s", out)
	}
	mc("rm", "--recursive", "--force", "w/box/dir")
	mc("rb", "--force", "w/box")
}

// A tree of many files goes up, is found to be the same, comes back, and goes.
func TestLargeTree(t *testing.T) {
	if testing.Short() {
		t.Skip("long form only")
	}
	b := newBench(t, "rclone")
	const files = 20000
	for i := range files {
		b.file(fmt.Sprintf("tree/d%02d/e%d/f %d", i%40, i%7, i), i%3000)
	}
	conf := fmt.Sprintf("[w]\ntype = s3\nprovider = Other\nendpoint = %s\nforce_path_style = true\naccess_key_id = wolfmain\nsecret_access_key = wolfmainsecret\n", b.url)
	if err := os.WriteFile(filepath.Join(b.dir, "rclone.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	rclone := func(args ...string) string {
		return b.run(append([]string{"rclone", "--config", "rclone.conf"}, args...)...)
	}
	rclone("mkdir", "w:box")
	rclone("sync", "--transfers", "8", "tree", "w:box/tree")
	rclone("check", "--checkers", "8", "tree", "w:box/tree")
	if out := rclone("sync", "-v", "tree", "w:box/tree"); strings.Contains(out, "Copied") {
		t.Error("a second sync copies")
	}
	if out := rclone("size", "--json", "w:box"); !strings.Contains(out, fmt.Sprintf(`"count":%d`, files)) {
		t.Errorf("size: %s", out)
	}
	rclone("purge", "w:box")
}

// One object of S3's largest size of a single PUT goes up by URL, and comes back.
func TestLargestPut(t *testing.T) {
	if testing.Short() {
		t.Skip("long form only")
	}
	b := newBench(t, "curl")
	b.keys.Store(nil) // curl does not sign; who may do what is tested elsewhere
	b.run("curl", "-sf", "-X", "PUT", "@EP/box")
	full := filepath.Join(b.dir, "large")
	f, err := os.Create(full)
	if err != nil {
		t.Fatal(err)
	}
	const size = 5 << 30
	for off := int64(0); off < size; off += 257 << 20 { // mostly holes, and content in between
		if _, err := f.WriteAt([]byte(block(1<<20, byte(off>>28))), min(off, size-1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.run("curl", "-sf", "-T", "large", "@EP/box/k")
	b.run("curl", "-sf", "-o", "back", "@EP/box/k")
	b.run("cmp", "large", "back")
}
