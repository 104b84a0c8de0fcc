package volume

import (
	"slices"
	"strings"
)

// A request that one node forwards to another (RequestForward) is a msgpack array like an
// op (opcodec.go): its kind, the fields that every request has, then those that count for
// its kind, in the order of Request.fields. What does not count for the kind does not
// travel: Request.canonical is what arrives. The process ID of the caller means nothing
// on another machine and does not travel either.
//
// A result is an array of its fields in the order of Result.fields. See docs/formats.md,
// "Forwarded requests".

// MaxRequestLen bounds an encoded request, bytes: what it can carry goes into an op.
const MaxRequestLen = MaxOpLen

// MaxResultLen bounds an encoded result, bytes: 37 integers of at most 9 bytes.
const MaxResultLen = 512

// fields visits what follows the kind. It is the only place that knows the order.
func (r *Request) fields(f fielder) {
	f.u32(&r.Caller.UID)
	f.u32(&r.Caller.GID)
	f.u8((*uint8)(&r.Caller.Front))
	f.str(&r.Caller.Client, MaxNodeIDLen)
	f.u64(&r.Caller.Seq)

	ino := func(i *Ino) { f.u64((*uint64)(i)) }
	old := func() { ino(&r.Parent); f.str(&r.Name, MaxNameLen) }
	fresh := func() { ino(&r.NewParent); f.str(&r.NewName, MaxNameLen) }
	match := func() { f.u64((*uint64)(&r.Match.Version)) }
	xattrs := func() {
		n := len(r.Xattrs)
		f.list(&n, MaxOpXattrs, 2)
		resize(&r.Xattrs, n)
		for i := range r.Xattrs {
			f.str(&r.Xattrs[i].Name, MaxXattrNameLen)
			f.blob(&r.Xattrs[i].Value, MaxXattrLen)
		}
	}
	switch r.Kind {
	case OpCreate:
		old()
		f.u32(&r.Mode)
		f.u32(&r.Umask)
		f.u32(&r.Rdev)
		f.str(&r.Target, MaxTargetLen)
		f.boolean(&r.Exclusive)
		xattrs()
	case OpLink:
		ino(&r.Ino)
		fresh()
	case OpUnlink, OpRmdir:
		old()
		match()
	case OpRename:
		old()
		fresh()
		f.boolean(&r.Exclusive)
		f.boolean(&r.Exchange)
	case OpSetAttr:
		ino(&r.Ino)
		f.u32((*uint32)(&r.Set))
		f.u32(&r.Mode)
		f.u32(&r.UID)
		f.u32(&r.GID)
		f.i64(&r.Atime.Sec)
		f.u32(&r.Atime.Nsec)
		f.i64(&r.Mtime.Sec)
		f.u32(&r.Mtime.Nsec)
		f.i64(&r.Size)
		f.boolean(&r.KillPriv)
	case OpWrite:
		ino(&r.Ino)
		f.i64(&r.Offset)
		f.boolean(&r.Append)
		f.boolean(&r.KillPriv)
		f.blob(&r.Data, MaxWrite)
	case OpFallocate:
		ino(&r.Ino)
		f.u32(&r.Alloc)
		f.i64(&r.Offset)
		f.i64(&r.Length)
		f.boolean(&r.KillPriv)
	case OpCopyChunks:
		ino(&r.Ino)
		f.i64(&r.Offset)
		f.boolean(&r.KillPriv)
		n := len(r.Chunks)
		f.list(&n, MaxCopyChunks, 3)
		resize(&r.Chunks, n)
		for i := range r.Chunks {
			c := &r.Chunks[i]
			f.fixed(c.ID[:])
			f.i64(&c.Offset)
			f.i64(&c.Length)
		}
	case OpSetXattr:
		ino(&r.Ino)
		f.str(&r.Name, MaxXattrNameLen)
		f.boolean(&r.Exclusive)
		f.boolean(&r.Replace)
		f.boolean(&r.KillPriv)
		f.blob(&r.Data, MaxXattrLen)
		match()
	case OpRemoveXattr:
		ino(&r.Ino)
		f.str(&r.Name, MaxXattrNameLen)
		match()
	case OpPublish:
		ino(&r.Ino)
		old()
		f.u32((*uint32)(&r.Set))
		f.u32(&r.Mode)
		f.boolean(&r.Match.Absent)
		f.boolean(&r.Match.Present)
		f.u64((*uint64)(&r.Match.Version))
		xattrs()
	}
}

