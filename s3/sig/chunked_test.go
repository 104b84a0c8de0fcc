package sig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	crc7    = "x-amz-checksum-crc64nvme:SmzZ/LTp1CA=" // of abcdefg
	crcHelo = "x-amz-checksum-crc64nvme:M3eFcAZSQlc=" // of hello
)

func letters(n int) string {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

func TestSignedStreams(t *testing.T) {
	for _, size := range []int{0, 1, 8191, 8192, 8193, 65536, 200_000} {
		for _, piece := range []int{8192, 65536, 1 << 20} {
			for _, trailer := range []bool{false, true} {
				data, line := letters(size), "-"
				h, _ := NewHasher("SHA256")
				io.WriteString(h, data)
				sum, _ := h.Checksum("SHA256")
				var headers []string
				if trailer {
					line, headers = "x-amz-checksum-sha256:"+sum.Value, []string{"x-amz-trailer: x-amz-checksum-sha256", "x-amz-sdk-checksum-algorithm: SHA256"}
				}
				got, code, res, e := outcome(testVerifier(), signedStream(newClient(), data, line, piece, nil, headers...))
				if code != "" || got != data || res.Length != int64(size) {
					t.Fatalf("%d bytes by %d, trailer %t: %q %v, %d bytes back", size, piece, trailer, code, e, len(got))
				}
				if trailer != (len(res.Checksums()) == 1 && res.Checksums()[0] == sum) {
					t.Errorf("checksums %v", res.Checksums())
				}
			}
		}
	}
}

func edit(from, to int, by string) func(string) string {
	return func(s string) string { return s[:from] + by + s[to:] }
}

// Every piece of the framing is damaged in turn.
func TestDamagedSignedStream(t *testing.T) {
	for _, row := range []struct {
		from, to int
		by       string
		code     string
	}{
		{0, 2, "j", "IncompleteBody"}, {83, 85, "", "IncompleteBody"}, {83, 85, "dd", "IncompleteBody"}, {103, 105, "", "IncompleteBody"},
		{103, 105, "something invalid", "IncompleteBody"}, {187, 191, "bbbb", "IncompleteBody"}, {190, 191, "s", "IncompleteBody"},
		{2, 3, ":", "IncompleteBody"}, {3, 19, "", "IncompleteBody"}, {19, 24, "", "IncompleteBody"}, {189, 191, "", "IncompleteBody"},
		{191, 191, "x", "IncompleteBody"}, {0, 191, "", "IncompleteBody"}, {90, 191, "", "IncompleteBody"}, {0, 2, "00000000000000012", "IncompleteBody"},
		{0, 2, "ffffffffffffffff", "IncompleteBody"}, {0, 2, "7fffffffffffffff", "IncompleteBody"}, {0, 2, "", "IncompleteBody"},
		{0, 2, "+12", "IncompleteBody"}, {0, 2, "11", "IncompleteBody"}, {0, 2, "13", "IncompleteBody"},
		{85, 86, "#", "SignatureDoesNotMatch"}, {19, 20, "g", "IncompleteBody"},
	} {
		r := signedStream(newClient(), "dummy data paylaod", "-", 8192, edit(row.from, row.to, row.by))
		expect(t, fmt.Sprintf("%d to %d by %q", row.from, row.to, row.by), testVerifier(), r, row.code)
	}
	flip := func(at int) func(string) string {
		return func(s string) string {
			c := "0"
			if s[at] == '0' {
				c = "1"
			}
			return s[:at] + c + s[at+1:]
		}
	}
	expect(t, "signature of the chunk", testVerifier(), signedStream(newClient(), "dummy data paylaod", "-", 8192, flip(30)), "SignatureDoesNotMatch")
	expect(t, "signature of the end", testVerifier(), signedStream(newClient(), "dummy data paylaod", "-", 8192, flip(150)), "SignatureDoesNotMatch")
}

func TestDamagedSignedTrailer(t *testing.T) {
	stream := func(declared, line string, f func(string) string) *http.Request {
		var headers []string
		if declared != "" {
			headers = append(headers, "x-amz-trailer: x-amz-checksum-"+declared)
		}
		return signedStream(newClient(), "abcdefg", line, 8192, f, headers...)
	}
	const sigAt = 240
	for _, row := range []struct {
		name     string
		declared string
		line     string
		edit     func(string) string
		code     string
	}{
		{"right", "crc64nvme", crc7, nil, ""},
		{"empty line before the signature", "crc64nvme", crc7, edit(214, 216, "\n\r\n"), ""},
		{"short line end", "crc64nvme", crc7, edit(214, 216, "\n"), ""},
		{"blanks about the value", "crc64nvme", crc7, edit(202, 202, " "), ""},
		{"capitals", "crc64nvme", crc7, edit(177, 178, "X"), ""},
		{"no trailer at all is signed too", "", "", nil, ""},
		{"another name", "crc64nvme", "x-amz-invalid:invalid", nil, "MalformedTrailerError"},
		{"missing", "crc64nvme", "", nil, "MalformedTrailerError"},
		{"another algorithm", "sha1", "x-amz-checksum-crc32:QWaN2w==", nil, "MalformedTrailerError"},
		{"not declared", "", "x-amz-checksum-crc32:MSpqpg==", nil, "MalformedTrailerError"},
		{"no checksum", "crc32", "x-amz-checksum-crc32:invalid", nil, "InvalidRequest"},
		{"wrong checksum", "crc32", "x-amz-checksum-crc32:NhCmhg==", nil, "BadDigest"},
		{"twice", "crc64nvme", crc7, edit(216, 216, crc7+"\r\n"), "MalformedTrailerError"},
		{"checksum changed", "crc64nvme", crc7, edit(202, 203, "T"), "SignatureDoesNotMatch"},
		{"signature gone", "crc64nvme", crc7, edit(216, 306, ""), "MalformedTrailerError"},
		{"signature of zeros", "crc64nvme", crc7, edit(sigAt, sigAt+64, strings.Repeat("0", 64)), "SignatureDoesNotMatch"},
		{"signature short", "crc64nvme", crc7, edit(sigAt, sigAt+1, ""), "IncompleteBody"},
		{"more behind the signature", "crc64nvme", crc7, edit(306, 306, "a:b\r\n"), "IncompleteBody"},
		{"more behind the end", "crc64nvme", crc7, edit(308, 308, "a:b\r\n"), "IncompleteBody"},
		{"many lines", "crc64nvme", crc7, edit(177, 177, strings.Repeat("\r\n", 9)), "MalformedTrailerError"},
		{"long line", "crc64nvme", crc7, edit(202, 202, strings.Repeat(" ", 2000)), "IncompleteBody"},
		{"very long line", "crc64nvme", crc7, edit(202, 202, strings.Repeat(" ", 200_000)), "IncompleteBody"},
		{"175", "crc64nvme", crc7, edit(175, 176, "k"), "IncompleteBody"},
		{"177", "crc64nvme", crc7, edit(175, 177, "cc"), "IncompleteBody"},
		{"215", "crc64nvme", crc7, edit(215, 216, "bcd"), "IncompleteBody"},
		{"220", "crc64nvme", crc7, edit(220, 223, "invalid"), "IncompleteBody"},
		{"230", "crc64nvme", crc7, edit(230, 235, "abcd"), "IncompleteBody"},
		{"241", "crc64nvme", crc7, edit(241, 245, "abcde"), "IncompleteBody"},
		{"306", "crc64nvme", crc7, edit(306, 308, "pp"), "IncompleteBody"},
		{"304", "crc64nvme", crc7, edit(304, 308, "erty"), "IncompleteBody"},
	} {
		expect(t, row.name, testVerifier(), stream(row.declared, row.line, row.edit), row.code)
	}
}

// The holes of other gateways.
func TestTrailerNeedsTheSecret(t *testing.T) {
	good := newClient()
	evil := newClient()
	evil.secret = "guessed"
	// The request is signed with the right secret, the body with another: a captured
	// header must not carry somebody else's data.
	r := signedStream(good, "abcdefg", crc7, 8192, nil, "x-amz-trailer: x-amz-checksum-crc64nvme")
	seed := r.Header.Get("Authorization")
	seed = seed[strings.LastIndex(seed, "=")+1:]
	n := &chain{evil, seed}
	setBody(r, n.chunks("abcdefg", 8192)+crc7+"\r\n"+n.trailer(crc7)+"\r\n\r\n")
	expect(t, "chunks of another secret", testVerifier(), r, "SignatureDoesNotMatch")

	n = &chain{good, seed}
	body := n.chunks("abcdefg", 8192) + crc7 + "\r\n"
	n.c = evil
	setBody(r, body+n.trailer(crc7)+"\r\n\r\n")
	expect(t, "trailer of another secret", testVerifier(), r, "SignatureDoesNotMatch")

	r = signedStream(evil, "abcdefg", crc7, 8192, nil, "x-amz-trailer: x-amz-checksum-crc64nvme")
	expect(t, "all of another secret", testVerifier(), r, "SignatureDoesNotMatch")

	r = signedStream(good, "abcdefg", crc7, 8192, nil)
	r.Header.Set("x-amz-trailer", "x-amz-checksum-crc64nvme")
	expect(t, "declaration not signed", testVerifier(), r, "AccessDenied")

	// An unsigned form cannot be claimed for a request signed with another one.
	r = signedStream(good, "abcdefg", "-", 8192, nil)
	r.Header.Set("x-amz-content-sha256", streamingUnsigned)
	expect(t, "another form", testVerifier(), r, "SignatureDoesNotMatch")

	// Chunks may not change places, nor be left out.
	data := strings.Repeat("a", 8192) + strings.Repeat("b", 8192)
	line := 4 + 17 + 64 + 2 // size, name, signature, end of line
	swap := func(s string) string {
		one := line + 8192 + 2
		return s[one:2*one] + s[:one] + s[2*one:]
	}
	expect(t, "chunks swapped", testVerifier(), signedStream(good, data, "-", 8192, swap), "SignatureDoesNotMatch")
	cut := func(s string) string { return s[line+8192+2:] }
	expect(t, "first chunk gone", testVerifier(), signedStream(good, data, "-", 8192, cut), "SignatureDoesNotMatch")
}

func unsignedStream(body string, headers ...string) *http.Request {
	r := put(body, append([]string{"Content-Encoding: aws-chunked"}, headers...)...)
	newClient().sign4(r, streamingUnsigned)
	return r
}

func TestUnsignedTrailers(t *testing.T) {
	const declared = "x-amz-trailer: x-amz-checksum-crc64nvme"
	for _, row := range []struct {
		body, length, code string
		headers            []string
	}{
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n\r\n", "5", "", []string{declared}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\n\r\n", "5", "", []string{declared}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\n\n", "5", "", []string{declared}},
		{"5\r\nhello\r\n0\r\n\r\n" + crcHelo + "\r\n\r\n", "5", "", []string{declared}},
		{"5;x=y\r\nhello\r\n0;z\r\n" + crcHelo + "\r\n\r\n", "5", "", []string{declared}},
		{"B\r\nhello world\r\n0\r\n\r\n", "11", "", nil},
		{"0\r\n\r\n", "0", "", nil},
		{"5\r\nhello\r\n0\r\n\r\n", "5", "MalformedTrailerError", []string{declared}},
		{"5\r\nhello\r\n0\r\n:M3eFcAZSQlc=\r\n\r\n", "5", "MalformedTrailerError", []string{declared}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n\r\n", "5", "MalformedTrailerError", nil},
		{"5\r\nhello\r\n0\r\ninvalid_trailer:M3eFcAZSQlc=\r\n\r\n", "5", "MalformedTrailerError", []string{declared}},
		{"5\r\nhello\r\n0\r\nnonsense\r\n\r\n", "5", "MalformedTrailerError", []string{declared}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n" + crcHelo + "\r\n\r\n", "5", "MalformedTrailerError", []string{declared}},
		{"5\r\nhello\r\n0\r\nx-amz-checksum-crc64nvme:invalid_checksum\r\n\r\n", "5", "InvalidRequest", []string{declared}},
		{"5\r\nhello\r\n0\r\nx-amz-checksum-crc64nvme:QFRKMGE3tuw=\r\n\r\n", "5", "BadDigest", []string{declared}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n\r\n", "", "MissingContentLength", []string{declared}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n\r\n", "abc", "MissingContentLength", []string{declared}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n\r\n", "-5", "MissingContentLength", []string{declared}},
		{"5\r\nhello\r\n0\r\n\r\n", "5", "InvalidRequest", []string{"x-amz-trailer: x-amz-checksum-crc16"}},
		{"5\r\nhello\r\n0\r\n\r\n", "5", "InvalidRequest", []string{"x-amz-trailer: content-md5"}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n\r\n", "5", "InvalidRequest", []string{declared, "x-amz-checksum-crc32: NhCmhg=="}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n\r\n", "5", "InvalidRequest", []string{declared, "x-amz-sdk-checksum-algorithm: sha1"}},
		{"5\r\nhello\r\n0\r\n" + crcHelo + "\r\n\r\n", "5", "", []string{declared, "x-amz-sdk-checksum-algorithm: crc64nvme"}},
		{"A\ndummy data\r\n0\r\n\r\n", "10", "IncompleteBody", []string{declared}},
		{"A\r\ndummy data0\r\n\r\n", "10", "IncompleteBody", []string{declared}},
		{"A\r\nXYZ\r\ndummy data\r\n0\r\n\r\n", "10", "IncompleteBody", []string{declared}},
		{"B\r\ndummy data\r\n0\r\n\r\n", "10", "IncompleteBody", []string{declared}},
		{"A\r\ndummy data\r\n0\r\n", "10", "IncompleteBody", []string{declared}},
		{"A\r\ndummy data\r\n0\r\nx-amz-checksum-crc64nvme:dPVWc2vU1+Q=\r\n", "10", "IncompleteBody", []string{declared}},
		{"A\r\n", "10", "IncompleteBody", []string{declared}},
		{"", "10", "IncompleteBody", []string{declared}},
		{"A\r\nA\r\ndummy data\r\n0\r\n\r\n", "10", "IncompleteBody", []string{declared}},
		{"invalid_chunk_size\r\ndummy data\r\n0\r\nx-amz-checksum-crc64nvme:dPVWc2vU1+Q=\r\n\r\n", "10", "IncompleteBody", []string{declared}},
		{"A\r\ndummy data\r\nJ\r\nx-amz-checksum-crc64nvme:dPVWc2vU1+Q=\r\n\r\n", "10", "IncompleteBody", []string{declared}},
		{strings.Repeat("0", 20_000) + "5\r\nhello\r\n0\r\n\r\n", "5", "IncompleteBody", nil},
	} {
		headers := row.headers
		if row.length != "" {
			headers = append(headers[:len(headers):len(headers)], "x-amz-decoded-content-length:"+row.length)
		}
		expect(t, fmt.Sprintf("%.60q %v", row.body, row.headers), testVerifier(), unsignedStream(row.body, headers...), row.code)
	}
}

// A body in order but of another length is told from a broken one.
func TestStatedLength(t *testing.T) {
	for _, row := range []struct {
		body, length string
		wrong        bool // length, not framing
	}{
		{"b\r\nabcdefghijk\r\n0\r\n\r\n", "5", true}, {"b\r\nabcdefghijk\r\n0\r\n\r\n", "200", true},
		{"B\r\ndummy data\r\n0\r\n\r\n", "10", false}, {"ffffff\r\n", "10", true},
	} {
		e := expect(t, row.body, testVerifier(), unsignedStream(row.body, "x-amz-decoded-content-length:"+row.length), "IncompleteBody")
		if e != nil && (e.Message == wrongLength().Message) != row.wrong {
			t.Errorf("%q of %s: %s", row.body, row.length, e.Message)
		}
	}
	for length, code := range map[string]string{"8": "", "7": "IncompleteBody", "9": "IncompleteBody"} {
		r := signedStream(newClient(), "12345678", "-", 8192, nil, "x-amz-decoded-content-length:"+length)
		expect(t, "signed, stated "+length, testVerifier(), r, code)
	}
}

func TestSmallChunks(t *testing.T) {
	for _, row := range []struct {
		sizes []int
		bad   bool
	}{
		{[]int{8192, 8192, 100}, false}, {[]int{100}, false}, {[]int{10000, 9500, 20}, false}, {[]int{100, 8192, 100}, true},
		{[]int{8192, 10, 100}, true}, {[]int{10, 10, 10}, true},
	} {
		var b strings.Builder
		total := 0
		for _, n := range row.sizes {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, letters(n))
			total += n
		}
		code := ""
		if row.bad {
			code = "InvalidChunkSizeError"
		}
		expect(t, fmt.Sprint(row.sizes), testVerifier(), unsignedStream(b.String()+"0\r\n\r\n", fmt.Sprintf("x-amz-decoded-content-length:%d", total)), code)
	}
}

// Whatever the pieces in which bytes come and are asked for.
func TestReadersOfAllKinds(t *testing.T) {
	data := letters(50_000)
	stream := func() *http.Request {
		return signedStream(newClient(), data, "x-amz-checksum-crc32:"+crcOf(data), 8192, nil, "x-amz-trailer: x-amz-checksum-crc32")
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "error with data": iotest.DataErrReader, "plain": func(r io.Reader) io.Reader { return r },
	} {
		r := stream()
		r.Body = io.NopCloser(wrap(r.Body))
		expect(t, name, testVerifier(), r, "")
	}
	res, err := testVerifier().Verify(stream())
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(res.Body, []byte(data)); err != nil {
		t.Error(err)
	}
}

func crcOf(data string) string {
	h, _ := NewHasher("crc32")
	io.WriteString(h, data)
	c, _ := h.Checksum("CRC32")
	return c.Value
}

// A failing connection is an error with a cause, and stays one.
func TestFailingSource(t *testing.T) {
	broken := errors.New("broken pipe")
	for _, framed := range []bool{false, true} {
		r := put("hello")
		if framed {
			r = signedStream(newClient(), "hello", "-", 8192, nil)
		} else {
			newClient().sign4(r, shaHex("hello"))
		}
		whole, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(whole[:3]), iotest.ErrReader(broken)))
		res, err := testVerifier().Verify(r)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err = io.ReadAll(res.Body)
			if e := errorOf(t, err); e.Code != "IncompleteBody" || !errors.Is(err, broken) {
				t.Errorf("framed %t: %v", framed, err)
			}
		}
		if res.Checksums() != nil || res.Sum("SHA256") != nil {
			t.Error("sums of a broken body")
		}
	}
}
