package sig

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
)

const (
	// chunkBuffer is what a framed body costs in memory. Reads that are larger go
	// past it.
	chunkBuffer = 16 << 10 // bytes
	// maxChunkLine bounds the line before a chunk: 16 digits, the name and 64 or 144
	// digits of a signature.
	maxChunkLine = 256 // bytes
	// minChunk is the size that every chunk but the last must have, as with AWS.
	minChunk = 8192 // bytes
	// maxExcess is how much more than was stated is read to see whether the framing
	// is right nevertheless: then the length is the fault.
	maxExcess = 4096 // bytes
)

// chunkSigner computes the chain of signatures of one body. It begins with that of
// the request.
type chunkSigner struct {
	key               []byte
	access            string
	date, scope, prev string
}

const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// check verifies the next signature of the chain, over a chunk's hash.
func (s *chunkSigner) check(sum []byte, provided string) *Error {
	return s.next(algorithm4+"-PAYLOAD\n"+s.date+"\n"+s.scope+"\n"+s.prev+"\n"+emptySHA256+"\n"+hex.EncodeToString(sum), provided)
}

// checkTrailer verifies the last one, over the trailers in canonical form.
func (s *chunkSigner) checkTrailer(canonical, provided string) *Error {
	return s.next(algorithm4+"-TRAILER\n"+s.date+"\n"+s.scope+"\n"+s.prev+"\n"+hexSHA256(canonical), provided)
}

func (s *chunkSigner) next(text, provided string) *Error {
	want := hexHMAC(s.key, text)
	if !sameText(want, provided) {
		return mismatch(s.access, text, provided, "")
	}
	s.prev = want
	return nil
}

// chunked decodes aws-chunked. What it hands out of a signed chunk is verified when
// the chunk ends; a wrong signature is the error of a later Read.
type chunked struct {
	br       *bufio.Reader
	form     form
	signer   *chunkSigner // nil: signatures are passed over
	declared *Algorithm   // the trailer; nil: none

	trailerSum []byte // of declared, when all is read

	left      int64 // of the current chunk
	remaining int64 // of what was stated
	inChunk   bool  // its end is still to come
	number    int   // of the current chunk, from 1
	size      int64 // of it
	signature string
	sum       hash.Hash // of the current chunk, if signatures are verified
	err       error
}

func newChunked(src io.Reader, stated int64, f form) *chunked {
	return &chunked{br: bufio.NewReaderSize(src, chunkBuffer), form: f, remaining: stated, sum: sha256.New()}
}

// Read hands out decoded bytes. Its errors are io.EOF, *Error and those of the source.
func (c *chunked) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for c.left == 0 {
		if err := c.advance(); err != nil {
			c.err = err
			return 0, err
		}
	}
	n, err := c.br.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.remaining -= int64(n)
	if c.signer != nil {
		c.sum.Write(p[:n])
	}
	if err != nil && n == 0 {
		c.err = unexpected(err)
		return 0, c.err
	}
	return n, nil
}

// unexpected makes the end of the source, where there should be more, an error.
func unexpected(err error) error {
	if err == io.EOF {
		return truncated()
	}
	return err
}

// advance ends the current chunk and begins the next one. At the end of all it
// returns io.EOF.
func (c *chunked) advance() error {
	if c.inChunk {
		if err := c.endChunk(); err != nil {
			return err
		}
	}
	line, err := c.line(maxChunkLine, true)
	if err != nil {
		return err
	}
	size, signature, ok := parseChunkLine(line, c.signer != nil)
	if !ok {
		return truncated()
	}
	if size == 0 {
		c.signature = signature
		if e := c.checkChunk(); e != nil {
			return e
		}
		return c.end()
	}
	if size > c.remaining {
		return c.excess(size)
	}
	if c.number > 0 && c.size < minChunk {
		return smallChunk(c.number, c.size)
	}
	c.number++
	c.size, c.left, c.signature, c.inChunk = size, size, signature, true
	return nil
}

func (c *chunked) endChunk() error {
	if err := c.lineEnd(); err != nil {
		return err
	}
	c.inChunk = false
	if e := c.checkChunk(); e != nil {
		return e
	}
	return nil
}

func (c *chunked) checkChunk() *Error {
	if c.signer == nil {
		return nil
	}
	sum := c.sum.Sum(nil)
	c.sum.Reset()
	return c.signer.check(sum, c.signature)
}

// lineEnd reads the end of line behind a chunk.
func (c *chunked) lineEnd() error {
	var end [2]byte
	if _, err := io.ReadFull(c.br, end[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		return unexpected(err)
	}
	if end != [2]byte{'\r', '\n'} {
		return truncated()
	}
	return nil
}

// excess is a chunk that goes beyond the stated length.
func (c *chunked) excess(size int64) error {
	if size-c.remaining <= maxExcess && size <= chunkBuffer {
		if _, err := c.br.Discard(int(size)); err != nil {
			return unexpected(err)
		}
		if err := c.lineEnd(); err != nil {
			return err
		}
	}
	return wrongLength()
}

// errNoLine is the end of the source where a line should begin.
var errNoLine error = truncated()

// line reads a line, without its end. With crlf the end must be of both characters.
// It is valid until the next read.
func (c *chunked) line(limit int, crlf bool) ([]byte, error) {
	line, err := c.br.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return nil, truncated()
	case err == io.EOF && len(line) == 0:
		return nil, errNoLine
	case err != nil:
		return nil, unexpected(err)
	case len(line) > limit:
		return nil, truncated()
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	} else if crlf {
		return nil, truncated()
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		return nil, truncated()
	}
	return line, nil
}

// parseChunkLine reads SIZE[;chunk-signature=SIGNATURE]. A signature that is not
// going to be verified may look as it likes.
func parseChunkLine(line []byte, signed bool) (size int64, signature string, ok bool) {
	digits, extension, extended := bytes.Cut(line, []byte{';'})
	if len(digits) == 0 || len(digits) > 16 {
		return 0, "", false
	}
	for _, d := range digits {
		if !isHex(d) {
			return 0, "", false
		}
	}
	n, err := strconv.ParseUint(string(digits), 16, 63)
	if err != nil {
		return 0, "", false
	}
	if !signed {
		return int64(n), "", true
	}
	value, named := bytes.CutPrefix(extension, []byte("chunk-signature="))
	if !extended || !named || !isSignature(value) {
		return 0, "", false
	}
	return int64(n), string(value), true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isSignature(b []byte) bool {
	if len(b) != 2*sha256.Size {
		return false
	}
	for _, c := range b {
		if !isHex(c) {
			return false
		}
	}
	return true
}
