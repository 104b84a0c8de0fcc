package s3

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A client that waits for 100 Continue before a body without bytes gets it, or an answer
// after which the connection ends: boto3 would read the next answer wrongly otherwise.
func TestExpectWithoutBytes(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	srv := httptest.NewServer(r.s)
	defer srv.Close()
	for _, row := range []struct {
		path, extra string
		statuses    []int
		closes      bool
	}{
		{"/b/k", "", []int{100, 200}, false},
		{"/b/k", "If-Match: x\r\n", []int{100, 412}, false},
		{"/b/k", "x-amz-copy-source: %ZZ\r\n", []int{100, 400}, false},
		{"/b/k?partNumber=1", "", []int{400}, true}, // refused before it is known who asks
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n%s\r\n", row.path, row.extra)
		br := bufio.NewReader(conn)
		for i, want := range row.statuses {
			// ReadResponse reads one of them, also an informational one.
			res, err := http.ReadResponse(br, &http.Request{Method: "PUT"})
			if err != nil {
				t.Fatal(err)
			}
			r.same(row.path+" "+row.extra, res.StatusCode, want)
			if i == len(row.statuses)-1 {
				r.same("closes", res.Close, row.closes)
			}
		}
	}
}
