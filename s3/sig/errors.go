package sig

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// Error is what the S3 protocol answers to a request that is refused: the code
// and message of the XML body and the HTTP status. Detail are further elements
// of that body; none of them is ever a secret. Err is the cause, if there is one
// that the client need not see.
type Error struct {
	Code    string
	Status  int
	Message string
	Detail  []Field
	Err     error
}

// Field is an element of an error's XML body beside Code and Message.
type Field struct{ Name, Value string }

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Code + ": " + e.Message + ": " + e.Err.Error()
	}
	return e.Code + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) with(name, value string) *Error {
	e.Detail = append(e.Detail, Field{name, value})
	return e
}

func refuse(status int, code, format string, args ...any) *Error {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	return &Error{Code: code, Status: status, Message: message}
}

func accessDenied(format string, args ...any) *Error {
	return refuse(http.StatusForbidden, "AccessDenied", format, args...)
}

func invalidRequest(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "InvalidRequest", format, args...)
}

func invalidArgument(name, value, message string) *Error {
	return refuse(http.StatusBadRequest, "InvalidArgument", "%s", message).
		with("ArgumentName", name).with("ArgumentValue", value)
}

// headerMalformed is about the Authorization header.
func headerMalformed(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; "+format, args...)
}

// queryMalformed is about the X-Amz-* parameters of a presigned URL.
func queryMalformed(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "AuthorizationQueryParametersError", format, args...)
}

func unknownKey(access string) *Error {
	return refuse(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.").
		with("AWSAccessKeyId", access)
}

func invalidToken() *Error {
	return refuse(http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid.")
}

// mismatch tells what was signed here, so that the author of a client can compare.
func mismatch(access, stringToSign, provided, canonicalRequest string) *Error {
	e := refuse(http.StatusForbidden, "SignatureDoesNotMatch",
		"The request signature we calculated does not match the signature you provided. Check your key and signing method.").
		with("AWSAccessKeyId", access).
		with("StringToSign", stringToSign).
		with("SignatureProvided", provided).
		with("StringToSignBytes", spacedHex(stringToSign))
	if canonicalRequest != "" {
		e.with("CanonicalRequest", canonicalRequest).with("CanonicalRequestBytes", spacedHex(canonicalRequest))
	}
	return e
}

func spacedHex(s string) string { return fmt.Sprintf("% x", s) }

func notSigned(headers []string) *Error {
	return accessDenied("There were headers present in the request which were not signed").
		with("HeadersNotSigned", strings.Join(headers, ", "))
}

func noDate() *Error {
	return accessDenied("AWS authentication requires a valid Date or x-amz-date header.")
}

func skewed(stated, now time.Time) *Error {
	return refuse(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.").
		with("RequestTime", stated.UTC().Format(dateFormat)).
		with("ServerTime", now.UTC().Format(time.RFC3339)).
		with("MaxAllowedSkewMilliseconds", fmt.Sprint(maxSkew.Milliseconds()))
}

func expired(end, now time.Time) *Error {
	return accessDenied("Request has expired.").
		with("Expires", end.UTC().Format(time.RFC3339)).
		with("ServerTime", now.UTC().Format(time.RFC3339))
}

func badDigest(algorithm string) *Error {
	return refuse(http.StatusBadRequest, "BadDigest", "The %s you specified did not match the calculated checksum.", algorithm)
}

func incomplete(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "IncompleteBody", format, args...)
}

// truncated is a body that ends, or is broken, before its end.
func truncated() *Error { return incomplete("The request body terminated unexpectedly") }

// wrongLength is a body that is well-formed and not as long as was stated.
func wrongLength() *Error {
	return incomplete("You did not provide the number of bytes specified by the Content-Length HTTP header")
}

func badTrailer() *Error {
	return refuse(http.StatusBadRequest, "MalformedTrailerError",
		"The request contained trailing data that was not well-formed or did not conform to our published schema.")
}

func smallChunk(number int, size int64) *Error {
	return refuse(http.StatusBadRequest, "InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes").
		with("Chunk", fmt.Sprint(number)).with("BadChunkSize", fmt.Sprint(size))
}

// readFailed says what a failed read of the connection means to the client.
func readFailed(err error) *Error {
	var known *Error
	var tooLarge *http.MaxBytesError
	var e *Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooLarge):
		e = refuse(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size").
			with("MaxSizeAllowed", fmt.Sprint(tooLarge.Limit))
	case errors.Is(err, os.ErrDeadlineExceeded):
		e = refuse(http.StatusBadRequest, "RequestTimeout",
			"Your socket connection to the server was not read from or written to within the timeout period.")
	default:
		e = truncated()
	}
	if err != io.EOF {
		e.Err = err
	}
	return e
}
