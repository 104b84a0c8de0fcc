package s3

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A PUT that does not say how long its body is makes no object, and replaces none: net/http would read it as an empty
// one. What follows is not taken for the next request.
func TestNoLength(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	r.ok("PUT", "/b/k", "old")
	up := "/b/up?partNumber=1&uploadId=" + r.begin("up")
	srv := httptest.NewServer(r.s)
	defer srv.Close()
	for _, row := range []struct {
		path, extra, body string
		status            int
	}{
		{"/b/k", "", "new", 411},
		{"/b/k", "", "", 411},
		{"/b/dir/", "", "", 411},
		{up, "", "new", 411},
		{"/b/empty", "Content-Length: 0\r\n", "", 200},
		{up, "Content-Length: 0\r\n", "", 200},
		{"/b/chunked", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", 200},
		{"/b/aws", "Transfer-Encoding: chunked\r\nContent-Encoding: aws-chunked\r\nx-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n" +
			"x-amz-decoded-content-length: 0\r\n", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", 200},
		{"/b/copy", "x-amz-copy-source: b/k\r\n", "", 200},
		{up, "x-amz-copy-source: b/k\r\n", "", 200},
		{"/new-bucket", "", "", 200},
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: h\r\n%s\r\n%s", row.path, row.extra, row.body)
		br := bufio.NewReader(conn)
		res, err := http.ReadResponse(br, &http.Request{Method: "PUT"})
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("%s %q", row.path, row.extra)
		r.same(what, fmt.Sprint(res.StatusCode, strings.Contains(string(b), "<Code>MissingContentLength<")), fmt.Sprint(row.status, row.status == 411))
		r.same(what+": closes", res.Close, row.status == 411)
	}
	r.same("untouched", r.ok("GET", "/b/k", "").body, "old")
	r.fails("NoSuchKey", "GET", "/b/dir/", "")
}
