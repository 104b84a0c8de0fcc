package sig

import (
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Values of x-amz-content-sha256 that are no hash.
const (
	unsignedPayload         = "UNSIGNED-PAYLOAD"
	streamingSigned         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingSignedTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamingUnsigned       = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	streamingECDSA          = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
	streamingECDSATrailer   = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"
	badPayloadMessage       = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value."
	chunkedEncoding         = "aws-chunked"
	decodedLengthHeader     = "x-amz-decoded-content-length"
	trailerSignature        = "x-amz-trailer-signature"
	unsupportedSignedStream = "The value of x-amz-content-sha256 header is invalid."
)

// form is how a body is sent.
type form struct {
	framed  bool   // in aws-chunked framing
	signed  bool   // with chunk signatures
	trailer bool   // trailers may follow
	sha256  []byte // of the whole body; nil: not stated
}

func payloadForm(r *http.Request, value string) (form, *Error) {
	switch value {
	case streamingSigned, streamingECDSA:
		return form{framed: true, signed: true}, nil
	case streamingSignedTrailer, streamingECDSATrailer:
		return form{framed: true, signed: true, trailer: true}, nil
	case streamingUnsigned:
		return form{framed: true, trailer: true}, nil
	case "", unsignedPayload:
		// Who does not sign does not always state the form: boto3 without keys, and
		// presigned URLs. The encoding together with a second length or a trailer
		// says the same.
		if hasEncoding(r.Header, chunkedEncoding) &&
			(r.Header.Get(decodedLengthHeader) != "" || r.Header.Get("x-amz-trailer") != "") {
			return form{framed: true, trailer: true}, nil
		}
		return form{}, nil
	}
	raw, err := hex.DecodeString(value)
	if err != nil || len(raw) != 32 {
		return form{}, invalidArgument("x-amz-content-sha256", value, badPayloadMessage)
	}
	return form{sha256: raw}, nil
}

func contentEncodings(h http.Header) []string {
	var list []string
	for _, v := range h.Values("Content-Encoding") {
		for piece := range strings.SplitSeq(v, ",") {
			if piece = strings.TrimSpace(piece); piece != "" {
				list = append(list, piece)
			}
		}
	}
	return list
}

func hasEncoding(h http.Header, name string) bool {
	return slices.ContainsFunc(contentEncodings(h), func(s string) bool { return strings.EqualFold(s, name) })
}

// remainingEncoding is Content-Encoding without aws-chunked, which is about the way
// of sending and is never stored.
func remainingEncoding(h http.Header) string {
	if !hasEncoding(h, chunkedEncoding) {
		return strings.Join(h.Values("Content-Encoding"), ",")
	}
	list := slices.DeleteFunc(contentEncodings(h), func(s string) bool { return strings.EqualFold(s, chunkedEncoding) })
	return strings.Join(list, ",")
}

// decodedLength is the length of a framed body. It has to be stated.
func decodedLength(h http.Header) (int64, *Error) {
	values := h.Values(decodedLengthHeader)
	if len(values) == 1 {
		if n, err := strconv.ParseUint(strings.TrimSpace(values[0]), 10, 63); err == nil {
			return int64(n), nil
		}
	}
	return 0, refuse(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.").
		with("Header", decodedLengthHeader)
}

// newResult puts together the readers that decode and verify the body.
func newResult(r *http.Request, params []param, g *grant) (*Result, *Error) {
	f, e := payloadForm(r, g.payload)
	if e != nil {
		return nil, e
	}
	if f.signed && g.chunks == nil && !g.anonymous {
		return nil, invalidRequest(unsupportedSignedStream) // version 2 has nothing to sign chunks with
	}
	if strings.HasPrefix(g.payload, streamingECDSA) && !g.anonymous {
		return nil, invalidArgument("x-amz-content-sha256", g.payload, "x-amz-content-sha256 with AWS4-ECDSA-P256-SHA256 is not supported.")
	}
	b := &body{hasher: &Hasher{}, stated: r.ContentLength, src: r.Body}
	if b.src == nil {
		b.src, b.stated = http.NoBody, 0
	}
	var an announced
	if describesBody(r, params) {
		if an, e = announcedChecksums(r.Header, f.trailer); e != nil {
			return nil, e
		}
	}
	if f.framed {
		if b.stated, e = decodedLength(r.Header); e != nil {
			return nil, e
		}
		c := newChunked(b.src, b.stated, f)
		if f.signed {
			c.signer = g.chunks
		}
		c.declared = an.trailer
		b.src, b.chunked = c, c
	}
	h, e := mergedHeaders(r, params) // for a Content-MD5 in the URL
	if e == nil {
		e = b.expectAll(h, g.payload, f, an)
	}
	if e != nil {
		return nil, e
	}
	return &Result{
		Key: g.key, Anonymous: g.anonymous, Body: b, Length: b.stated,
		ContentEncoding: remainingEncoding(r.Header), Checksums: b.checksums, body: b,
	}, nil
}

// describesBody reports whether x-amz-checksum-* headers are about the body. To
// complete a multipart upload they are about the object.
func describesBody(r *http.Request, params []param) bool {
	switch method(r) {
	case http.MethodPut:
		return true
	case http.MethodPost:
		return !hasAny(params, "uploadId")
	}
	return false
}

// body verifies what it reads.
type body struct {
	src     io.Reader
	chunked *chunked // src, if framed
	hasher  *Hasher
	expect  []expectation
	header  *expectation // of expect, the one that is a checksum of the client
	stated  int64        // length; -1: not stated
	read    int64
	err     error // what Read returns from now on
}

func (b *body) expectAll(h http.Header, payload string, f form, an announced) *Error {
	if f.sha256 != nil {
		b.expect = append(b.expect, expectSHA256(payload, f.sha256))
	}
	md5, there, e := headerMD5(h)
	if e != nil {
		return e
	}
	if there {
		b.expect = append(b.expect, md5)
	}
	if an.header != nil {
		b.expect = append(b.expect, *an.header)
		b.header = an.header
	}
	for _, x := range b.expect {
		b.hasher.add(x.algorithm.Name) // known: it comes from the table
	}
	if an.trailer != nil {
		b.hasher.add(an.trailer.Name)
	}
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	b.hasher.Write(p[:n])
	b.read += int64(n)
	switch {
	case b.stated >= 0 && b.read > b.stated:
		b.err = wrongLength()
	case err == io.EOF:
		b.err = io.EOF
		if e := b.verify(); e != nil {
			b.err = e
		}
	case err != nil:
		b.err = readFailed(err)
	}
	if b.err != nil && b.err != io.EOF {
		return 0, b.err
	}
	if n > 0 {
		return n, nil
	}
	return 0, b.err
}

func (b *body) verify() *Error {
	if b.stated >= 0 && b.read != b.stated {
		return wrongLength()
	}
	expect := b.expect
	if b.chunked != nil && b.chunked.declared != nil {
		expect = append(slices.Clip(expect), expectChecksum(b.chunked.declared, b.chunked.trailerSum))
	}
	for _, x := range expect {
		if got := b.hasher.Sum(x.algorithm.Name); !slices.Equal(got, x.raw) {
			return x.failed(got)
		}
	}
	return nil
}

func (b *body) checksums() []Checksum {
	if b.err != io.EOF {
		return nil
	}
	if b.header != nil {
		return []Checksum{NewChecksum(b.header.algorithm.Name, b.header.raw)}
	}
	if b.chunked != nil && b.chunked.declared != nil {
		return []Checksum{NewChecksum(b.chunked.declared.Name, b.chunked.trailerSum)}
	}
	return nil
}
