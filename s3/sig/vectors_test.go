package sig

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The keys of the examples in the documentation of S3, and of the test suite of
// version 4.
const (
	docAccess   = "AKIAIOSFODNN7EXAMPLE"
	docSecret   = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var docDate = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

// keyList is a set of keys.
type keyList []Key

func (l keyList) Empty() bool { return len(l) == 0 }

func (l keyList) Find(access string) (Key, bool) {
	for _, k := range l {
		if k.Access == access {
			return k, true
		}
	}
	return Key{}, false
}

func verifierAt(now time.Time, keys ...Key) *Verifier {
	return &Verifier{Keys: keyList(keys), Now: func() time.Time { return now }}
}

func docVerifier() *Verifier { return verifierAt(docDate, Key{Access: docAccess, Secret: docSecret}) }

func errorOf(t *testing.T, err error) *Error {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("error %v (%T) is no *Error", err, err)
	}
	return e
}

func setHeaders(r *http.Request, lines ...string) {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
}

// The examples of "Transferring Payload in a Single Chunk".
func TestDocumentedHeaders(t *testing.T) {
	const authorize = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="
	for _, row := range []struct {
		name, method, target, body string
		headers                    []string
	}{
		{"get object", "GET", "/test.txt", "", []string{
			"Range:bytes=0-9", "x-amz-content-sha256:" + emptySHA256, "x-amz-date:20130524T000000Z",
			authorize + "host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		}},
		{"put object", "PUT", "/test$file.text", "Welcome to Amazon S3.", []string{
			"Date:Fri, 24 May 2013 00:00:00 GMT", "x-amz-date:20130524T000000Z", "x-amz-storage-class:REDUCED_REDUNDANCY",
			"x-amz-content-sha256:44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			authorize + "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
		}},
		{"put object, path escaped", "PUT", "/test%24file.text", "Welcome to Amazon S3.", []string{
			"Date:Fri, 24 May 2013 00:00:00 GMT", "x-amz-date:20130524T000000Z", "x-amz-storage-class:REDUCED_REDUNDANCY",
			"x-amz-content-sha256:44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			authorize + "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
		}},
		{"get lifecycle", "GET", "/?lifecycle", "", []string{
			"x-amz-content-sha256:" + emptySHA256, "x-amz-date:20130524T000000Z",
			authorize + "host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		}},
		{"list objects", "GET", "/?max-keys=2&prefix=J", "", []string{
			"x-amz-content-sha256:" + emptySHA256, "x-amz-date:20130524T000000Z",
			authorize + "host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		}},
		{"list objects, other order", "GET", "/?prefix=J&max-keys=2", "", []string{
			"x-amz-content-sha256:" + emptySHA256, "x-amz-date:20130524T000000Z",
			authorize + "host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			request := func() *http.Request {
				r := httptest.NewRequest(row.method, row.target, strings.NewReader(row.body))
				r.Host = "examplebucket.s3.amazonaws.com"
				setHeaders(r, row.headers...)
				return r
			}
			res, err := docVerifier().Verify(request())
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != row.body {
				t.Fatalf("body %q, %v", got, err)
			}
			if res.Key.Access != docAccess || res.Anonymous || res.Length != int64(len(row.body)) {
				t.Errorf("result %+v", res)
			}
			other := request()
			other.Method = "HEAD"
			if _, err := docVerifier().Verify(other); errorOf(t, err).Code != "SignatureDoesNotMatch" {
				t.Errorf("another method: %v", err)
			}
		})
	}
}

// The example of "Authenticating Requests: Using Query Parameters".
func TestDocumentedPresigned(t *testing.T) {
	const query = "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	r := httptest.NewRequest("GET", "/test.txt"+query, nil)
	r.Host = "examplebucket.s3.amazonaws.com"
	v := docVerifier()
	for after, code := range map[time.Duration]string{
		0: "", 24 * time.Hour: "", 24*time.Hour + time.Second: "AccessDenied",
		-15 * time.Minute: "", -15*time.Minute - time.Second: "AccessDenied",
	} {
		v.Now = func() time.Time { return docDate.Add(after) }
		_, err := v.Verify(r)
		if code == "" && err != nil || code != "" && errorOf(t, err).Code != code {
			t.Errorf("%v later: %v, want %q", after, err, code)
		}
	}
}

const (
	docChunkSeed   = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	docTrailerSeed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
)

// docStream is the upload of "Transferring Payload in Multiple Chunks", or with
// trailer that of "Including Trailing Headers": 66,560 letters a.
func docStream(trailer bool, body string) *http.Request {
	r := httptest.NewRequest("PUT", "/examplebucket/chunkObject.txt", strings.NewReader(body))
	r.Host = "s3.amazonaws.com"
	form, signed, seed := streamingSigned, "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class", docChunkSeed
	if trailer {
		form, signed, seed = streamingSignedTrailer, "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer", docTrailerSeed
		r.Header.Set("x-amz-trailer", "x-amz-checksum-crc32c")
	}
	setHeaders(r, "x-amz-date:20130524T000000Z", "x-amz-storage-class:REDUCED_REDUNDANCY", "Content-Encoding:aws-chunked",
		"x-amz-decoded-content-length:66560", "Content-Length:66824", "x-amz-content-sha256:"+form,
		"Authorization:AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="+signed+",Signature="+seed)
	return r
}

func docChunks(sig1, sig2, sig3 string) string {
	return "10000;chunk-signature=" + sig1 + "\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=" + sig2 + "\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=" + sig3 + "\r\n"
}

func docChunkBody() string {
	return docChunks("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
		"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9") + "\r\n"
}

func docTrailerBody() string {
	return docChunks("b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
		"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
		"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992") +
		"x-amz-checksum-crc32c:sOO8/Q==\r\n" +
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
}

func TestDocumentedStreams(t *testing.T) {
	for _, trailer := range []bool{false, true} {
		body := docChunkBody()
		if trailer {
			body = docTrailerBody()
		}
		res, err := docVerifier().Verify(docStream(trailer, body))
		if err != nil {
			t.Fatal(err)
		}
		if res.Length != 66560 || res.ContentEncoding != "" {
			t.Errorf("length %d, encoding %q", res.Length, res.ContentEncoding)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || !bytes.Equal(got, bytes.Repeat([]byte("a"), 66560)) {
			t.Fatalf("trailer %t: %d bytes, %v", trailer, len(got), err)
		}
		sums := res.Checksums()
		if !trailer && len(sums) != 0 || trailer && (len(sums) != 1 || sums[0] != Checksum{"CRC32C", "sOO8/Q=="}) {
			t.Errorf("trailer %t: checksums %v", trailer, sums)
		}
	}
}

// Cases of the "Signature Version 4 test suite", as far as S3 treats paths as they do.
func TestSuite(t *testing.T) {
	const scope = "20150830/us-east-1/service/aws4_request"
	key := signingKey(suiteSecret, "20150830", "us-east-1", "service")
	for _, row := range []struct {
		name, target, signature string
	}{
		{"get-vanilla", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query-order-key-case", "/?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"get-vanilla-query-order-value", "/?Param1=value2&Param1=value1", "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"},
		{"get-unreserved", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
	} {
		r := httptest.NewRequest("GET", row.target, nil)
		r.Host = "example.amazonaws.com"
		r.Header.Set("X-Amz-Date", "20150830T123600Z")
		params, e := parseQuery(r.URL.RawQuery)
		if e != nil {
			t.Fatal(e)
		}
		text := canonicalRequest(r, pathForms(r)[0], canonicalQuery(params, ""), []string{"host", "x-amz-date"}, emptySHA256)
		if got := hexHMAC(key, stringToSign("20150830T123600Z", scope, text)); got != row.signature {
			t.Errorf("%s: %s, want %s of\n%s", row.name, got, row.signature, text)
		}
	}
}

// The examples of "Signing and authenticating REST requests", version 2.
func TestDocumentedVersion2(t *testing.T) {
	for _, row := range []struct {
		name, method, host, target, signature string
		headers                               []string
	}{
		{"get", "GET", "awsexamplebucket1.us-west-1.s3.amazonaws.com", "/photos/puppy.jpg", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=",
			[]string{"Date:Tue, 27 Mar 2007 19:36:42 +0000"}},
		{"get, path style", "GET", "s3.amazonaws.com", "/awsexamplebucket1/photos/puppy.jpg", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=",
			[]string{"Date:Tue, 27 Mar 2007 19:36:42 +0000"}},
		{"put", "PUT", "awsexamplebucket1.s3.us-west-1.amazonaws.com", "/photos/puppy.jpg", "iqRzw+ileNPu1fhspnRs8nOjjIA=",
			[]string{"Date:Tue, 27 Mar 2007 21:15:45 +0000", "Content-Type:image/jpeg", "Content-Length:94328"}},
		{"list", "GET", "awsexamplebucket1.s3.us-west-1.amazonaws.com", "/?prefix=photos&max-keys=50&marker=puppy", "m0WP8eCtspQl5Ahe6L1SozdX9YA=",
			[]string{"Date:Tue, 27 Mar 2007 19:42:41 +0000"}},
		{"acl", "GET", "awsexamplebucket1.s3.us-west-1.amazonaws.com", "/?acl", "82ZHiFIjc+WbcwFKGUVEQspPn+0=",
			[]string{"Date:Tue, 27 Mar 2007 19:44:46 +0000"}},
	} {
		r := httptest.NewRequest(row.method, row.target, nil)
		r.Host = row.host
		setHeaders(r, row.headers...)
		r.Header.Set("Authorization", "AWS "+docAccess+":"+row.signature)
		v := verifierAt(time.Date(2007, 3, 27, 19, 40, 0, 0, time.UTC), Key{Access: docAccess, Secret: docSecret})
		if row.name == "put" {
			v.Now = func() time.Time { return time.Date(2007, 3, 27, 21, 20, 0, 0, time.UTC) }
		}
		v.Domains = []string{"s3.us-west-1.amazonaws.com", "us-west-1.s3.amazonaws.com"}
		if _, err := v.Verify(r); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		v.Domains = nil
		if _, err := v.Verify(r); row.name != "get, path style" && errorOf(t, err).Code != "SignatureDoesNotMatch" {
			t.Errorf("%s without domains: %v", row.name, err)
		}
	}
}
