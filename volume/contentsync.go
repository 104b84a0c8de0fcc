package volume

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// A node that makes a copy of a volume asks others for content by inode ID
// (RequestContent), in items of at most MaxContentItem bytes. The request is
//
//	 0  1  flags: 1 hashes only
//	 1  8  version: whoever answers must have come this far
//	 9  4  number of items
//	13     items: inode ID (8), offset (8), length (4)
//
// and the answer, a stream, is for each item
//
//	0  1  0, or 1 if there is no such inode (any more)
//	1  4  number of runs of data; what lies between them is a hole
//	5     runs: offset from the item's (4), length (4), SHA-256 (32)
//	      the content of the runs, unless only hashes were asked for
//
// all big-endian. Runs end where the file ends. The hash is that of the very read that
// is sent. See docs/formats.md, "Content".
const (
	// MaxContentItem bounds an item, bytes.
	MaxContentItem = 4 << 20
	// contentBuffer is how much of an answer is gathered before it is sent, bytes.
	contentBuffer = 64 << 10
	// solidFile is up to which size holes are looked for only if there is a block of zeros, bytes:
	// looking costs more than reading.
	solidFile = 16 << 10
	// MaxContentItems bounds the items of a request.
	MaxContentItems = 4096
	// maxContentRuns bounds the runs of an item. As runs are of whole blocks, none has more, unless
	// its offset is within a block: then the last hole may be sent as zeros.
	maxContentRuns = MaxContentItem / HoleBlock

	contentHeadLen = 13
	contentItemLen = 20
	contentRunLen  = 8 + sha256.Size

	contentHashes byte = 1
	contentHere   byte = 0
	contentGone   byte = 1
)

// ContentItem is a range of a file.
type ContentItem struct {
	Ino Ino
	Off int64
	Len int // 1 to MaxContentItem, bytes
}

// ContentRequest asks for items.
type ContentRequest struct {
	Hashes bool    // only
	From   Version // whoever answers must have come this far
	Items  []ContentItem
}

// Encode is the request's body.
func (q *ContentRequest) Encode() []byte {
	b := make([]byte, contentHeadLen, contentHeadLen+len(q.Items)*contentItemLen)
	if q.Hashes {
		b[0] = contentHashes
	}
	binary.BigEndian.PutUint64(b[1:], uint64(q.From))
	binary.BigEndian.PutUint32(b[9:], uint32(len(q.Items)))
	for _, it := range q.Items {
		b = binary.BigEndian.AppendUint64(b, uint64(it.Ino))
		b = binary.BigEndian.AppendUint64(b, uint64(it.Off))
		b = binary.BigEndian.AppendUint32(b, uint32(it.Len))
	}
	return b
}

// DecodeContentRequest reads a request; BadFormat.
func DecodeContentRequest(b []byte) (q ContentRequest, err error) {
	bad := func(what string) (ContentRequest, error) {
		return ContentRequest{}, Errorf(BadFormat, "content request: %s", what)
	}
	if len(b) < contentHeadLen || b[0]&^contentHashes != 0 {
		return bad("head")
	}
	q.Hashes = b[0]&contentHashes != 0
	q.From = Version(binary.BigEndian.Uint64(b[1:]))
	n := binary.BigEndian.Uint32(b[9:])
	b = b[contentHeadLen:]
	if n > MaxContentItems || len(b) != int(n)*contentItemLen {
		return bad("number of items")
	}
	q.Items = make([]ContentItem, n)
	for i := range q.Items {
		off, length := binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])
		if length == 0 || length > MaxContentItem || off > uint64(MaxFileSize)-uint64(length) {
			return bad("range of an item")
		}
		q.Items[i] = ContentItem{Ino: Ino(binary.BigEndian.Uint64(b)), Off: int64(off), Len: int(length)}
		b = b[contentItemLen:]
	}
	return q, nil
}

// ServeContent answers a request from a volume. buf is for reading, of MaxContentItem
// bytes.
func ServeContent(ctx context.Context, q *ContentRequest, r Reader, w io.Writer, buf []byte) error {
	if at := r.Position().Version; at < q.From {
		return Errorf(Unavailable, "content at version %d: this node is at %d", q.From, at)
	}
	// Each write is a message, and small files are a few bytes each.
	b := bufio.NewWriterSize(w, contentBuffer)
	for _, it := range q.Items {
		head, content, err := contentOf(ctx, it, r, buf)
		if err != nil {
			return err
		}
		if _, err := b.Write(head); err != nil {
			return err
		}
		if q.Hashes || len(content) == 0 {
			continue
		}
		if _, err := b.Write(content); err != nil {
			return err
		}
	}
	return b.Flush()
}

