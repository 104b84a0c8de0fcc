package main

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
	"sync"
	"time"
)

// The pair of keys of all gateways that are measured.
const (
	s3Access = "wolfbench"
	s3Secret = "wolfbenchsecret"
)

// s3Client asks one gateway, by as many connections as are used at once.
type s3Client struct {
	url  string
	http *http.Client
}

func newS3Client(url string) *s3Client {
	return &s3Client{url, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}}
}

// do sends a request and reads its whole answer into a writer.
func (c *s3Client) do(method, path string, query url.Values, body []byte, to io.Writer) error {
	req, err := http.NewRequest(method, c.url+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	sign4(req, time.Now().UTC())
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		b, err := io.ReadAll(io.LimitReader(res.Body, 1000))
		return fmt.Errorf("%s %s: %s %s %v", method, path, res.Status, b, err)
	}
	_, err = io.Copy(to, res.Body)
	return err
}

// sign4 signs by version 4, but for the body, so that no time is spent on it here. Paths
// are of letters, digits, '-' and '/'.
func sign4(req *http.Request, now time.Time) {
	const unsigned, signed = "UNSIGNED-PAYLOAD", "host;x-amz-content-sha256;x-amz-date"
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Content-Sha256", unsigned)
	canonical := req.Method + "\n" + req.URL.Path + "\n" + req.URL.RawQuery + "\nhost:" + req.URL.Host + "\nx-amz-content-sha256:" + unsigned +
		"\nx-amz-date:" + stamp + "\n\n" + signed + "\n" + unsigned
	sum := sha256.Sum256([]byte(canonical))
	scope := day + "/us-east-1/s3/aws4_request"
	key := []byte("AWS4" + s3Secret)
	for _, text := range []string{day, "us-east-1", "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		key = m.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s3Access+"/"+scope+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(key))
}

// each calls fn with the numbers below count, from so many clients at once, and returns
// how long that took.
func each(clients, count int, fn func(i int) error) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range count {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var all sync.WaitGroup
	began := time.Now()
	for range clients {
		all.Go(func() {
			for i := range next {
				if err := fn(i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(began), context.Cause(ctx)
}

// list reads all pages of a bucket and counts the keys.
func (c *s3Client) list(bucket string) (n int, err error) {
	query := url.Values{"list-type": {"2"}}
	for {
		var b bytes.Buffer
		if err := c.do("GET", "/"+bucket, query, nil, &b); err != nil {
			return n, err
		}
		var page struct {
			KeyCount              int
			IsTruncated           bool
			NextContinuationToken string
		}
		if err := xml.Unmarshal(b.Bytes(), &page); err != nil {
			return n, err
		}
		if n += page.KeyCount; !page.IsTruncated {
			return n, nil
		}
		query.Set("continuation-token", page.NextContinuationToken)
	}
}
