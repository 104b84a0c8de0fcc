package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const bucket = "gosdk"

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: gosdk ENDPOINT BYTES...")
		os.Exit(64)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "gosdk:", err)
		os.Exit(1)
	}
	fmt.Println("all of the SDK went well")
}

func run(ctx context.Context, endpoint string, sizes []string) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), "")))
	if err != nil {
		return err
	}
	c := s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &endpoint, true })
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		return err
	}
	for _, text := range sizes {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		if err := move(ctx, c, n); err != nil {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
	}
	for _, step := range []func(context.Context, *s3.Client) error{sums, urls, conditions, remove} {
		if err := step(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// stream is content of a length, which cannot be read twice, and its hash so far.
type stream struct {
	from *rand.ChaCha8
	left int64
	sum  hash.Hash
}

func newStream(n int64) *stream { return &stream{rand.NewChaCha8([32]byte{byte(n)}), n, sha256.New()} }

func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.left)]
	s.from.Read(p)
	s.left -= int64(len(p))
	s.sum.Write(p)
	return len(p), nil
}

// move sends content in parts and gets it back, and compares.
func move(ctx context.Context, c *s3.Client, n int64) error {
	src := newStream(n)
	up := manager.NewUploader(c, func(u *manager.Uploader) { u.PartSize, u.Concurrency = 8<<20, 2 })
	if _, err := up.Upload(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: src}); err != nil {
		return err
	}
	res, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("k")})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got := sha256.New()
	if k, err := io.Copy(got, res.Body); err != nil || k != n {
		return fmt.Errorf("got %d bytes: %v", k, err)
	}
	if !bytes.Equal(got.Sum(nil), src.sum.Sum(nil)) {
		return errors.New("what came back differs")
	}
	return nil
}

// sums are put with every checksum that the SDK computes, and verified when they are got.
func sums(ctx context.Context, c *s3.Client) error {
	body := bytes.Repeat([]byte("sums"), 50000)
	for _, a := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme} {
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("sum"), Body: bytes.NewReader(body), ChecksumAlgorithm: a}); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		res, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("sum"), ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(got, body) {
			return fmt.Errorf("%s: got %d bytes: %v", a, len(got), err)
		}
	}
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("sum"), Body: bytes.NewReader(body), ChecksumCRC32: aws.String("AAAAAA==")})
	return want("BadDigest", err)
}

func want(code string, err error) error {
	var e smithy.APIError
	if errors.As(err, &e) && e.ErrorCode() == code {
		return nil
	}
	return fmt.Errorf("got %v, want %s", err, code)
}

func urls(ctx context.Context, c *s3.Client) error {
	p := s3.NewPresignClient(c)
	put, err := p.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("a b/ü+c")}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		return err
	}
	if _, err := send(put.Method, put.URL, "by URL"); err != nil {
		return err
	}
	get, err := p.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("a b/ü+c"), ResponseContentType: aws.String("text/y")}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		return err
	}
	if got, err := send(get.Method, get.URL, ""); err != nil || got != "by URL" {
		return fmt.Errorf("got %q: %v", got, err)
	}
	return nil
}

func send(method, url, body string) (string, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, url, res.Status, b)
	}
	return string(b), err
}

func conditions(ctx context.Context, c *s3.Client) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")})
	if err := want("PreconditionFailed", err); err != nil {
		return err
	}
	_, err = c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: aws.String(bucket + "/sum")})
	return err
}

func remove(ctx context.Context, c *s3.Client) error {
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), MaxKeys: aws.Int32(2)})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		var list []types.ObjectIdentifier
		for _, o := range page.Contents {
			list = append(list, types.ObjectIdentifier{Key: o.Key})
			n++
		}
		res, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: list}})
		if err != nil {
			return err
		}
		if len(res.Errors) > 0 {
			return fmt.Errorf("%s: %s", aws.ToString(res.Errors[0].Key), aws.ToString(res.Errors[0].Message))
		}
	}
	if n != 4 {
		return fmt.Errorf("%d objects were listed", n)
	}
	_, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(bucket)})
	return err
}