// askable reports whether a kind can be asked for; the others a volume makes by itself.
func (k OpKind) askable() bool {
	switch k {
	case opInvalid, OpTruncate, OpEnd, OpReign, OpMember:
		return false
	}
	return k < opKindEnd
}

// requestCounts is the length of the array that holds a request of each kind; 0 for those
// that nobody can ask for.
var requestCounts = func() (counts [opKindEnd]int) {
	for k := range opKindEnd {
		if k.askable() {
			var c fieldCounter
			(&Request{Kind: k}).fields(&c)
			counts[k] = 1 + int(c)
		}
	}
	return counts
}()

// setMaskAll are the bits that a request may set.
const setMaskAll = setMaskOp | SetAtimeNow | SetMtimeNow | SetSize

// canonical is the request without what counts for nothing: it asks for the same, and
// two that ask for the same are equal.
func (r Request) canonical() Request {
	c := Request{Kind: r.Kind, Caller: r.Caller}
	c.Caller.PID = 0
	switch r.Kind {
	case OpCreate:
		c.Name, c.Parent, c.Exclusive, c.Xattrs = r.Name, r.Parent, r.Exclusive, r.Xattrs
		c.Mode, c.Umask = r.Mode&(ModeType|ModePerm), r.Umask&0o777
		if r.Parent == 0 {
			c.Name = ""
		}
		switch r.Mode & ModeType {
		case ModeLink:
			c.Target = r.Target
		case ModeBlock, ModeChar:
			c.Rdev = r.Rdev
		}
	case OpLink:
		c.Ino, c.NewParent, c.NewName = r.Ino, r.NewParent, r.NewName
	case OpUnlink, OpRmdir:
		c.Parent, c.Name, c.Match.Version = r.Parent, r.Name, r.Match.Version
	case OpRename:
		c.Parent, c.Name, c.NewParent, c.NewName = r.Parent, r.Name, r.NewParent, r.NewName
		c.Exclusive, c.Exchange = r.Exclusive, r.Exchange
	case OpSetAttr:
		c.Ino, c.Set, c.KillPriv = r.Ino, r.Set&setMaskAll, r.KillPriv
		c.attrs(&r)
	case OpWrite:
		c.Ino, c.Offset, c.Append, c.Data, c.KillPriv = r.Ino, r.Offset, r.Append, r.Data, r.KillPriv
		if r.Append {
			c.Offset = 0
		}
	case OpFallocate:
		c.Ino, c.Alloc, c.Offset, c.Length, c.KillPriv = r.Ino, r.Alloc, r.Offset, r.Length, r.KillPriv
	case OpCopyChunks:
		c.Ino, c.Offset, c.Chunks, c.KillPriv = r.Ino, r.Offset, r.Chunks, r.KillPriv
	case OpSetXattr:
		c.Ino, c.Name, c.Data, c.KillPriv = r.Ino, r.Name, r.Data, r.KillPriv
		c.Exclusive, c.Replace, c.Match.Version = r.Exclusive, r.Replace, r.Match.Version
	case OpRemoveXattr:
		c.Ino, c.Name, c.Match.Version = r.Ino, r.Name, r.Match.Version
	case OpPublish:
		c.Ino, c.Parent, c.Name, c.Xattrs, c.Match = r.Ino, r.Parent, r.Name, r.Xattrs, r.Match
		c.Set = r.Set & SetMode
		c.attrs(&r)
	}
	return c
}

// attrs takes over the attributes that the mask names.
func (r *Request) attrs(from *Request) {
	if r.Set&SetMode != 0 {
		r.Mode = from.Mode & ModePerm
	}
	if r.Set&SetUID != 0 {
		r.UID = from.UID
	}
	if r.Set&SetGID != 0 {
		r.GID = from.GID
	}
	if r.Set&SetAtime != 0 {
		r.Atime = from.Atime
	}
	if r.Set&SetMtime != 0 {
		r.Mtime = from.Mtime
	}
	if r.Set&SetSize != 0 {
		r.Size = from.Size
	}
}

