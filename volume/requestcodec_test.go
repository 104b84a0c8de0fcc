package volume

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// validRequests has canonical requests of every kind that can be asked for, with every
// field of their encoding set to something in one of them.
func validRequests() []*Request {
	list := []*Request{
		{Kind: OpCreate, Parent: 3, Name: "n\xff", Mode: ModeBlock | 0o4755, Umask: 0o022, Rdev: 0x12345, Exclusive: true},
		{Kind: OpCreate, Parent: 3, Name: "l", Mode: ModeLink, Target: "to/../\xff"},
		{Kind: OpCreate, Parent: 3, Mode: ModeFile | 0o600},
		{Kind: OpCreate, Mode: ModeFile | 0o600},
		{Kind: OpLink, Ino: MakeIno(0xabcde, 7), NewParent: 4, NewName: "link"},
		{Kind: OpUnlink, Parent: 3, Name: "unlink"},
		{Kind: OpRmdir, Parent: 3, Name: "rmdir"},
		{Kind: OpRename, Parent: 3, Name: "from", NewParent: 4, NewName: "to", Exclusive: true, Exchange: true},
		{Kind: OpSetAttr, Ino: 2, Set: setMaskAll, Mode: 0o7777, UID: 1<<32 - 1, GID: 7, Atime: Time{-5, 999999999}, Mtime: Time{1 << 40, 1}, Size: MaxNewSize, KillPriv: true},
		{Kind: OpWrite, Ino: 2, Offset: 1 << 40, Data: []byte("data\x00\xff"), KillPriv: true},
		{Kind: OpWrite, Ino: 2, Append: true},
		{Kind: OpFallocate, Ino: 2, Alloc: FallocKeepSize | FallocPunchHole, Offset: 5, Length: 6, KillPriv: true},
		{Kind: OpCopyChunks, Ino: 2, Offset: 9, Chunks: []ChunkRef{{ChunkID{1, 31: 2}, 3, 4}, {Length: 1 << 40}}, KillPriv: true},
		{Kind: OpSetXattr, Ino: 2, Name: "user.a", Data: []byte("value"), Exclusive: true, Replace: true, KillPriv: true},
		{Kind: OpRemoveXattr, Ino: 2, Name: "user.a"},
		{Kind: OpPublish, Ino: 2, Parent: 3, Name: "object", Set: SetMode, Mode: 0o644, Xattrs: someXattrs(), Match: Match{Absent: true, Present: true, Version: 1 << 60}},
	}
	for _, r := range list {
		r.Caller = Caller{UID: 501, GID: 20, Front: FrontS3, Client: "client-1", Seq: 1 << 63}
	}
	return list
}

func encodeRequest(t testing.TB, r *Request) []byte {
	t.Helper()
	b, err := EncodeRequest(r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return b
}

// plainRequest is a request without what decoding may tell apart but nobody else does.
func plainRequest(r *Request) Request {
	p := *r
	if len(p.Data) == 0 {
		p.Data = nil
	}
	p.Xattrs = append([]Xattr(nil), p.Xattrs...)
	for i := range p.Xattrs {
		if len(p.Xattrs[i].Value) == 0 {
			p.Xattrs[i].Value = nil
		}
	}
	if len(p.Chunks) == 0 {
		p.Chunks = nil
	}
	return p
}

func TestRequestRoundTrip(t *testing.T) {
	seen := map[OpKind]bool{}
	for _, r := range validRequests() {
		seen[r.Kind] = true
		b := encodeRequest(t, r)
		back, err := DecodeRequest(b)
		if err != nil {
			t.Fatalf("%s: %v", r.Kind, err)
		}
		if got, want := plainRequest(back), plainRequest(r); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", r.Kind, got, want)
		}
	}
	for _, k := range allKinds() {
		if seen[k] != k.askable() {
			t.Errorf("%s: in the table %t, can be asked for %t", k, seen[k], k.askable())
		}
	}
}

// Every field of a request is one that travels with some kind, or is named here.
func TestRequestFieldsTravel(t *testing.T) {
	travels := map[string]bool{"Kind": true}
	for _, r := range validRequests() {
		v := reflect.ValueOf(*r)
		for i := range v.NumField() {
			travels[v.Type().Field(i).Name] = travels[v.Type().Field(i).Name] || !v.Field(i).IsZero()
		}
	}
	for i := range reflect.TypeFor[Request]().NumField() {
		if name := reflect.TypeFor[Request]().Field(i).Name; !travels[name] {
			t.Errorf("no request in the table has %s", name)
		}
	}
}

