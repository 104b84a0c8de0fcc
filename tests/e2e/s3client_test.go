//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

const (
	s3Access = "wolfmain"
	s3Secret = "wolfmainsecret"
)

// s3Client speaks S3 with one node, and signs as the documentation tells clients to.
type s3Client struct {
	t              *testing.T
	addr           string
	access, secret string
	http           *http.Client
}

// serveS3 has a node serve S3 from its next start on.
func (b *bed) serveS3(n *cluster.Node) *s3Client {
	b.t.Helper()
	addr, err := cluster.FreeAddr()
	b.must(err)
	file := filepath.Join(b.Dir, "s3.secret")
	b.must(os.WriteFile(file, []byte(s3Secret+"\n"), 0o600))
	n.Env = append(n.Env, "WOLFDISK_S3_ENABLED=true", "WOLFDISK_S3_BIND="+addr, "WOLFDISK_S3_ACCESS_KEY="+s3Access, "WOLFDISK_S3_SECRET_KEY_FILE="+file)
	return newS3Client(b.t, addr)
}

func newS3Client(t *testing.T, addr string) *s3Client {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, ExpectContinueTimeout: 20 * time.Second}
	t.Cleanup(tr.CloseIdleConnections)
	return &s3Client{t: t, addr: addr, access: s3Access, secret: s3Secret, http: &http.Client{Transport: tr, Timeout: 2 * time.Minute}}
}

// s3Answer is an answer with its body.
type s3Answer struct {
	status int
	header http.Header
	body   string
}

func (a *s3Answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func macOf(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	io.WriteString(m, text)
	return m.Sum(nil)
}

func shaOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func (c *s3Client) scope(stamp string) string { return stamp[:8] + "/us-east-1/s3/aws4_request" }

func (c *s3Client) signature(stamp, text string) string {
	key := []byte("AWS4" + c.secret)
	for part := range strings.SplitSeq(c.scope(stamp), "/") {
		key = macOf(key, part)
	}
	return hex.EncodeToString(macOf(key, text))
}

// request makes a request of headers "name: value"; path has its query.
func (c *s3Client) request(ctx context.Context, method, path string, body io.Reader, headers ...string) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// sign signs in the header, with all headers that are there, and returns stamp and signature.
func (c *s3Client) sign(r *http.Request, payload string) (stamp, signature string) {
	stamp = time.Now().UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("X-Amz-Content-Sha256", payload)
	text, names := canonicalOf(r, payload)
	signature = c.signature(stamp, "AWS4-HMAC-SHA256\n"+stamp+"\n"+c.scope(stamp)+"\n"+shaOf(text))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.access+"/"+c.scope(stamp)+", SignedHeaders="+names+", Signature="+signature)
	return stamp, signature
}

// presign signs in the URL.
func (c *s3Client) presign(method, path string) string {
	r := c.request(context.Background(), method, path, nil)
	stamp := time.Now().UTC().Format("20060102T150405Z")
	q := r.URL.Query()
	for name, v := range map[string]string{"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": c.access + "/" + c.scope(stamp), "X-Amz-Date": stamp,
		"X-Amz-Expires": "300", "X-Amz-SignedHeaders": "host"} {
		q.Set(name, v)
	}
	r.URL.RawQuery = q.Encode()
	text, _ := canonicalOf(r, "UNSIGNED-PAYLOAD")
	q.Set("X-Amz-Signature", c.signature(stamp, "AWS4-HMAC-SHA256\n"+stamp+"\n"+c.scope(stamp)+"\n"+shaOf(text)))
	r.URL.RawQuery = q.Encode()
	return r.URL.String()
}

func canonicalOf(r *http.Request, payload string) (text, names string) {
	headers := map[string]string{"host": r.Host}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	var list []string
	for n := range headers {
		list = append(list, n)
	}
	slices.Sort(list)
	text = r.Method + "\n" + r.URL.EscapedPath() + "\n" + strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20") + "\n"
	for _, n := range list {
		text += n + ":" + strings.TrimSpace(headers[n]) + "\n"
	}
	names = strings.Join(list, ";")
	return text + "\n" + names + "\n" + payload, names
}

// try makes a signed request of any outcome.
func (c *s3Client) try(method, path string, body io.Reader, headers ...string) (*s3Answer, error) {
	c.t.Helper()
	r := c.request(c.t.Context(), method, path, body, headers...)
	c.sign(r, "UNSIGNED-PAYLOAD")
	return c.do(r)
}

func (c *s3Client) do(r *http.Request) (*s3Answer, error) {
	res, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return &s3Answer{res.StatusCode, res.Header, string(b)}, err
}

// send makes a request that has to be answered with a status.
func (c *s3Client) send(want int, method, path, body string, headers ...string) *s3Answer {
	c.t.Helper()
	a, err := c.try(method, path, strings.NewReader(body), headers...)
	if err != nil {
		c.t.Fatalf("%s %s at %s: %v", method, path, c.addr, err)
	}
	if a.status != want {
		c.t.Fatalf("%s %s at %s: %s, want %d", method, path, c.addr, a, want)
	}
	return a
}

// sent makes the request until it is answered with other than 503, as clients do.
func (c *s3Client) sent(want int, method, path, body string, headers ...string) *s3Answer {
	c.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		a, err := c.try(method, path, strings.NewReader(body), headers...)
		if err == nil && a.status != http.StatusServiceUnavailable {
			if a.status != want {
				c.t.Fatalf("%s %s at %s: %s, want %d", method, path, c.addr, a, want)
			}
			return a
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s %s at %s: %v, %v", method, path, c.addr, a, err)
		}
	}
}

func (c *s3Client) code(a *s3Answer) string {
	var e struct{ Code string }
	if err := xml.Unmarshal([]byte(a.body), &e); err != nil {
		c.t.Fatalf("no error document: %s", a)
	}
	return e.Code
}

// stream puts a body in signed chunks, framed by aws-chunked in HTTP chunks, without a length.
func (c *s3Client) stream(path string, body []byte) *s3Answer {
	c.t.Helper()
	r := c.request(c.t.Context(), http.MethodPut, path, nil, "Content-Encoding: aws-chunked", fmt.Sprintf("X-Amz-Decoded-Content-Length: %d", len(body)))
	stamp, prev := c.sign(r, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	var b bytes.Buffer
	for rest, last := body, false; !last; {
		piece := rest[:min(64<<10, len(rest))]
		rest, last = rest[len(piece):], len(piece) == 0
		prev = c.signature(stamp, "AWS4-HMAC-SHA256-PAYLOAD\n"+stamp+"\n"+c.scope(stamp)+"\n"+prev+"\n"+shaOf("")+"\n"+shaOf(string(piece)))
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n%s\r\n", len(piece), prev, piece)
	}
	r.Body, r.ContentLength = io.NopCloser(&b), -1
	a, err := c.do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// startUpload begins an upload in parts.
func (c *s3Client) startUpload(path string) (id string) {
	c.t.Helper()
	var res struct{ UploadId string }
	if err := xml.Unmarshal([]byte(c.send(200, "POST", path+"?uploads=", "").body), &res); err != nil || res.UploadId == "" {
		c.t.Fatalf("no upload: %v", err)
	}
	return url.QueryEscape(res.UploadId)
}

// completion is the document that completes an upload.
func completion(etags ...string) string {
	var b strings.Builder
	b.WriteString("<CompleteMultipartUpload>")
	for i, e := range etags {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, e)
	}
	return b.String() + "</CompleteMultipartUpload>"
}