// contentOf reads an item: the head of its answer, and its runs one behind the other.
func contentOf(ctx context.Context, it ContentItem, r Reader, buf []byte) (head, content []byte, err error) {
	gone := []byte{contentGone, 0, 0, 0, 0}
	a, err := r.GetAttr(ctx, it.Ino)
	if err != nil || !a.IsFile() {
		if err == nil || errors.Is(err, Stale) || errors.Is(err, NotFound) {
			return gone, nil, nil
		}
		return nil, nil, err
	}
	end := min(it.Off+int64(it.Len), a.Size)
	head = []byte{contentHere, 0, 0, 0, 0}
	runs, look := uint32(0), a.Size > solidFile
	for at := it.Off; at < end; {
		from, to, err := at, end, error(nil)
		if look {
			from, to, err = nextRun(ctx, r, it.Ino, at, end, runs+1 == maxContentRuns)
		}
		if err != nil {
			if errors.Is(err, Stale) {
				return gone, nil, nil
			}
			return nil, nil, err
		}
		if from >= end {
			break
		}
		p := buf[len(content) : len(content)+int(to-from)]
		n, err := ReadFullAt(ctx, r, it.Ino, p, from)
		if errors.Is(err, Stale) {
			return gone, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if !look && zeroBlock(p[:n], from) {
			look = true
			continue
		}
		if n > 0 {
			sum := sha256.Sum256(p[:n])
			head = binary.BigEndian.AppendUint32(head, uint32(from-it.Off))
			head = binary.BigEndian.AppendUint32(head, uint32(n))
			head = append(head, sum[:]...)
			content = buf[:len(content)+n]
			runs++
		}
		if n < len(p) {
			break // truncated meanwhile
		}
		at = to
	}
	binary.BigEndian.PutUint32(head[1:], runs)
	return head, content, nil
}

// zeroBlock reports whether content at an offset has a block of zeros, which may be a hole.
func zeroBlock(p []byte, off int64) bool {
	for len(p) > 0 {
		n := min(HoleBlock-int(off%HoleBlock), len(p))
		if !slices.ContainsFunc(p[:n], func(c byte) bool { return c != 0 }) {
			return true
		}
		p, off = p[n:], off+int64(n)
	}
	return false
}

// nextRun finds the next data in [at, end), in whole blocks; from is end if there is none. With
// rest it is all of it.
func nextRun(ctx context.Context, r Reader, ino Ino, at, end int64, rest bool) (from, to int64, err error) {
	from, err = r.Seek(ctx, ino, at, false)
	if errors.Is(err, NotSeekable) {
		return end, end, nil
	}
	if err != nil || from >= end {
		return from, end, err
	}
	begin := max(from/HoleBlock*HoleBlock, at)
	if rest {
		return begin, end, nil
	}
	to, err = r.Seek(ctx, ino, from, true)
	if errors.Is(err, NotSeekable) { // truncated meanwhile
		return end, end, nil
	}
	to = min(to, end)
	return begin, to + min(-to&(HoleBlock-1), end-to), err
}

// ReadFullAt is ReadAt of as much as there is: n is below len(p) only at the end of the file, or with an
// error.
func ReadFullAt(ctx context.Context, r Reader, ino Ino, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		k, err := r.ReadAt(ctx, ino, p[n:], off+int64(n))
		if err != nil {
			return n, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	return n, nil
}

// ContentRun is a run of data in an item.
type ContentRun struct {
	Off, Len int // from the item's offset, bytes
	Hash     ChunkID
}

// ContentReader reads the answer to a request, item by item.
type ContentReader struct {
	r    io.Reader
	q    *ContentRequest
	next int
}

// NewContentReader reads the answer to q from r.
func NewContentReader(r io.Reader, q *ContentRequest) *ContentReader {
	return &ContentReader{r: r, q: q}
}

// Next returns the runs of the next item of the request; gone says that its inode is
// no more. Unless only hashes were asked for, their content is to be read by Content
// before the next call. io.EOF behind the last item.
func (c *ContentReader) Next() (it ContentItem, runs []ContentRun, gone bool, err error) {
	if c.next == len(c.q.Items) {
		return it, nil, false, io.EOF
	}
	it = c.q.Items[c.next]
	c.next++
	var head [5]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return it, nil, false, contentCut(err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] == contentGone && n == 0 {
		return it, nil, true, nil
	}
	if head[0] != contentHere || n > maxContentRuns {
		return it, nil, false, Errorf(BadFormat, "content of inode %s: %d runs", it.Ino, n)
	}
	b := make([]byte, int(n)*contentRunLen)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return it, nil, false, contentCut(err)
	}
	runs = make([]ContentRun, n)
	at := uint64(0)
	for i := range runs {
		off, length := uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
		if off < at || length == 0 || off+length > uint64(it.Len) {
			return it, nil, false, Errorf(BadFormat, "content of inode %s: a run of %d bytes at %d of %d", it.Ino, length, off, it.Len)
		}
		at = off + length
		runs[i] = ContentRun{Off: int(off), Len: int(length)}
		copy(runs[i].Hash[:], b[8:])
		b = b[contentRunLen:]
	}
	return it, runs, false, nil
}

// Content reads the content of one run into p, of its length, and checks it: Corrupt.
func (c *ContentReader) Content(run ContentRun, p []byte) error {
	if _, err := io.ReadFull(c.r, p); err != nil {
		return contentCut(err)
	}
	if ChunkID(sha256.Sum256(p)) != run.Hash {
		return Errorf(Corrupt, "content of inode %s does not match its hash", c.q.Items[c.next-1].Ino)
	}
	return nil
}

func contentCut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return Errorf(BadFormat, "an answer with content is cut off")
	}
	return err
}