// check is what can be said against a canonical request without a volume. The errors are
// those that a volume would answer.
func (r *Request) check() error {
	if !r.Kind.askable() {
		return Errorf(Invalid, "%s cannot be asked for", r.Kind)
	}
	c := &r.Caller
	if c.Front >= frontEnd || c.Client != "" && CheckNodeID(c.Client) != nil {
		return Errorf(Invalid, "%s request: its caller cannot be one", r.Kind)
	}
	for _, ino := range [...]Ino{r.Ino, r.Parent, r.NewParent} {
		if ino != 0 && !ino.Valid() {
			return Stale
		}
	}
	if r.Kind != OpCreate && r.Ino == 0 && r.Parent == 0 {
		return Stale
	}
	switch r.Kind {
	case OpCreate:
		return r.checkCreate()
	case OpLink:
		return CheckName(r.NewName)
	case OpUnlink, OpRmdir:
		return CheckName(r.Name)
	case OpRename:
		if err := CheckName(r.Name); err != nil {
			return err
		}
		return CheckName(r.NewName)
	case OpSetXattr, OpRemoveXattr:
		return checkXattrForm(r.Name, r.Data)
	case OpPublish:
		if err := CheckName(r.Name); err != nil {
			return err
		}
		if len(r.Xattrs) > MaxOpXattrs {
			return XattrTooBig
		}
		for _, x := range r.Xattrs {
			if err := checkXattrForm(x.Name, x.Value); err != nil {
				return err
			}
		}
		return nil
	}
	return r.checkContent()
}

func (r *Request) checkCreate() error {
	if r.Parent != 0 && r.Name != "" {
		if err := CheckName(r.Name); err != nil {
			return err
		}
	}
	switch r.Mode & ModeType {
	case ModeFile, ModeDir, ModeFIFO, ModeSocket, ModeBlock, ModeChar:
	case ModeLink:
		switch {
		case r.Target == "":
			return NotFound
		case len(r.Target) > MaxTargetLen:
			return NameTooLong
		case strings.IndexByte(r.Target, 0) >= 0:
			return Invalid
		}
	default:
		return Invalid
	}
	if len(r.Xattrs) > MaxOpXattrs {
		return XattrTooBig
	}
	for _, x := range r.Xattrs {
		if err := checkXattrForm(x.Name, x.Value); err != nil {
			return err
		}
	}
	return nil
}

// checkContent checks ranges.
func (r *Request) checkContent() error {
	switch r.Kind {
	case OpSetAttr:
		switch {
		case r.Size < 0 || r.Atime.Nsec >= 1e9 || r.Mtime.Nsec >= 1e9:
			return Invalid
		case r.Size > MaxNewSize:
			return TooBig
		}
	case OpWrite:
		switch {
		case r.Offset < 0 || len(r.Data) > MaxWrite:
			return Invalid
		case len(r.Data) > 0 && r.Offset >= MaxNewSize:
			return TooBig
		}
	case OpFallocate:
		switch {
		case r.Offset < 0 || r.Length <= 0:
			return Invalid
		case r.Alloc&^fallocAll != 0, r.Alloc&FallocPunchHole != 0 && r.Alloc != FallocPunchHole|FallocKeepSize:
			return Unsupported
		case r.Offset > MaxNewSize || r.Length > MaxNewSize-r.Offset:
			return TooBig
		}
	case OpCopyChunks:
		op := Op{Kind: OpCopyChunks, Offset: r.Offset, Chunks: r.Chunks}
		return op.validateChunks(func(what string) error { return Errorf(Invalid, "%s request: %s", r.Kind, what) })
	}
	return nil
}

func checkXattrForm(name string, value []byte) error {
	switch {
	case name == "" || len(name) > MaxXattrNameLen || strings.IndexByte(name, 0) >= 0:
		return OutOfRange
	case len(value) > MaxXattrLen:
		return XattrTooBig
	}
	return nil
}

// EncodeRequest is the request as it goes to another node. One that no volume would take
// is refused as a volume would.
func EncodeRequest(req *Request) ([]byte, error) {
	r := req.canonical()
	if err := r.check(); err != nil {
		return nil, err
	}
	e := NewEncoder()
	w := (*opWriter)(e)
	w.keep(e.enc.EncodeArrayLen(requestCounts[r.Kind]))
	w.u8((*uint8)(&r.Kind))
	r.fields(w)
	if e.err != nil {
		return nil, Errorf(BadFormat, "encode %s request: %w", r.Kind, e.err)
	}
	return e.Bytes(), nil
}

