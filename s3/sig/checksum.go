package sig

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
)

// expectation is a sum that the body must have.
type expectation struct {
	algorithm *Algorithm
	raw       []byte
	failed    func(got []byte) *Error
}

func expectChecksum(a *Algorithm, raw []byte) expectation {
	return expectation{a, raw, func([]byte) *Error { return badDigest(a.Name) }}
}

// HeaderChecksum is the one checksum in the headers of a request; false if there is
// none. Two are refused, as are unknown algorithms and values that are none. The
// error is an *Error.
func HeaderChecksum(h http.Header) (Checksum, bool, error) {
	a, raw, e := headerChecksum(h)
	if e != nil {
		return Checksum{}, false, e
	}
	if a == nil {
		return Checksum{}, false, nil
	}
	return NewChecksum(a.Name, raw), true, nil
}

func headerChecksum(h http.Header) (*Algorithm, []byte, *Error) {
	var found *Algorithm
	var value string
	for name, values := range h {
		lower := strings.ToLower(name)
		kind, is := strings.CutPrefix(lower, checksumPrefix)
		if !is || kind == "algorithm" || kind == "mode" || kind == "type" {
			continue
		}
		a, known := FindAlgorithm(kind)
		if !known {
			return nil, nil, invalidRequest("The algorithm type you specified in x-amz-checksum- header is invalid.").with("Header", lower)
		}
		if found != nil || len(values) != 1 {
			return nil, nil, invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		found, value = a, strings.TrimSpace(values[0])
	}
	if found == nil {
		return nil, nil, nil
	}
	raw, ok := found.decode(value)
	if !ok {
		return nil, nil, invalidRequest("Value for %s header is invalid.", found.Header())
	}
	return found, raw, nil
}

// headerMD5 is what Content-MD5 demands; false if there is none. An empty one is
// wrong.
func headerMD5(h http.Header) (expectation, bool, *Error) {
	values := h.Values("Content-MD5")
	if len(values) == 0 {
		return expectation{}, false, nil
	}
	a, _ := FindAlgorithm("MD5")
	value := strings.TrimSpace(values[0])
	raw, ok := a.decode(value)
	if !ok || len(values) > 1 {
		return expectation{}, false, refuse(http.StatusBadRequest, "InvalidDigest", "The Content-Md5 you specified is not valid.").
			with("Content-MD5", value)
	}
	return expectation{a, raw, func(got []byte) *Error {
		return refuse(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.").
			with("CalculatedDigest", base64.StdEncoding.EncodeToString(got[:md5.Size])).
			with("ExpectedDigest", hex.EncodeToString(raw))
	}}, true, nil
}

// expectSHA256 is what a hexadecimal x-amz-content-sha256 demands.
func expectSHA256(value string, raw []byte) expectation {
	a, _ := FindAlgorithm("SHA256")
	return expectation{a, raw, func(got []byte) *Error {
		return refuse(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.").
			with("ClientComputedContentSHA256", value).
			with("S3ComputedContentSHA256", hex.EncodeToString(got))
	}}
}

// announced is what the headers say of checksums of the body.
type announced struct {
	header  *expectation
	trailer *Algorithm // its sum follows the body
}

// announcedChecksums reads x-amz-checksum-*, x-amz-trailer and
// x-amz-sdk-checksum-algorithm, which must agree. trailers says whether the payload
// has any.
func announcedChecksums(h http.Header, trailers bool) (announced, *Error) {
	var an announced
	var sdk *Algorithm
	if name := h.Get("x-amz-sdk-checksum-algorithm"); name != "" {
		var known bool
		if sdk, known = FindAlgorithm(name); !known {
			return an, invalidRequest("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [%s]", algorithmNames())
		}
	}
	a, raw, e := headerChecksum(h)
	if e != nil {
		return an, e
	}
	trailer, e := single(h, "x-amz-trailer")
	if e != nil {
		return an, e
	}
	switch {
	case a != nil && trailer != "":
		return an, invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	case a != nil:
		x := expectChecksum(a, raw)
		an.header = &x
	case trailer != "":
		kind, is := strings.CutPrefix(strings.ToLower(trailer), checksumPrefix)
		known := false
		if is && trailers {
			an.trailer, known = FindAlgorithm(kind)
		}
		if !known {
			return an, invalidRequest("The value specified in the x-amz-trailer header is not supported").with("Header", "x-amz-trailer")
		}
	case sdk != nil:
		return an, invalidRequest("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	}
	if sdk != nil && (a != nil && a != sdk || an.trailer != nil && an.trailer != sdk) {
		return an, invalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return an, nil
}
