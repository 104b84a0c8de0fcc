package volume

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// validOps has an op of every kind that passes Validate, with every field that its
// encoding has set to something.
func validOps() map[OpKind]*Op {
	ops := map[OpKind]*Op{
		OpCreate:      {Ino: MakeIno(0xabcde, 7), Parent: 1, Name: "n\xff", Mode: ModeBlock | 0o4755, UID: 1, GID: 2, Rdev: 0x12345, Xattrs: someXattrs()},
		OpLink:        {Ino: 2, Parent: 3, Name: "link", Flags: OpEnds},
		OpUnlink:      {Ino: 2, Parent: 3, Name: "unlink", Flags: OpEnds},
		OpRmdir:       {Ino: 2, Parent: 3, Name: "rmdir", Flags: OpEnds},
		OpRename:      {Ino: 2, Parent: 3, Name: "from", NewParent: 4, NewName: "to", Replaced: 5, Flags: OpExchange},
		OpSetAttr:     {Ino: 2, Mask: setMaskOp, Mode: 0o7777, Flags: OpDropCaps, UID: 1<<32 - 1, GID: 7, Atime: Time{-5, 999999999}, Mtime: Time{1 << 40, 1}},
		OpWrite:       {Ino: 2, Mask: SetMode, Mode: 0o755, Flags: OpDropCaps, Offset: 1 << 40, Data: []byte("data\x00\xff")},
		OpTruncate:    {Ino: 2, Mask: SetMode, Mode: 0o755, Flags: OpDropCaps, Size: MaxFileSize},
		OpFallocate:   {Ino: 2, Mask: SetMode, Mode: 0o755, Flags: OpDropCaps, Alloc: FallocKeepSize | FallocPunchHole, Offset: 5, Length: 6},
		OpCopyChunks:  {Ino: 2, Mask: SetMode, Mode: 0o755, Flags: OpDropCaps, Offset: 9, Chunks: []ChunkRef{{ChunkID{1, 31: 2}, 3, 4}, {Length: 1 << 40}}},
		OpSetXattr:    {Ino: 2, Name: "user.a", Data: []byte("value"), Mask: SetMode, Mode: 0o640},
		OpRemoveXattr: {Ino: 2, Name: "user.a", Mask: SetMode, Mode: 0o640},
		OpEnd:         {Ino: 2},
		OpPublish:     {Ino: 2, Parent: 3, Name: "object", Replaced: 4, Mask: SetMode, Mode: 0o644, Flags: OpEnds, Xattrs: someXattrs()},
		OpReign:       {Epoch: Epoch{1 << 40, "node-1", 0xfffff}, Participants: []string{"node-1", "node-2"}},
		OpMember:      {Member: Member{ID: "node-2", Store: ID{1, 15: 9}, Role: RoleWitness, Address: "host:9500", Removed: true}},
	}
	for k, op := range ops {
		op.Kind = k
		op.Time = Time{1700000000, 123456789}
		op.Caller = Caller{UID: 501, Front: FrontForward, Client: "client-1", Seq: 1 << 50}
	}
	return ops
}

func someXattrs() []Xattr {
	return []Xattr{{"security.capability", nil}, {"user.a", []byte{0, 0xff}}, {"user.b", []byte("b")}}
}

func allKinds() (kinds []OpKind) {
	for k := opInvalid + 1; k < opKindEnd; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

func TestNames(t *testing.T) {
	unique := func(what string, n int, text func(i int) string) {
		seen := map[string]bool{}
		for i := range n + 2 {
			s := text(i)
			if s == "" || seen[s] {
				t.Errorf("%s %d: text %q", what, i, s)
			}
			seen[s] = true
		}
	}
	unique("op kind", int(opKindEnd), func(i int) string { return OpKind(i).String() })
	unique("front", int(frontEnd), func(i int) string { return Front(i).String() })
	unique("role", int(roleEnd), func(i int) string { return Role(i).String() })
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string]error{
		"a": nil, "...": nil, " ": nil, "\xff": nil, "a.": nil, ".wolfdisk": nil, strings.Repeat("n", MaxNameLen): nil,
		"": NotFound, strings.Repeat("n", MaxNameLen+1): NameTooLong, ".": Invalid, "..": Invalid, "/": Invalid, "a/b": Invalid, "a\x00": Invalid,
	} {
		if got := CheckName(name); got != want {
			t.Errorf("%.20q: %v, want %v", name, got, want)
		}
	}
}

