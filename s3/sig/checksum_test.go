package sig

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
)

// Sums of "abcdefg", as versitygw's tester has them.
var sumsOfAbcdefg = map[string]string{
	"CRC32": "MSpqpg==", "CRC32C": "5if0QQ==", "CRC64NVME": "SmzZ/LTp1CA=", "SHA1": "L7XhNBn8iSRoZeejJPR27GJOh0A=",
	"SHA256": "fRpUEnsiJQL1t5tfsIAwYRUqRPkrN+I8ZSe69mXU2po=", "MD5": "esZsDxSN6VGbi9JkMSxNZA==",
	"SHA512":   "1xakGIVptoqxtt+sF45XARTN8Oo6HMDjFIbD5BJBvGp2Qk6MN6sm8Jb8he+YhsjLY0GH9P3f9kX7CZ8f9UxrjA==",
	"XXHASH64": "GGCUDikCgi0=", "XXHASH3": "WkDcP9RMBS8=", "XXHASH128": "Kq/YOGmlnDE/55jA7aptxg==",
}

func TestChecksumHeaders(t *testing.T) {
	for name, value := range sumsOfAbcdefg {
		header := "x-amz-checksum-" + strings.ToLower(name)
		other := Checksum{name, value}
		for _, row := range []struct {
			label, body, code string
			headers           []string
		}{
			{"right", "abcdefg", "", []string{header + ":" + value}},
			{"right, named", "abcdefg", "", []string{header + ":" + value, "x-amz-sdk-checksum-algorithm:" + name}},
			{"wrong", "abcdefh", "BadDigest", []string{header + ":" + value}},
			{"empty", "abcdefg", "InvalidRequest", []string{header + ":"}},
			{"no base64", "abcdefg", "InvalidRequest", []string{header + ":invalid_base64!"}},
			{"another length", "abcdefg", "InvalidRequest", []string{header + ":c2RhZnNhZGZzZGFm"}},
			{"bits behind the end", "abcdefg", "InvalidRequest", []string{header + ":" + strings.Replace(value, "==", "", 1) + "=="[:strings.Count(value, "=")%2]}},
			{"twice", "abcdefg", "InvalidRequest", []string{header + ":" + value, header + ":" + value}},
			{"named otherwise", "abcdefg", "InvalidRequest", []string{header + ":" + value, "x-amz-sdk-checksum-algorithm: XXX"}},
			{"kinds that are no sums", "abcdefg", "", []string{header + ":" + value, "x-amz-checksum-type: FULL_OBJECT", "x-amz-checksum-mode: ENABLED", "x-amz-checksum-algorithm: CRC32"}},
		} {
			if row.label == "bits behind the end" && !strings.HasSuffix(value, "==") {
				continue
			}
			r := put(row.body, row.headers...)
			newClient().sign4(r, unsignedPayload)
			got, code, res, e := outcome(testVerifier(), r)
			if code != row.code {
				t.Errorf("%s, %s: %v, want %q", name, row.label, e, row.code)
			}
			if code == "" && (got != row.body || !slices.Equal(res.Checksums(), []Checksum{other})) {
				t.Errorf("%s, %s: %q with %v", name, row.label, got, res.Checksums())
			}
		}
	}
}

func TestChecksumRules(t *testing.T) {
	for _, row := range []struct {
		headers       []string
		code, message string
	}{
		{[]string{"x-amz-checksum-crc16: AAAA"}, "InvalidRequest", "algorithm type you specified"},
		{[]string{"x-amz-checksum-crc32: MSpqpg==", "x-amz-checksum-sha1: L7XhNBn8iSRoZeejJPR27GJOh0A="}, "InvalidRequest", "Multiple checksum"},
		{[]string{"x-amz-checksum-crc32: MSpqpg==", "x-amz-sdk-checksum-algorithm: CRC32C"}, "InvalidRequest", "x-amz-sdk-checksum-algorithm"},
		{[]string{"x-amz-sdk-checksum-algorithm: CRC32"}, "InvalidRequest", "no corresponding"},
		{[]string{"x-amz-sdk-checksum-algorithm: CRC16"}, "InvalidRequest", "[CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH128, XXHASH3, XXHASH64]"},
		{[]string{"x-amz-trailer: x-amz-checksum-crc32"}, "InvalidRequest", "x-amz-trailer"},
		{[]string{"Content-MD5: esZsDxSN6VGbi9JkMSxNZA=="}, "", ""},
		{[]string{"Content-MD5: XrY7u+Ae7tCTyyK7j1rNww=="}, "BadDigest", "Content-MD5"},
		{[]string{"Content-MD5:"}, "InvalidDigest", "Content-Md5"},
		{[]string{"Content-MD5: invalid_md5"}, "InvalidDigest", "Content-Md5"},
		{[]string{"Content-MD5: aGVsbCBzLGRham5mamFuc2Y="}, "InvalidDigest", "Content-Md5"},
		{[]string{"Content-MD5: esZsDxSN6VGbi9JkMSxNZA==", "x-amz-checksum-md5: esZsDxSN6VGbi9JkMSxNZA=="}, "", ""},
	} {
		r := put("abcdefg", row.headers...)
		newClient().sign4(r, unsignedPayload)
		e := expect(t, strings.Join(row.headers, ", "), testVerifier(), r, row.code)
		if e != nil && !strings.Contains(e.Message, row.message) {
			t.Errorf("%v: %s, want %q", row.headers, e.Message, row.message)
		}
	}
}

