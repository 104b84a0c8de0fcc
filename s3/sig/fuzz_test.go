package sig

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// mustRefuse fails if a request that was not signed by somebody with the secret passes.
// The key is none that a seed was signed with.
func mustRefuse(t *testing.T, r *http.Request) {
	v := verifierAt(testNow, Key{Access: "wolfmain", Secret: "a secret that no seed was signed with"})
	res, err := v.Verify(r)
	if err == nil {
		t.Fatalf("passed: %+v", res)
	}
	e, ok := err.(*Error)
	if !ok || e.Code == "" || e.Status < 400 || e.Message == "" {
		t.Fatalf("error %#v", err)
	}
	if strings.Contains(e.Error(), "a secret that") {
		t.Fatal("the secret is told")
	}
}

func FuzzAuthorization(f *testing.F) {
	r := put("", "X-Amz-Acl: private")
	newClient().sign4(r, unsignedPayload)
	f.Add(r.Header.Get("Authorization"), r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Content-Sha256"))
	f.Add("AWS wolfmain:c2lnbmF0dXJl", testNow.Format(time.RFC1123Z), "")
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/20261128/r/s3/aws4_request,SignedHeaders=host,Signature=0", "20261128T063000Z", streamingSigned)
	f.Fuzz(func(t *testing.T, authorization, date, payload string) {
		r := put("")
		r.Header["Authorization"] = []string{authorization}
		r.Header["X-Amz-Date"] = []string{date}
		r.Header["X-Amz-Content-Sha256"] = []string{payload}
		mustRefuse(t, r)
		if _, rest, ok := strings.Cut(authorization, " "); ok {
			a, e := parseHeader4(rest)
			if e == nil && (a.credential.access == "" || len(a.signed) == 0 || a.signature == "") {
				t.Fatalf("%q is read as %+v", rest, a)
			}
		}
	})
}

func FuzzPresigned(f *testing.F) {
	r := httptest.NewRequest("GET", "/b/k?versionId=null", nil)
	newClient().presign4(r, "3600")
	f.Add(r.URL.RawQuery)
	r = httptest.NewRequest("GET", "/b/k?acl", nil)
	newClient().presign2(r, testNow.Add(time.Hour), "/b/k?acl=")
	f.Add(r.URL.RawQuery)
	f.Add("X-Amz-Signature=%zz&&=&;=;")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/b/k", nil)
		r.URL.RawQuery = query
		mustRefuse(t, r)
		params, e := parseQuery(query)
		if e != nil {
			return
		}
		// The canonical form is a fixed point, and means what net/url reads in it.
		canonical := canonicalQuery(params, "")
		again, e := parseQuery(canonical)
		if e != nil || canonicalQuery(again, "") != canonical || len(again) != len(params) && !hasAny(params, "") {
			t.Fatalf("%q: %q, then %q (%v)", query, canonical, canonicalQuery(again, ""), e)
		}
		values, err := url.ParseQuery(canonical)
		if err != nil {
			t.Fatalf("%q: net/url says %v", canonical, err)
		}
		for _, p := range params {
			if !hasValue(values[p.name], p.value) {
				t.Fatalf("%q lost %q=%q", canonical, p.name, p.value)
			}
		}
	})
}

func hasValue(list []string, v string) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// decodeAll runs the decoder over a body whose bytes come as the reader gives them.
func decodeAll(src io.Reader, stated int64, fm form, declared *Algorithm, piece int) (data []byte, sum []byte, code string) {
	c := newChunked(src, stated, fm)
	c.declared = declared
	if fm.signed {
		c.signer = &chunkSigner{key: []byte("k"), date: "d", scope: "s", prev: "p"}
	}
	buf := make([]byte, piece)
	for {
		n, err := c.Read(buf)
		data = append(data, buf[:n]...)
		if err == io.EOF {
			return data, c.trailerSum, ""
		}
		if err != nil {
			return data, nil, readFailed(err).Code
		}
	}
}

