// Package sig authenticates S3 requests and decodes and verifies their bodies. It
// knows no buckets, files or roles: a [Verifier] gets a request as net/http's server
// made it, and gives back who sent it and a reader of its body, or an [Error] in
// the words of the protocol.
//
// # Signatures
//
//   - Version 4 in the Authorization header and in the URL (presigned). Any region
//     is accepted in the scope unless [Verifier].Region is set.
//   - Version 2 in both places: AWSAccessKeyId, Expires and Signature are what
//     boto3 and aws-cli version 1 write for us-east-1 and an endpoint of one's own.
//     The bucket of a virtual host is part of what it signs, hence
//     [Verifier].Domains.
//   - None, if there are no keys. Then nobody's signature is looked at.
//
// With keys a request without any signature is refused: Result.Anonymous is only
// ever set without keys. Of version 2 only the query parameters called
// sub-resources, and those that stand for headers, are covered by the signature.
//
// # Headers in a URL
//
// Whoever makes a URL moves headers into it, so that its user need not send them: the
// JavaScript SDK all x-amz-* but those of encryption, the Go SDK those that are not to
// be sent by all means, boto3 by version 2 all x-amz-*, Content-Type and Content-MD5.
// [Headers] has them among the others, whatever S3 makes of each: what a header would be
// refused for is not overlooked in a URL. Version 4 signs the whole query, version 2
// those beside the headers of their kind; with a version 2 header they are refused.
//
// # Bodies
//
// The value of x-amz-content-sha256, which version 4 signs, says how the body is sent:
//
//	hexadecimal SHA-256                          as it is, with this hash
//	UNSIGNED-PAYLOAD                             as it is
//	STREAMING-AWS4-HMAC-SHA256-PAYLOAD           aws-chunked, each chunk signed
//	STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER   the same, and signed trailers
//	STREAMING-UNSIGNED-PAYLOAD-TRAILER           aws-chunked, trailers not signed
//
// aws-chunked is a framing within the body, beside that of HTTP:
//
//	SIZE[;chunk-signature=SIGNATURE]\r\n DATA \r\n     for each chunk, SIZE hexadecimal
//	0[;chunk-signature=SIGNATURE]\r\n                  the last one
//	NAME:VALUE\r\n                                     the trailer of x-amz-trailer
//	x-amz-trailer-signature:SIGNATURE\r\n              if chunks are signed
//	\r\n
//
// Lines of trailers may also end with \n, and an empty line may stand before the
// signature. x-amz-decoded-content-length has to give the length of the data; the
// Content-Length, which is that of the framing, may be missing.
//
// Content-MD5, one x-amz-checksum-* header or one such trailer are verified. To
// complete a multipart upload (POST with uploadId) that header is about the object,
// and is the caller's affair. Checksums that stand in the query of a presigned URL
// are ignored, as S3 does: the JavaScript SDK puts that of an empty body there.
//
// # Invariants
//
//   - Every x-amz-* header of a request, and host, is signed, or the request is
//     refused, presigned or not. Content-Type and all others may be unsigned, as
//     with AWS.
//   - Two mechanisms in one request, and a repeated parameter or header of
//     authentication, are refused.
//   - The trailers of a body whose chunks are signed carry a signature that
//     continues their chain; it is required even if there is nothing else.
//   - Data of a signed chunk are handed on before its signature was seen. They count
//     for nothing until Read said io.EOF: whatever was wrong is its last error. Nor
//     does a length, checksum or hash count before.
//   - No more than the stated length is ever handed on.
//   - Memory of a body is bounded: 16 KiB for the framing, and 256 KiB of copies
//     for MD5. A line before a chunk has at most 256 bytes, a trailer 1 KiB, the
//     trailers 8 lines; a chunk's size is bounded by the length that was stated.
//   - Signatures are compared in constant time; no error holds a secret.
//   - Nothing panics, whatever a client sends; the decoders are fuzzed.
//
// # Checksums
//
// A [Hasher] computes several sums in one pass, and [Result].Also adds some to those
// that a body needs anyway. [FullObject] and [Composite] make the checksum of an
// object from those of its parts. docs/decisions/0031-s3-sums.md tells why CRC-64
// comes from a library.
//
// # Sources
//
// Amazon S3 API Reference: "Authenticating Requests (AWS Signature Version 4)",
// "Signature Calculations for the Authorization Header: Transferring Payload in a
// Single Chunk", "... in Multiple Chunks (Chunked Upload)", "... Including Trailing
// Headers (Chunked Upload)", "Authenticating Requests: Using Query Parameters",
// "Error Responses". Amazon S3 User Guide: "Signing and authenticating REST
// requests (AWS signature version 2)", "Checking object integrity". Presigners:
// smithy-typescript's signature-v4/src/moveHeadersToQuery.ts, aws-sdk-go-v2's
// aws/signer/internal/v4/headers.go, botocore's auth.py. AWS General
// Reference: "Signature Version 4 test suite". Error texts: what S3 answers, as
// collected in the tests of versitygw 1.8.0.
//
// # Goroutines
//
//   - asideHash.run, at most one per sum that is computed aside: ended when nothing
//     is queued, so a body given up half-way leaves none behind.
package sig
