package sig

import (
	"bytes"
	"io"
	"strings"
)

const (
	// maxTrailerLine bounds a trailer: the longest name and 88 characters of base64.
	maxTrailerLine = 1024 // bytes
	// maxTrailerLines bounds them and the empty lines among them.
	maxTrailerLines = 8
)

// end reads what follows the last chunk, up to the end of the source. It returns
// io.EOF if that is right.
func (c *chunked) end() error {
	if !c.form.trailer {
		if err := c.lineEnd(); err != nil {
			return err
		}
	} else if err := c.trailers(); err != nil {
		return err
	}
	switch _, err := c.br.ReadByte(); err {
	case nil:
		return truncated() // more than there should be
	case io.EOF:
		return io.EOF
	default:
		return err
	}
}

// trailers reads the trailers and verifies their signature. They are at most the
// declared one and, where chunks are signed, the signature, which must be there
// even if nothing else is: without it nobody could tell who sent them.
//
// Lines end with \r\n or \n. An empty line ends all, once all is there; before, it
// is passed over, since minio-go writes \n\r\n between the last trailer and the
// signature.
func (c *chunked) trailers() error {
	t := trailerState{signed: c.form.signed, verified: c.signer != nil, declared: c.declared}
	for range maxTrailerLines {
		line, err := c.line(maxTrailerLine, false)
		if err == errNoLine && t.blank {
			return badTrailer() // it was ended in order, and something is missing
		}
		if err != nil {
			return err
		}
		done, e := t.add(line)
		if e != nil {
			return e
		}
		if !done {
			continue
		}
		c.trailerSum = t.sum
		if c.signer != nil {
			if e := c.signer.checkTrailer(t.canonical, t.signature); e != nil {
				return e
			}
		}
		return nil
	}
	return badTrailer()
}

// trailerState is what was seen of the trailers.
type trailerState struct {
	signed   bool // there has to be a signature
	verified bool // which will be looked at
	declared *Algorithm

	sum       []byte // of declared
	canonical string // what is signed
	signature string
	ended     bool // the signature was there
	blank     bool // there was an empty line
}

// complete reports whether nothing is missing.
func (t *trailerState) complete() bool {
	return (t.declared == nil || t.sum != nil) && (t.ended || !t.signed)
}

// add takes a line without its end. It reports whether it was the last one.
func (t *trailerState) add(line []byte) (bool, *Error) {
	if len(line) == 0 {
		t.blank = true
		return t.complete(), nil
	}
	if t.ended {
		return false, truncated() // nothing follows the signature
	}
	rawName, rawValue, found := bytes.Cut(line, []byte{':'})
	name, value := strings.ToLower(string(bytes.TrimSpace(rawName))), string(bytes.TrimSpace(rawValue))
	switch {
	case !found:
		return false, badTrailer()
	case name == trailerSignature && t.signed:
		if t.declared != nil && t.sum == nil {
			return false, badTrailer()
		}
		if t.verified && !isSignature([]byte(value)) {
			return false, truncated()
		}
		t.signature, t.ended = value, true
		return false, nil
	case t.declared == nil || name != t.declared.Header():
		if t.signed && t.sum != nil {
			return false, truncated() // where the signature should be
		}
		return false, badTrailer()
	case t.sum != nil:
		return false, badTrailer() // twice
	}
	raw, ok := t.declared.decode(value)
	if !ok {
		return false, invalidRequest("Value for %s trailing header is invalid.", name)
	}
	t.sum = raw
	t.canonical = name + ":" + value + "\n"
	return false, nil
}