// DecodeRequest reads what EncodeRequest made, from a peer that may be hostile: BadFormat.
// Data and the values of attributes alias b.
func DecodeRequest(b []byte) (*Request, error) {
	d := NewDecoder(b)
	n, err := d.dec.DecodeArrayLen()
	if err != nil {
		return nil, Errorf(BadFormat, "decode request: %w", err)
	}
	req := &Request{}
	r := (*opReader)(d)
	r.u8((*uint8)(&req.Kind))
	if d.err == nil && (!req.Kind.askable() || requestCounts[req.Kind] != n) {
		return nil, Errorf(BadFormat, "decode request: %s with %d fields", req.Kind, n)
	}
	if d.err == nil {
		req.fields(r)
	}
	switch {
	case d.err != nil:
		return nil, Errorf(BadFormat, "decode %s request: %w", req.Kind, d.err)
	case d.src.Len() > 0:
		return nil, Errorf(BadFormat, "decode %s request: %d bytes behind it", req.Kind, d.src.Len())
	}
	if err := req.check(); err != nil {
		return nil, Errorf(BadFormat, "decode %s request: %w", req.Kind, err)
	}
	if c := req.canonical(); !sameRequest(&c, req) {
		return nil, Errorf(BadFormat, "decode %s request: unknown bits, or fields that do not count", req.Kind)
	}
	return req, nil
}

// sameRequest compares what canonical may have changed.
func sameRequest(a, b *Request) bool {
	return a.Name == b.Name && a.Mode == b.Mode && a.Umask == b.Umask && a.Rdev == b.Rdev && a.Target == b.Target &&
		a.Set == b.Set && a.UID == b.UID && a.GID == b.GID && a.Atime == b.Atime && a.Mtime == b.Mtime &&
		a.Size == b.Size && a.Offset == b.Offset
}

// fields visits a result. It is the only place that knows the order.
func (r *Result) fields(f fielder) {
	f.u64((*uint64)(&r.Version))
	n := int64(r.N)
	f.i64(&n)
	r.N = int(n)
	f.i64(&r.Offset)
	for _, a := range [...]*Attr{&r.Attr, &r.Replaced} {
		f.u64((*uint64)(&a.Ino))
		for _, p := range [...]*uint32{&a.Mode, &a.Nlink, &a.UID, &a.GID, &a.Rdev} {
			f.u32(p)
		}
		f.i64(&a.Size)
		for _, t := range [...]*Time{&a.Atime, &a.Mtime, &a.Ctime, &a.Btime} {
			f.i64(&t.Sec)
			f.u32(&t.Nsec)
		}
		f.u64((*uint64)(&a.Version))
		f.boolean(&a.Holes)
	}
}

var resultCount = func() int {
	var c fieldCounter
	new(Result).fields(&c)
	return int(c)
}()

// EncodeResult is the result as it goes to the node that asked.
func EncodeResult(res Result) ([]byte, error) {
	e := NewEncoder()
	w := (*opWriter)(e)
	w.keep(e.enc.EncodeArrayLen(resultCount))
	res.fields(w)
	if e.err != nil {
		return nil, Errorf(BadFormat, "encode result: %w", e.err)
	}
	return e.Bytes(), nil
}

// DecodeResult reads what EncodeResult made: BadFormat.
func DecodeResult(b []byte) (Result, error) {
	bad := func(what any) (Result, error) { return Result{}, Errorf(BadFormat, "decode result: %v", what) }
	d := NewDecoder(b)
	n, err := d.dec.DecodeArrayLen()
	if err != nil || n != resultCount {
		return bad("its length")
	}
	var res Result
	res.fields((*opReader)(d))
	switch {
	case d.err != nil:
		return bad(d.err)
	case d.src.Len() > 0:
		return bad("bytes behind it")
	case res.N < 0 || res.Offset < 0:
		return bad("range")
	}
	for _, a := range [...]*Attr{&res.Attr, &res.Replaced} {
		late := func(t Time) bool { return t.Nsec >= 1e9 }
		if a.Ino != 0 && !a.Ino.Valid() || a.Size < 0 || slices.ContainsFunc([]Time{a.Atime, a.Mtime, a.Ctime, a.Btime}, late) {
			return bad("attributes")
		}
	}
	return res, nil
}