func TestPayloadHash(t *testing.T) {
	for _, row := range []struct{ body, payload, code string }{
		{"abc", shaHex("abc"), ""}, {"", shaHex(""), ""}, {"abd", shaHex("abc"), "XAmzContentSHA256Mismatch"}, {"", shaHex("abc"), "XAmzContentSHA256Mismatch"},
		{"abc", "invalid_sha256", "InvalidArgument"}, {"abc", shaHex("abc")[1:], "InvalidArgument"}, {"abc", unsignedPayload, ""},
		{"abc", streamingECDSA, "InvalidArgument"}, {"abc", "STREAMING-UNKNOWN", "InvalidArgument"},
	} {
		r := put(row.body)
		newClient().sign4(r, row.payload)
		e := expect(t, row.body+" as "+row.payload, testVerifier(), r, row.code)
		if row.code == "XAmzContentSHA256Mismatch" && e != nil && (e.Detail[0].Value != row.payload || e.Detail[1].Value != shaHex(row.body)) {
			t.Errorf("detail %v", e.Detail)
		}
	}
}

// To complete an upload the header is about the object, not about the XML.
func TestChecksumOfTheObject(t *testing.T) {
	for target, code := range map[string]string{"/b/k?uploadId=u": "", "/b/k?delete": "BadDigest"} {
		r := httptest.NewRequest("POST", target, strings.NewReader("<xml/>"))
		r.Header.Set("x-amz-checksum-crc32", "MSpqpg==")
		newClient().sign4(r, unsignedPayload)
		expect(t, target, testVerifier(), r, code)
	}
	c, there, err := HeaderChecksum(http.Header{"X-Amz-Checksum-Crc32": {"MSpqpg=="}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}})
	if c != (Checksum{"CRC32", "MSpqpg=="}) || !there || err != nil || c.Header() != "x-amz-checksum-crc32" {
		t.Errorf("%v, %t, %v", c, there, err)
	}
	if _, there, err := HeaderChecksum(http.Header{}); there || err != nil {
		t.Errorf("none: %t, %v", there, err)
	}
	if _, _, err := HeaderChecksum(http.Header{"X-Amz-Checksum-Crc32": {"x"}}); errorOf(t, err).Code != "InvalidRequest" {
		t.Error(err)
	}
}

// A presigned URL of the JavaScript SDK names the sum of nothing.
func TestChecksumInQueryIsIgnored(t *testing.T) {
	r := httptest.NewRequest("PUT", "/b/k?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32", strings.NewReader("abcdefg"))
	newClient().presign4(r, "60")
	expect(t, "presigned", testVerifier(), r, "")
}

func TestContentEncoding(t *testing.T) {
	for given, want := range map[string]string{
		"": "", "gzip": "gzip", "aws-chunked": "", "aws-chunked,gzip": "gzip", "gzip, AWS-Chunked": "gzip", "aws-chunked, gzip, br": "gzip,br", "gzip, br": "gzip, br",
		"deflate, gzip": "deflate, gzip", "AWS-Chunked,aws-chunked": "", "gzip, aws-chunked": "gzip", "aws-chunked, gzip": "gzip", "aws-chunked,deflate,gzip": "deflate,gzip",
	} {
		h := http.Header{}
		if given != "" {
			h.Set("Content-Encoding", given)
		}
		if got := remainingEncoding(h); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestLengths(t *testing.T) {
	for _, row := range []struct {
		stated, length int64
		code           string
	}{{7, 7, ""}, {-1, -1, ""}, {6, 6, "IncompleteBody"}, {8, 8, "IncompleteBody"}} {
		r := put("abcdefg")
		r.ContentLength = row.stated
		newClient().sign4(r, unsignedPayload)
		_, code, res, e := outcome(testVerifier(), r)
		if code != row.code || res.Length != row.length {
			t.Errorf("stated %d: %v, length %d", row.stated, e, res.Length)
		}
	}
}

func TestSumsAside(t *testing.T) {
	data := letters(300_000)
	r := put(data, "x-amz-checksum-crc32: "+crcOf(data))
	newClient().sign4(r, unsignedPayload)
	res, err := testVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Also("MD5", "crc64nvme", "CRC32"); err != nil {
		t.Fatal(err)
	}
	if err := res.Also("CRC16"); err == nil {
		t.Error("an unknown algorithm")
	}
	if res.Sum("MD5") != nil || res.Checksums() != nil {
		t.Error("a sum before the end")
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	h, _ := NewHasher("MD5", "CRC64NVME")
	io.WriteString(h, data)
	for _, name := range []string{"MD5", "CRC64NVME"} {
		if got := res.Sum(name); !slices.Equal(got, h.Sum(name)) || got == nil {
			t.Errorf("%s: %x", name, got)
		}
	}
	if res.Sum("SHA1") != nil {
		t.Error("a sum that nobody asked for")
	}
}

func TestReadErrors(t *testing.T) {
	for _, row := range []struct {
		err  error
		code string
	}{
		{io.ErrUnexpectedEOF, "IncompleteBody"}, {&http.MaxBytesError{Limit: 5}, "EntityTooLarge"}, {os.ErrDeadlineExceeded, "RequestTimeout"},
		{badTrailer(), "MalformedTrailerError"},
	} {
		if got := readFailed(row.err); got.Code != row.code || got.Error() == "" {
			t.Errorf("%v: %v", row.err, got)
		}
	}
}