// What does not count for the kind does not travel.
func TestRequestIsCanonical(t *testing.T) {
	junk := Request{
		Ino: 77, Parent: 78, NewParent: 79, Name: "junk", NewName: "more", Mode: 1<<30 | 0o7777, Umask: 0o7777, Rdev: 99, Target: "junk",
		Set: 1 << 20, UID: 1234, GID: 5678, Atime: Time{9, 1e9}, Mtime: Time{8, 1e9}, Alloc: 0x13, Offset: 1, Length: 2, Size: -3,
		Append: true, Data: []byte("junk"), Chunks: []ChunkRef{{Length: 4}}, Xattrs: []Xattr{{"user.junk", nil}},
		Exclusive: true, Replace: true, Exchange: true, KillPriv: true, Match: Match{Absent: true, Version: 99},
	}
	for _, kind := range allKinds() {
		if !kind.askable() {
			continue
		}
		r := junk
		r.Kind, r.Caller.PID = kind, 4711
		switch kind {
		case OpCreate:
			r.Mode = 1<<30 | ModeDir | 0o755
		case OpFallocate:
			r.Alloc = 0
		}
		own := r
		b := encodeRequest(t, &r)
		if !reflect.DeepEqual(r, own) {
			t.Errorf("%s: encoding changed the request", kind)
		}
		back, err := DecodeRequest(b)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if c := r.canonical(); !reflect.DeepEqual(plainRequest(back), plainRequest(&c)) {
			t.Errorf("%s: got %+v, want %+v", kind, back, c)
		}
		if again := back.canonical(); !reflect.DeepEqual(plainRequest(&again), plainRequest(back)) {
			t.Errorf("%s: what arrives is not canonical: %+v", kind, back)
		}
	}
}

