package sig

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strings"
	"testing"
	"time"
)

// client signs as the documentation tells clients to, sharing no code with what it
// tests. Paths are escaped and queries encoded by net/url, so they are in the form
// that real clients use.
type client struct {
	access, secret, region string
	now                    time.Time
}

var testNow = time.Date(2026, 11, 28, 6, 30, 0, 0, time.UTC)

func newClient() *client { return &client{"wolfmain", "wolfmainsecret", "us-east-1", testNow} }

func testVerifier() *Verifier {
	return verifierAt(testNow, Key{Access: "wolfmain", Secret: "wolfmainsecret"}, Key{Access: "other", Secret: "othersecret"})
}

func mac(newHash func() hash.Hash, key, text string) string {
	m := hmac.New(newHash, []byte(key))
	io.WriteString(m, text)
	return string(m.Sum(nil))
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }

func shaHex(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

func (c *client) stamp() string { return c.now.UTC().Format("20060102T150405Z") }

func (c *client) scopeText() string { return c.stamp()[:8] + "/" + c.region + "/s3/aws4_request" }

func (c *client) key() string {
	k := "AWS4" + c.secret
	for _, part := range strings.Split(c.scopeText(), "/") {
		k = mac(sha256.New, k, part)
	}
	return k
}

// canonical is the request text over all headers but those left out.
func (c *client) canonical(r *http.Request, payload string, leaveOut []string) (text, names string) {
	headers := map[string]string{"host": r.Host}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	delete(headers, "authorization")
	for _, n := range leaveOut {
		delete(headers, n)
	}
	var list []string
	for n := range headers {
		list = append(list, n)
	}
	sort.Strings(list)
	values := r.URL.Query()
	for _, list := range values {
		sort.Strings(list)
	}
	query := strings.ReplaceAll(values.Encode(), "+", "%20")
	text = r.Method + "\n" + r.URL.EscapedPath() + "\n" + query + "\n"
	for _, n := range list {
		text += n + ":" + strings.Join(strings.Fields(headers[n]), " ") + "\n"
	}
	names = strings.Join(list, ";")
	return text + "\n" + names + "\n" + payload, names
}

func (c *client) signature(text string) string {
	return hexOf(mac(sha256.New, c.key(), "AWS4-HMAC-SHA256\n"+c.stamp()+"\n"+c.scopeText()+"\n"+shaHex(text)))
}

// sign4 signs in the header and returns the signature.
func (c *client) sign4(r *http.Request, payload string, leaveOut ...string) string {
	if r.Header.Get("X-Amz-Date") == "" {
		r.Header.Set("X-Amz-Date", c.stamp())
	}
	r.Header.Set("X-Amz-Content-Sha256", payload)
	text, _ := c.canonical(r, payload, leaveOut)
	_, names := c.canonical(r, payload, leaveOut)
	s := c.signature(text)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.access+"/"+c.scopeText()+", SignedHeaders="+names+", Signature="+s)
	return s
}

