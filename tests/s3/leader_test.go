package s3

import (
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

const part = 5 << 20

func over(t *testing.T, fn func(t *testing.T, r *rig)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { fn(t, newRig(t, kind)) })
	}
}

func etag(content string) string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(content))) }

// Objects, over volumes that keep them: content, metadata, and what becomes of them.
func TestObjects(t *testing.T) {
	over(t, func(t *testing.T, r *rig) {
		r.send(200, "PUT", "/bucket", "")
		body := block(3<<20+11, 7)
		for _, key := range []string{"a", "dir/b", "dir/deep/c"} {
			_, h := r.send(200, "PUT", "/bucket/"+key, body, "x-amz-meta-a: "+strings.Repeat("m", 2000), "Content-Type: text/x")
			if h.Get("ETag") != etag(body) {
				t.Errorf("ETag %s", h.Get("ETag"))
			}
			got, h := r.send(200, "GET", "/bucket/"+key, "")
			if got != body || h.Get("Content-Type") != "text/x" || len(h.Get("x-amz-meta-a")) != 2000 {
				t.Errorf("%d bytes, headers %v", len(got), h)
			}
		}
		if got, _ := r.send(206, "GET", "/bucket/a", "", "Range: bytes=1048570-1048590"); got != body[1048570:1048591] {
			t.Errorf("range: %q", got)
		}
		r.send(200, "PUT", "/bucket/copy", "", "x-amz-copy-source: bucket/a")
		if got, _ := r.send(200, "GET", "/bucket/copy", ""); got != body {
			t.Error("the copy differs")
		}
		doc, _ := r.send(200, "GET", "/bucket?list-type=2&delimiter=/", "")
		if !strings.Contains(doc, "<Key>a</Key>") || !strings.Contains(doc, "<Prefix>dir/</Prefix>") || strings.Contains(doc, "deep") {
			t.Error(doc)
		}
		if r.lower != "" {
			low := filepath.Join(r.lower, "bucket/dir/b")
			if b, err := os.ReadFile(low); err != nil || string(b) != body {
				t.Errorf("the lower file has %d bytes, %v", len(b), err)
			}
			buf := make([]byte, 4096)
			if n, err := unix.Llistxattr(low, buf); err != nil || strings.Contains(string(buf[:n]), "wolfdisk") {
				t.Errorf("attributes of the lower file: %q, %v", buf[:max(0, n)], err)
			}
		}
		// A mount's write takes what was known of the content with it.
		a := r.lookup("bucket/a")
		if _, err := r.lead.Do(t.Context(), &volume.Request{Kind: volume.OpWrite, Caller: volume.Caller{Front: volume.FrontFUSE}, Ino: a.Ino, Data: []byte("new")}); err != nil {
			t.Fatal(err)
		}
		got, h := r.send(200, "GET", "/bucket/a", "")
		if got != "new"+body[3:] || h.Get("ETag") == etag(body) || h.Get("x-amz-meta-a") != "" {
			t.Errorf("after a write: %v", h)
		}
		for _, key := range []string{"a", "copy", "dir/b", "dir/deep/c"} {
			r.send(204, "DELETE", "/bucket/"+key, "")
		}
		if left := r.nameless(); len(left) > 0 {
			t.Errorf("inodes without a name are left: %v", left)
		}
		r.send(204, "DELETE", "/bucket", "")
	})
}

// What was known of objects, and uploads that had begun, are there under the next leader;
// what was staged is not.
func TestNextLeader(t *testing.T) {
	over(t, func(t *testing.T, r *rig) {
		r.send(200, "PUT", "/bucket", "")
		_, h := r.send(200, "PUT", "/bucket/k", "content", "x-amz-meta-a: 1", "x-amz-tagging: t=1")
		tag := h.Get("ETag")
		var up struct{ UploadId string }
		doc, _ := r.send(200, "POST", "/bucket/big?uploads", "")
		r.decode(doc, &up)
		at := "/bucket/big?uploadId=" + up.UploadId
		p1, p2, p3 := block(part, 1), block(part, 2), block(1000, 3)
		r.send(200, "PUT", at+"&partNumber=1", p1)
		r.send(200, "PUT", at+"&partNumber=3", p3)
		// A PUT that is under way when the leader dies.
		staged, err := r.lead.Do(t.Context(), &volume.Request{Kind: volume.OpCreate, Mode: volume.ModeFile | 0o600})
		if err != nil {
			t.Fatal(err)
		}
		r.stop()
		r.start()
		_, h = r.send(200, "HEAD", "/bucket/k", "")
		if h.Get("ETag") != tag || h.Get("x-amz-meta-a") != "1" || h.Get("x-amz-tagging-count") != "1" {
			t.Errorf("under the next leader: %v", h)
		}
		r.send(200, "PUT", at+"&partNumber=2", p2)
		if _, err := r.lead.GetAttr(t.Context(), staged.Attr.Ino); volume.KindOf(err) != volume.Stale {
			t.Errorf("what was staged under the last leader: %v", err)
		}
		list := "<CompleteMultipartUpload>"
		for i, p := range []string{p1, p2, p3} {
			list += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, etag(p))
		}
		list += "</CompleteMultipartUpload>"
		r.send(200, "POST", at, list)
		r.stop()
		r.start()
		// The answer is lost, and the leader, too: the client asks again.
		doc, _ = r.send(200, "POST", at, list)
		got, h := r.send(200, "GET", "/bucket/big", "")
		if got != p1+p2+p3 || !strings.HasSuffix(h.Get("ETag"), `-3"`) || !strings.Contains(doc, strings.Trim(h.Get("ETag"), `"`)) {
			t.Errorf("%d bytes, ETag %s, answer %s", len(got), h.Get("ETag"), doc)
		}
		if n := len(r.nameless()); n != 1 {
			t.Errorf("%d inodes without a name are left, want the ledger", n)
		}
		r.send(204, "DELETE", "/bucket/big", "")
		doc, _ = r.send(200, "POST", "/bucket/gone?uploads", "")
		r.decode(doc, &up)
		r.send(200, "PUT", "/bucket/gone?partNumber=1&uploadId="+up.UploadId, p1)
		r.send(204, "DELETE", "/bucket/gone?uploadId="+up.UploadId, "")
		if n := len(r.nameless()); n != 1 {
			t.Errorf("%d inodes without a name are left after an abort, want the ledger", n)
		}
	})
}

// A completion copies nothing: it is a few ops, whatever the size.
func TestCompleteCopiesNothing(t *testing.T) {
	over(t, func(t *testing.T, r *rig) {
		r.send(200, "PUT", "/bucket", "")
		var up struct{ UploadId string }
		doc, _ := r.send(200, "POST", "/bucket/big?uploads", "")
		r.decode(doc, &up)
		at, list := "/bucket/big?uploadId="+up.UploadId, ""
		for i := range 4 {
			p := block(part, byte(i))
			r.send(200, "PUT", fmt.Sprintf("%s&partNumber=%d", at, i+1), p)
			list += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, etag(p))
		}
		before := r.lead.Position().Version
		r.send(200, "POST", at, "<CompleteMultipartUpload>"+list+"</CompleteMultipartUpload>")
		if n := r.lead.Position().Version - before; n > 5 {
			t.Errorf("completing took %d ops", n)
		}
	})
}