// What no volume would take is refused as a volume would.
func TestRequestRefused(t *testing.T) {
	long := strings.Repeat("n", MaxNameLen+1)
	hole := ChunkRef{Length: 1}
	for _, row := range []struct {
		what string
		want Kind
		req  Request
	}{
		{"no kind", Invalid, Request{}},
		{"an op's kind", Invalid, Request{Kind: OpTruncate, Ino: 2}},
		{"a kind too high", Invalid, Request{Kind: opKindEnd, Ino: 2}},
		{"front", Invalid, Request{Kind: OpRemoveXattr, Ino: 2, Name: "user.a", Caller: Caller{Front: frontEnd}}},
		{"client", Invalid, Request{Kind: OpRemoveXattr, Ino: 2, Name: "user.a", Caller: Caller{Client: "a b"}}},
		{"inode", Stale, Request{Kind: OpRemoveXattr, Ino: 1 << 60, Name: "user.a"}},
		{"no inode", Stale, Request{Kind: OpRemoveXattr, Name: "user.a"}},
		{"no name", NotFound, Request{Kind: OpUnlink, Parent: 1}},
		{"long name", NameTooLong, Request{Kind: OpUnlink, Parent: 1, Name: long}},
		{"slash", Invalid, Request{Kind: OpRmdir, Parent: 1, Name: "a/b"}},
		{"new name", NameTooLong, Request{Kind: OpRename, Parent: 1, Name: "a", NewParent: 1, NewName: long}},
		{"old name", Invalid, Request{Kind: OpRename, Parent: 1, Name: "..", NewParent: 1, NewName: "a"}},
		{"link's name", Invalid, Request{Kind: OpLink, Ino: 2, NewParent: 1, NewName: "."}},
		{"created name", Invalid, Request{Kind: OpCreate, Parent: 1, Name: "a\x00", Mode: ModeFile}},
		{"type", Invalid, Request{Kind: OpCreate, Parent: 1, Name: "a", Mode: 0o644}},
		{"no target", NotFound, Request{Kind: OpCreate, Parent: 1, Name: "a", Mode: ModeLink}},
		{"long target", NameTooLong, Request{Kind: OpCreate, Parent: 1, Name: "a", Mode: ModeLink, Target: strings.Repeat("t", MaxTargetLen+1)}},
		{"target with NUL", Invalid, Request{Kind: OpCreate, Parent: 1, Name: "a", Mode: ModeLink, Target: "a\x00"}},
		{"negative size", Invalid, Request{Kind: OpSetAttr, Ino: 2, Set: SetSize, Size: -1}},
		{"large size", TooBig, Request{Kind: OpSetAttr, Ino: 2, Set: SetSize, Size: MaxNewSize + 1}},
		{"nanoseconds", Invalid, Request{Kind: OpSetAttr, Ino: 2, Set: SetMtime, Mtime: Time{0, 1e9}}},
		{"negative offset", Invalid, Request{Kind: OpWrite, Ino: 2, Offset: -1}},
		{"much data", Invalid, Request{Kind: OpWrite, Ino: 2, Data: make([]byte, MaxWrite+1)}},
		{"far data", TooBig, Request{Kind: OpWrite, Ino: 2, Offset: MaxNewSize, Data: []byte("x")}},
		{"no length", Invalid, Request{Kind: OpFallocate, Ino: 2}},
		{"mode of fallocate", Unsupported, Request{Kind: OpFallocate, Ino: 2, Alloc: FallocPunchHole, Length: 1}},
		{"far space", TooBig, Request{Kind: OpFallocate, Ino: 2, Offset: MaxNewSize, Length: 1}},
		{"no chunks", Invalid, Request{Kind: OpCopyChunks, Ino: 2}},
		{"many chunks", Invalid, Request{Kind: OpCopyChunks, Ino: 2, Chunks: slicesOf(hole, MaxCopyChunks+1)}},
		{"no attribute", OutOfRange, Request{Kind: OpSetXattr, Ino: 2}},
		{"long attribute", OutOfRange, Request{Kind: OpSetXattr, Ino: 2, Name: "user." + long}},
		{"large attribute", XattrTooBig, Request{Kind: OpSetXattr, Ino: 2, Name: "user.a", Data: make([]byte, MaxXattrLen+1)}},
		{"published name", Invalid, Request{Kind: OpPublish, Ino: 2, Parent: 1, Name: "a/b"}},
		{"many attributes", XattrTooBig, Request{Kind: OpPublish, Ino: 2, Parent: 1, Name: "a", Xattrs: slicesOf(Xattr{"user.a", nil}, MaxOpXattrs+1)}},
		{"attribute", OutOfRange, Request{Kind: OpPublish, Ino: 2, Parent: 1, Name: "a", Xattrs: []Xattr{{}}}},
	} {
		b, err := EncodeRequest(&row.req)
		if err == nil || KindOf(err) != row.want || b != nil {
			t.Errorf("%s: %v, want %v", row.what, err, row.want)
		}
	}
}

func slicesOf[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// What is within the limits fits in MaxRequestLen and MaxResultLen.
func TestLargestRequests(t *testing.T) {
	name := strings.Repeat("n", MaxNameLen)
	publish := &Request{Kind: OpPublish, Ino: 1<<52 - 1, Parent: 1<<52 - 1, Name: name}
	for i := range MaxOpXattrs {
		publish.Xattrs = append(publish.Xattrs, Xattr{strings.Repeat("x", MaxXattrNameLen-1) + string(rune('a'+i)), make([]byte, MaxXattrLen)})
	}
	for _, r := range []*Request{
		publish,
		{Kind: OpWrite, Ino: 2, Data: make([]byte, MaxWrite), Offset: MaxNewSize - 1},
		{Kind: OpCopyChunks, Ino: 2, Chunks: slicesOf(ChunkRef{ChunkID{1}, MaxChunkSize / 2, MaxChunkSize / 2}, MaxCopyChunks)},
		{Kind: OpCreate, Parent: 2, Name: name, Mode: ModeLink, Target: strings.Repeat("t", MaxTargetLen)},
	} {
		r.Caller = Caller{UID: 1<<32 - 1, GID: 1<<32 - 1, Client: strings.Repeat("c", MaxNodeIDLen), Seq: 1<<64 - 1}
		b := encodeRequest(t, r)
		if len(b) > MaxRequestLen {
			t.Errorf("the largest %s request has %d bytes, more than %d", r.Kind, len(b), MaxRequestLen)
		}
		checkRequest(t, b)
	}
	a := Attr{1<<52 - 1, 1<<32 - 1, 1<<32 - 1, 1<<32 - 1, 1<<32 - 1, 1<<32 - 1, MaxFileSize, Time{-1 << 63, 999999999}, Time{-1 << 63, 999999999}, Time{-1 << 63, 999999999}, Time{-1 << 63, 999999999}, 1<<64 - 1, true}
	b, err := EncodeResult(Result{Version: 1<<64 - 1, Attr: a, Replaced: a, N: MaxFileSize, Offset: MaxFileSize})
	if err != nil || len(b) > MaxResultLen {
		t.Errorf("the largest result has %d bytes, more than %d; %v", len(b), MaxResultLen, err)
	}
	checkResult(t, b)
}

func randomResult(rnd *rand.Rand) Result {
	attr := func() Attr {
		tm := func() Time { return Time{int64(rnd.Uint64()), uint32(rnd.IntN(1e9))} }
		return Attr{MakeIno(rnd.Uint32(), max(1, rnd.Uint32())), rnd.Uint32(), rnd.Uint32(), rnd.Uint32(), rnd.Uint32(), rnd.Uint32(), rnd.Int64(), tm(), tm(), tm(), tm(), Version(rnd.Uint64()), rnd.IntN(2) == 0}
	}
	return Result{Version: Version(rnd.Uint64()), Attr: attr(), Replaced: attr(), N: rnd.IntN(MaxWrite + 1), Offset: rnd.Int64()}
}

func TestResultRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range 500 {
		res := randomResult(rnd)
		if i == 0 {
			res = Result{}
		}
		b, err := EncodeResult(res)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeResult(b)
		if err != nil || back != res {
			t.Fatalf("got %+v, %v, want %+v", back, err, res)
		}
	}
}