// presign4 signs in the URL.
func (c *client) presign4(r *http.Request, expires string, leaveOut ...string) {
	_, names := c.canonical(r, "", leaveOut)
	q := r.URL.Query()
	q.Set("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
	q.Set("X-Amz-Credential", c.access+"/"+c.scopeText())
	q.Set("X-Amz-Date", c.stamp())
	q.Set("X-Amz-Expires", expires)
	q.Set("X-Amz-SignedHeaders", names)
	c.setQuery(r, q)
	text, _ := c.canonical(r, "UNSIGNED-PAYLOAD", leaveOut)
	q.Set("X-Amz-Signature", c.signature(text))
	c.setQuery(r, q)
}

func (c *client) setQuery(r *http.Request, q url.Values) {
	r.URL.RawQuery = q.Encode()
	r.RequestURI = r.URL.RequestURI()
}

// text2 is what version 2 signs, given the resource.
func text2(r *http.Request, date, resource string) string {
	var amz []string
	for n, values := range r.Header {
		if n = strings.ToLower(n); strings.HasPrefix(n, "x-amz-") {
			amz = append(amz, n+":"+strings.Join(values, ",")+"\n")
		}
	}
	sort.Strings(amz)
	return r.Method + "\n" + r.Header.Get("Content-MD5") + "\n" + r.Header.Get("Content-Type") + "\n" + date + "\n" + strings.Join(amz, "") + resource
}

func (c *client) sign2(text string) string {
	return base64.StdEncoding.EncodeToString([]byte(mac(sha1.New, c.secret, text)))
}

func (c *client) presign2(r *http.Request, expires time.Time, resource string) {
	q := r.URL.Query()
	date := fmt.Sprint(expires.Unix())
	q.Set("AWSAccessKeyId", c.access)
	q.Set("Expires", date)
	q.Set("Signature", c.sign2(text2(r, date, resource)))
	c.setQuery(r, q)
}

// chain signs the chunks of a body.
type chain struct {
	c    *client
	prev string
}

func (n *chain) chunk(data string) string {
	n.prev = hexOf(mac(sha256.New, n.c.key(), "AWS4-HMAC-SHA256-PAYLOAD\n"+n.c.stamp()+"\n"+n.c.scopeText()+"\n"+n.prev+"\n"+shaHex("")+"\n"+shaHex(data)))
	return fmt.Sprintf("%x;chunk-signature=%s\r\n", len(data), n.prev)
}

func (n *chain) trailer(line string) string {
	if line != "" {
		line += "\n"
	}
	return "x-amz-trailer-signature:" + hexOf(mac(sha256.New, n.c.key(), "AWS4-HMAC-SHA256-TRAILER\n"+n.c.stamp()+"\n"+n.c.scopeText()+"\n"+n.prev+"\n"+shaHex(line)))
}

// chunks frames a body in signed chunks, up to the line of the last one.
func (n *chain) chunks(data string, size int) string {
	var b strings.Builder
	for data != "" {
		piece := data[:min(size, len(data))]
		data = data[len(piece):]
		b.WriteString(n.chunk(piece) + piece + "\r\n")
	}
	b.WriteString(n.chunk(""))
	return b.String()
}

// unsignedChunks frames a body, up to the line of the last chunk.
func unsignedChunks(data string, size int) string {
	var b strings.Builder
	for data != "" {
		piece := data[:min(size, len(data))]
		data = data[len(piece):]
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
	}
	b.WriteString("0\r\n")
	return b.String()
}

func setBody(r *http.Request, body string) {
	r.Body = io.NopCloser(strings.NewReader(body))
	r.ContentLength = int64(len(body))
}

func put(body string, headers ...string) *http.Request {
	r := httptest.NewRequest("PUT", "/bucket/key", strings.NewReader(body))
	setHeaders(r, headers...)
	return r
}

// signedStream is an upload in signed chunks. edit changes the framed body; trailer is
// the line that follows, with a signature, if it is not "-".
func signedStream(c *client, data, trailer string, size int, edit func(string) string, headers ...string) *http.Request {
	form := streamingSigned
	if trailer != "-" {
		form = streamingSignedTrailer
	}
	r := put("", append([]string{"Content-Encoding: aws-chunked"}, headers...)...)
	if r.Header.Get("x-amz-decoded-content-length") == "" {
		r.Header.Set("x-amz-decoded-content-length", fmt.Sprint(len(data)))
	}
	n := &chain{c, c.sign4(r, form)}
	body := n.chunks(data, size)
	if trailer != "-" {
		body += trailer + "\r\n" + n.trailer(trailer) + "\r\n"
	}
	body += "\r\n"
	if edit != nil {
		body = edit(body)
	}
	setBody(r, body)
	return r
}

// outcome reads a request's body to the end and returns it, or the code of the error.
func outcome(v *Verifier, r *http.Request) (data, code string, res *Result, e *Error) {
	res, err := v.Verify(r)
	if err != nil {
		return "", err.(*Error).Code, nil, err.(*Error)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err.(*Error).Code, res, err.(*Error)
	}
	return string(b), "", res, nil
}

// expect checks the code of a request's outcome; the empty one is success.
func expect(t *testing.T, name string, v *Verifier, r *http.Request, want string) *Error {
	t.Helper()
	_, code, _, e := outcome(v, r)
	if code != want {
		t.Errorf("%s: %q (%v), want %q", name, code, e, want)
	}
	return e
}