// fuzzChain frames data in chunks signed with the key of decodeAll.
func fuzzChain(data, trailer string) string {
	s := &chunkSigner{key: []byte("k"), date: "d", scope: "s", prev: "p"}
	sign := func(piece string) string {
		s.prev = hexHMAC(s.key, algorithm4+"-PAYLOAD\nd\ns\n"+s.prev+"\n"+emptySHA256+"\n"+hexSHA256(piece))
		return ";chunk-signature=" + s.prev + "\r\n"
	}
	body := "5" + sign(data[:5]) + data[:5] + "\r\n" + "0" + sign("")
	if trailer != "" {
		body += trailer + "\r\nx-amz-trailer-signature:" + hexHMAC(s.key, algorithm4+"-TRAILER\nd\ns\n"+s.prev+"\n"+hexSHA256(trailer+"\n")) + "\r\n"
	}
	return body + "\r\n"
}

func FuzzChunked(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n"+crcHelo+"\r\n\r\n"), int64(5), false, true, uint16(3))
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), int64(5), false, false, uint16(1))
	f.Add([]byte(fuzzChain("hello", "")), int64(5), true, false, uint16(7))
	f.Add([]byte(fuzzChain("hello", crcHelo)), int64(5), true, true, uint16(64))
	f.Add([]byte("ffffffffffffffff\r\n"), int64(1)<<62, false, false, uint16(9))
	f.Fuzz(func(t *testing.T, body []byte, stated int64, signed, trailer bool, piece uint16) {
		if stated < 0 {
			stated = 0
		}
		fm := form{framed: true, signed: signed, trailer: trailer}
		var declared *Algorithm
		if trailer {
			declared, _ = FindAlgorithm("CRC64NVME")
		}
		data, sum, code := decodeAll(bytes.NewReader(body), stated, fm, declared, 4096)
		if int64(len(data)) > stated {
			t.Fatalf("%d bytes of %d", len(data), stated)
		}
		if code == "" && trailer && len(sum) != 8 {
			t.Fatalf("done without the trailer")
		}
		for _, split := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			d, s, c := decodeAll(split(bytes.NewReader(body)), stated, fm, declared, int(piece)%5000+1)
			if c != code || code == "" && (!bytes.Equal(d, data) || !bytes.Equal(s, sum)) {
				t.Fatalf("%q, %d bytes at a time: %q %q, as a whole %q %q", body, piece, d, c, data, code)
			}
		}
		// What decodes without signatures decodes to the same as by a plain reading.
		if code == "" && !signed {
			if want, ok := plainDecode(body); !ok || !bytes.Equal(want, data) {
				t.Fatalf("%q: %q, plainly %q", body, data, want)
			}
		}
	})
}

// plainDecode takes chunks from a whole body.
func plainDecode(body []byte) (data []byte, ok bool) {
	for {
		line, rest, found := bytes.Cut(body, []byte("\r\n"))
		if !found {
			return nil, false
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		n := 0
		for _, d := range bytes.ToLower(digits) {
			n = n*16 + strings.IndexByte("0123456789abcdef", d)
		}
		if n == 0 {
			return data, true
		}
		if n < 0 || n+2 > len(rest) {
			return nil, false
		}
		data = append(data, rest[:n]...)
		body = rest[n+2:]
	}
}

func FuzzTrailer(f *testing.F) {
	f.Add(crcHelo+"\r\n\r\n", false)
	f.Add(crcHelo+"\n\r\nx-amz-trailer-signature:"+emptySHA256+"\r\n\r\n", true)
	f.Add(":\r\n\n\n\n", true)
	declared, _ := FindAlgorithm("CRC64NVME")
	f.Fuzz(func(t *testing.T, lines string, signed bool) {
		s := trailerState{signed: signed, verified: true, declared: declared}
		for line := range strings.SplitSeq(lines, "\n") {
			done, e := s.add([]byte(strings.TrimSuffix(line, "\r")))
			if e != nil {
				if e.Code == "" || e.Status != 400 {
					t.Fatalf("error %+v", e)
				}
				return
			}
			if done && (len(s.sum) != 8 || signed && !isSignature([]byte(s.signature)) || s.canonical == "") {
				t.Fatalf("%q is complete: %+v", lines, s)
			}
			if done {
				return
			}
		}
	})
}