func TestValidOps(t *testing.T) {
	ops := validOps()
	for _, k := range allKinds() {
		op := ops[k]
		if op == nil {
			t.Errorf("%s: no op in the table", k)
			continue
		}
		if err := op.Validate(); err != nil {
			t.Error(err)
		}
	}
	for _, typ := range []uint32{ModeFile, ModeDir, ModeFIFO, ModeSocket, ModeBlock, ModeChar} {
		op := &Op{Kind: OpCreate, Ino: 2, Parent: 1, Name: "n", Mode: typ}
		if err := op.Validate(); err != nil {
			t.Errorf("type %o: %v", typ, err)
		}
	}
	for name, op := range map[string]*Op{
		"symlink":            {Kind: OpCreate, Ino: 2, Parent: 1, Name: "n", Mode: ModeLink, Target: strings.Repeat("t", MaxTargetLen)},
		"nameless":           {Kind: OpCreate, Ino: 2, Mode: ModeFile},
		"empty write":        {Kind: OpWrite, Ino: 2, Offset: MaxFileSize},
		"largest write":      {Kind: OpWrite, Ino: 2, Data: make([]byte, MaxWrite)},
		"rename onto nobody": {Kind: OpRename, Ino: 2, Parent: 1, Name: "a", NewParent: 1, NewName: "b"},
		"empty attribute":    {Kind: OpSetXattr, Ino: 2, Name: "user.a"},
		"reign of nobody":    {Kind: OpReign, Epoch: Epoch{Number: 1, Leader: "a"}},
		"chunk to its end":   {Kind: OpCopyChunks, Ino: 2, Chunks: []ChunkRef{{ChunkID{1}, MaxChunkSize - 1, 1}}},
		"chunks to the end":  {Kind: OpCopyChunks, Ino: 2, Offset: MaxFileSize - 1, Chunks: []ChunkRef{{Length: 1}}},
		"fallocate the end":  {Kind: OpFallocate, Ino: 2, Offset: MaxFileSize - 1, Length: 1},
	} {
		if err := op.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInvalidOps(t *testing.T) {
	long := strings.Repeat("n", MaxNameLen+1)
	everyKind := map[string]func(*Op){
		"nanoseconds":         func(op *Op) { op.Time.Nsec = 1e9 },
		"nanoseconds, atime":  func(op *Op) { op.Atime.Nsec = 1e9 },
		"nanoseconds, mtime":  func(op *Op) { op.Mtime.Nsec = 1<<32 - 1 },
		"front":               func(op *Op) { op.Caller.Front = frontEnd },
		"client":              func(op *Op) { op.Caller.Client = strings.Repeat("c", MaxNodeIDLen+1) },
		"mask: now":           func(op *Op) { op.Mask |= SetMtimeNow },
		"mask: size":          func(op *Op) { op.Mask |= SetSize },
		"mask: unknown":       func(op *Op) { op.Mask |= 1 << 31 },
		"flags":               func(op *Op) { op.Flags |= opFlagsAll + 1 },
		"displaced inode":     func(op *Op) { op.Replaced = 1 << 60 },
		"mode beyond a mode":  func(op *Op) { op.Mode |= 1 << 16 },
		"mode beyond 32 bits": func(op *Op) { op.Mode |= 1 << 31 },
	}
	byKind := map[OpKind]map[string]func(*Op){
		OpCreate: {
			"no type":                 func(op *Op) { op.Mode = 0o644 },
			"unknown type":            func(op *Op) { op.Mode = 0o160000 },
			"symlink without target":  func(op *Op) { op.Mode = ModeLink },
			"symlink, long target":    func(op *Op) { op.Mode = ModeLink; op.Target = strings.Repeat("t", MaxTargetLen+1) },
			"symlink, NUL in target":  func(op *Op) { op.Mode = ModeLink; op.Target = "a\x00" },
			"file with target":        func(op *Op) { op.Mode = ModeFile; op.Target = "t" },
			"nameless directory":      func(op *Op) { op.Mode, op.Parent, op.Name = ModeDir, 0, "" },
			"parent without a name":   func(op *Op) { op.Name = "" },
			"name without a parent":   func(op *Op) { op.Parent = 0 },
			"attributes out of order": func(op *Op) { slices.Reverse(op.Xattrs) },
			"attribute twice":         func(op *Op) { op.Xattrs = []Xattr{{Name: "user.a"}, {Name: "user.a"}} },
			"attribute without name":  func(op *Op) { op.Xattrs = []Xattr{{}} },
			"attribute, long name":    func(op *Op) { op.Xattrs = []Xattr{{Name: strings.Repeat("x", MaxXattrNameLen+1)}} },
			"attribute, NUL in name":  func(op *Op) { op.Xattrs = []Xattr{{Name: "user.\x00"}} },
			"attribute, long value":   func(op *Op) { op.Xattrs = []Xattr{{"user.a", make([]byte, MaxXattrLen+1)}} },
			"too many attributes": func(op *Op) {
				for i := range MaxOpXattrs {
					op.Xattrs = append(op.Xattrs, Xattr{Name: fmt.Sprintf("user.x%02d", i)})
				}
			},
		},
		OpRename: {
			"new parent":            func(op *Op) { op.NewParent = 0 },
			"new name":              func(op *Op) { op.NewName = ".." },
			"long new name":         func(op *Op) { op.NewName = long },
			"exchange with nothing": func(op *Op) { op.Replaced = 0 },
		},
		OpWrite: {
			"offset":           func(op *Op) { op.Offset = -1 },
			"data":             func(op *Op) { op.Data = make([]byte, MaxWrite+1) },
			"end of the range": func(op *Op) { op.Offset = MaxFileSize },
		},
		OpTruncate: {"size": func(op *Op) { op.Size = -1 }},
		OpFallocate: {
			"unknown mode":           func(op *Op) { op.Alloc = 0x40 },
			"punch without keep":     func(op *Op) { op.Alloc = FallocPunchHole },
			"punch and zero":         func(op *Op) { op.Alloc = FallocPunchHole | FallocZeroRange | FallocKeepSize },
			"offset":                 func(op *Op) { op.Offset = -1 },
			"length":                 func(op *Op) { op.Length = 0 },
			"negative length":        func(op *Op) { op.Length = -1 },
			"end beyond the largest": func(op *Op) { op.Offset = MaxFileSize },
		},
		OpCopyChunks: {
			"offset":          func(op *Op) { op.Offset = -1 },
			"no chunks":       func(op *Op) { op.Chunks = nil },
			"too many":        func(op *Op) { op.Chunks = slices.Repeat([]ChunkRef{{Length: 1}}, MaxCopyChunks+1) },
			"length":          func(op *Op) { op.Chunks[1].Length = 0 },
			"negative length": func(op *Op) { op.Chunks[0].Length = -1 },
			"within chunk":    func(op *Op) { op.Chunks[0].Offset = -1 },
			"beyond a chunk":  func(op *Op) { op.Chunks[0].Offset = MaxChunkSize },
			"far beyond":      func(op *Op) { op.Chunks[0].Offset = 1<<63 - 1 },
			"long":            func(op *Op) { op.Chunks[0].Length = MaxChunkSize + 1 },
			"end":             func(op *Op) { op.Chunks[1].Length = MaxFileSize },
		},
		OpSetXattr: {
			"long value": func(op *Op) { op.Data = make([]byte, MaxXattrLen+1) },
		},
		OpReign: {
			"number":                func(op *Op) { op.Epoch.Number = 0 },
			"leader":                func(op *Op) { op.Epoch.Leader = "" },
			"tag":                   func(op *Op) { op.Epoch.Tag = 1 << InoTagBits },
			"participant":           func(op *Op) { op.Participants[1] = "a/b" },
			"too many participants": func(op *Op) { op.Participants = slices.Repeat([]string{"a"}, MaxParticipants+1) },
		},
		OpMember: {
			"ID":      func(op *Op) { op.Member.ID = "-" },
			"role":    func(op *Op) { op.Member.Role = roleEnd },
			"address": func(op *Op) { op.Member.Address = strings.Repeat("a", MaxAddressLen+1) },
		},
	}
	inodes := map[string]func(*Op){
		"inode 0":         func(op *Op) { op.Ino = 0 },
		"inode too large": func(op *Op) { op.Ino = 1 << 52 },
	}
	names := map[string]func(*Op){
		"parent": func(op *Op) { op.Parent = 1 << 55 }, "long name": func(op *Op) { op.Name = long },
		"name .": func(op *Op) { op.Name = "." }, "name with slash": func(op *Op) { op.Name = "a/b" }, "name with NUL": func(op *Op) { op.Name = "\x00" },
	}
	xattrNames := map[string]func(*Op){
		"no name": func(op *Op) { op.Name = "" }, "long name": func(op *Op) { op.Name = strings.Repeat("x", MaxXattrNameLen+1) },
		"NUL in name": func(op *Op) { op.Name = "user.\x00" },
	}
	for _, k := range allKinds() {
		cases := []map[string]func(*Op){everyKind, byKind[k]}
		switch k {
		case OpCreate, OpLink, OpUnlink, OpRmdir, OpRename, OpPublish:
			cases = append(cases, names, inodes)
		case OpSetXattr, OpRemoveXattr:
			cases = append(cases, xattrNames, inodes)
		case OpReign, OpMember:
		default:
			cases = append(cases, inodes)
		}
		for _, list := range cases {
			for name, spoil := range list {
				op := validOps()[k]
				spoil(op)
				if err := op.Validate(); KindOf(err) != BadFormat || err == nil {
					t.Errorf("%s, %s: %v", k, name, err)
				}
				if _, err := NewEncoder().Add(op); KindOf(err) != BadFormat || err == nil {
					t.Errorf("%s, %s: encoded, %v", k, name, err)
				}
			}
		}
	}
	for _, k := range []OpKind{opInvalid, opKindEnd, 255} {
		if err := (&Op{Kind: k, Ino: 2}).Validate(); KindOf(err) != BadFormat {
			t.Errorf("kind %d: %v", k, err)
		}
	}
}

func TestContentRange(t *testing.T) {
	ops := validOps()
	want := map[OpKind][2]int64{
		OpWrite: {1 << 40, 6}, OpTruncate: {MaxFileSize, 0}, OpFallocate: {5, 6}, OpCopyChunks: {9, 4 + 1<<40},
	}
	for _, k := range allKinds() {
		off, length, ok := ops[k].ContentRange()
		w, has := want[k]
		if ok != has || off != w[0] || length != w[1] {
			t.Errorf("%s: %d, %d, %t", k, off, length, ok)
		}
	}
	if _, _, ok := (&Op{Kind: OpWrite}).ContentRange(); ok {
		t.Error("an empty write has a range")
	}
}
