package s3

import "testing"

func TestWithoutChunked(t *testing.T) {
	for _, row := range [][2]string{
		{"", ""}, {"gzip", "gzip"}, {"deflate, gzip", "deflate, gzip"}, {"aws-chunked", ""}, {"AWS-Chunked,aws-chunked", ""},
		{"gzip, aws-chunked", "gzip"}, {"aws-chunked, gzip", "gzip"}, {"aws-chunked,deflate,gzip", "deflate,gzip"},
	} {
		if got := withoutChunked(row[0]); got != row[1] {
			t.Errorf("%q: %q, want %q", row[0], got, row[1])
		}
	}
}
