package sig

import (
	"net/http"
	"testing"
)

// Without keys nobody's signature counts, and bodies are verified as far as they can be.
func TestNoKeys(t *testing.T) {
	v := verifierAt(testNow)
	stranger := newClient()
	stranger.access, stranger.secret = "stranger", "whatever"
	stranger.now = stranger.now.AddDate(-1, 0, 0)
	stream := func(trailer string, edit func(string) string, headers ...string) *http.Request {
		return signedStream(stranger, "abcdefg", trailer, 8192, edit, headers...)
	}
	signed := func(body, payload string, headers ...string) *http.Request {
		r := put(body, headers...)
		stranger.sign4(r, payload)
		return r
	}
	presigned := put("abcdefg")
	stranger.presign4(presigned, "60")
	const declared = "x-amz-trailer: x-amz-checksum-crc64nvme"
	chunked := []string{"Content-Encoding: aws-chunked", "x-amz-decoded-content-length: 7"}
	with := func(more ...string) []string { return append(more, chunked...) }
	framed := "7\r\nabcdefg\r\n0\r\n"
	for _, row := range []struct {
		name    string
		request *http.Request
		code    string
	}{
		{"unsigned", put("abcdefg"), ""},
		{"signed", signed("abcdefg", shaHex("abcdefg")), ""},
		{"signed, wrong hash", signed("abcdefh", shaHex("abcdefg")), "XAmzContentSHA256Mismatch"},
		{"unsigned, hash", put("abcdefg", "x-amz-content-sha256:"+shaHex("abcdefg")), ""},
		{"unsigned, wrong hash", put("abcdefh", "x-amz-content-sha256:"+shaHex("abcdefg")), "XAmzContentSHA256Mismatch"},
		{"nonsense for a hash", put("abcdefg", "x-amz-content-sha256: x"), "InvalidArgument"},
		{"presigned", presigned, ""},
		{"nonsense for a signature", put("abcdefg", "Authorization: Bearer x"), ""},
		{"wrong MD5", put("abcdefg", "Content-MD5: XrY7u+Ae7tCTyyK7j1rNww=="), "BadDigest"},
		{"wrong checksum", put("abcdefh", "x-amz-checksum-crc32: MSpqpg=="), "BadDigest"},
		{"signed stream", stream("-", nil), ""},
		{"signed stream, wrong signatures", stream("-", edit(20, 60, "0000000000000000000000000000000000000000")), ""},
		{"signed stream, damaged", stream("-", edit(0, 1, "9")), "IncompleteBody"},
		{"signed trailer", stream(crc7, nil, declared), ""},
		{"signed trailer as minio-go writes it", stream(crc7, edit(214, 216, "\n\r\n"), declared), ""},
		{"signed trailer, another sum", stream("x-amz-checksum-crc64nvme:M3eFcAZSQlc=", nil, declared), "BadDigest"},
		{"unsigned trailer", put(framed+crc7+"\r\n\r\n", with(declared, "x-amz-content-sha256:"+streamingUnsigned)...), ""},
		{"unsigned trailer, form not stated", put(framed+crc7+"\r\n\r\n", with(declared)...), ""},
		{"unsigned trailer, another sum", put(framed+crcHelo+"\r\n\r\n", with(declared)...), "BadDigest"},
		{"framed, nothing else stated", put(framed+"\r\n", chunked...), ""},
		{"encoding alone does not frame", put("abcdefg", "Content-Encoding: aws-chunked"), ""},
		{"ECDSA stream", put("7;chunk-signature="+shaHex("")+shaHex("")+"\r\nabcdefg\r\n0\r\n\r\n", with("x-amz-content-sha256:"+streamingECDSA)...), ""},
	} {
		got, code, res, e := outcome(v, row.request)
		if code != row.code {
			t.Errorf("%s: %v, want %q", row.name, e, row.code)
		}
		if code == "" && (got != "abcdefg" || !res.Anonymous || res.Key.Access != "") {
			t.Errorf("%s: %q, %+v", row.name, got, res)
		}
	}
}

// With keys nobody passes who shows none.
func TestKeysAreAskedFor(t *testing.T) {
	for name, r := range map[string]*http.Request{
		"nothing": put("x"), "hash only": put("x", "x-amz-content-sha256:"+shaHex("x")), "unsigned stream": put("0\r\n\r\n", "x-amz-content-sha256:"+streamingUnsigned),
	} {
		expect(t, name, testVerifier(), r, "AccessDenied")
	}
}