// TestRequestGolden holds the encodings as they were written first.
func TestRequestGolden(t *testing.T) {
	var b strings.Builder
	fmt.Fprintln(&b, "# requests: kind, fields in the array, encoding; then a result")
	for _, r := range validRequests() {
		fmt.Fprintf(&b, "%s %d %s\n", r.Kind, requestCounts[r.Kind], hex.EncodeToString(encodeRequest(t, r)))
	}
	res, err := EncodeResult(randomResult(rand.New(rand.NewPCG(1, 2))))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "result %d %s\n", resultCount, hex.EncodeToString(res))
	golden(t, "testdata/request.golden", b.String())
}

// checkRequest decodes bytes that may be hostile and checks all that must hold.
func checkRequest(t *testing.T, b []byte) {
	t.Helper()
	own := bytes.Clone(b)
	var req *Request
	var err error
	if got, ok := exceeds(decodeBound(b), func() { req, err = DecodeRequest(b) }); ok {
		t.Errorf("decoding %d bytes allocated %d, more than %d", len(b), got, decodeBound(b))
	}
	if !bytes.Equal(b, own) {
		t.Error("decoding changed the bytes")
	}
	if err != nil {
		if KindOf(err) != BadFormat || req != nil {
			t.Errorf("kind %v of %v", KindOf(err), err)
		}
		return
	}
	again, err := EncodeRequest(req)
	if err != nil {
		t.Fatalf("a decoded request cannot be encoded: %+v: %v", req, err)
	}
	back, err := DecodeRequest(again)
	if err != nil || !reflect.DeepEqual(plainRequest(back), plainRequest(req)) {
		t.Errorf("encoded again it is %+v, %v, not %+v", back, err, req)
	}
}

func checkResult(t *testing.T, b []byte) {
	t.Helper()
	res, err := DecodeResult(b)
	if err != nil {
		if KindOf(err) != BadFormat || res != (Result{}) {
			t.Errorf("kind %v of %v", KindOf(err), err)
		}
		return
	}
	again, err := EncodeResult(res)
	if back, derr := DecodeResult(again); err != nil || derr != nil || back != res {
		t.Errorf("encoded again it is %+v, %v, %v, not %+v", back, err, derr, res)
	}
}

// TestRequestHostile changes, cuts and blows up every encoding everywhere.
func TestRequestHostile(t *testing.T) {
	huge := [][]byte{
		{0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdc, 0xff, 0xff}, {0xc6, 0xff, 0xff, 0xff, 0xff}, {0xc6, 0x7f, 0xff, 0xff, 0xff},
		{0xdb, 0xff, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff}, {0xc0}, {0xc3}, {0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0},
	}
	hostile := func(raw []byte, check func(*testing.T, []byte)) {
		for i := range raw {
			check(t, raw[:i:i])
			for _, v := range []byte{0, 1, 0x7f, 0x80, 0x90, 0x9f, 0xa0, 0xc0, 0xc2, 0xc4, 0xc6, 0xcc, 0xcf, 0xd3, 0xdc, 0xdd, 0xe0, 0xff} {
				changed := bytes.Clone(raw)
				changed[i] = v
				check(t, changed)
			}
			for _, h := range huge {
				check(t, append(append(bytes.Clone(raw[:i]), h...), raw[i:]...))
				check(t, append(append(bytes.Clone(raw[:i]), h...), raw[i+1:]...))
			}
		}
		check(t, append(bytes.Clone(raw), 0))
	}
	for _, r := range validRequests() {
		raw := encodeRequest(t, r)
		for i := range raw {
			if req, err := DecodeRequest(raw[:i:i]); KindOf(err) != BadFormat {
				t.Errorf("%s cut at %d of %d: %+v, %v", r.Kind, i, len(raw), req, err)
			}
		}
		if _, err := DecodeRequest(append(bytes.Clone(raw), 0)); KindOf(err) != BadFormat {
			t.Errorf("%s with a byte behind it: %v", r.Kind, err)
		}
		hostile(raw, checkRequest)
	}
	res, err := EncodeResult(randomResult(rand.New(rand.NewPCG(1, 2))))
	if err != nil {
		t.Fatal(err)
	}
	hostile(res, checkResult)
}

// handMade encodes a request without any check.
func handMade(r Request) []byte {
	e := NewEncoder()
	w := (*opWriter)(e)
	w.keep(e.enc.EncodeArrayLen(requestCounts[r.Kind]))
	w.u8((*uint8)(&r.Kind))
	r.fields(w)
	return e.Bytes()
}

// What a well-meaning node never sends is refused, even where it would count for nothing.
func TestRequestNotCanonicalIsRefused(t *testing.T) {
	for _, r := range validRequests() {
		if _, err := DecodeRequest(handMade(*r)); err != nil {
			t.Fatalf("the hand-made %s request is not read: %v", r.Kind, err)
		}
	}
	for what, r := range map[string]Request{
		"mask":             {Kind: OpSetAttr, Ino: 2, Set: setMaskAll + 1},
		"mode, not set":    {Kind: OpSetAttr, Ino: 2, Mode: 0o644},
		"size, not set":    {Kind: OpSetAttr, Ino: 2, Size: 7},
		"mode":             {Kind: OpSetAttr, Ino: 2, Set: SetMode, Mode: 1 << 20},
		"mask of publish":  {Kind: OpPublish, Ino: 2, Parent: 1, Name: "a", Set: SetUID},
		"umask":            {Kind: OpCreate, Parent: 1, Name: "a", Mode: ModeFile, Umask: 0o1000},
		"device of a file": {Kind: OpCreate, Parent: 1, Name: "a", Mode: ModeFile, Rdev: 1},
		"target of a file": {Kind: OpCreate, Parent: 1, Name: "a", Mode: ModeFile, Target: "t"},
		"name for nobody":  {Kind: OpCreate, Name: "a", Mode: ModeFile},
		"offset of append": {Kind: OpWrite, Ino: 2, Append: true, Offset: 1},
		"name":             {Kind: OpUnlink, Parent: 1, Name: "a/b"},
		"no name":          {Kind: OpLink, Ino: 2, NewParent: 1},
		"inode":            {Kind: OpWrite, Ino: 1 << 60},
		"range":            {Kind: OpWrite, Ino: 2, Offset: -1},
		"far":              {Kind: OpFallocate, Ino: 2, Offset: 1 << 62, Length: 1 << 62},
		"front":            {Kind: OpRmdir, Parent: 1, Name: "a", Caller: Caller{Front: frontEnd}},
		"client":           {Kind: OpRmdir, Parent: 1, Name: "a", Caller: Caller{Client: "-"}},
	} {
		if req, err := DecodeRequest(handMade(r)); KindOf(err) != BadFormat {
			t.Errorf("%s: %+v, %v", what, req, err)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, r := range validRequests() {
		f.Add(encodeRequest(f, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkRequest(t, b) })
}

func FuzzDecodeResult(f *testing.F) {
	b, err := EncodeResult(randomResult(rand.New(rand.NewPCG(1, 2))))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) { checkResult(t, b) })
}
