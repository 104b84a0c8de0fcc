package master_test

import (
	"testing"

	"wolfdisk/volume"
)

// An inode that is kept outlives the last Close and every change of the leader, until
// its mark is removed.
func TestKept(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	keep := []volume.Xattr{{Name: volume.XattrKeep, Value: []byte("upload")}}
	ino := mustDo(t, l, &volume.Request{Kind: volume.OpCreate, Mode: volume.ModeFile | 0o600, Xattrs: keep}).Attr.Ino
	plain := mustDo(t, l, &volume.Request{Kind: volume.OpCreate, Mode: volume.ModeFile | 0o600}).Attr.Ino
	mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte("part")})
	openAndClose := func(l volume.Volume) {
		t.Helper()
		if err := l.Open(ctx, ino, true); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(ctx, ino); err != nil {
			t.Fatal(err)
		}
	}
	openAndClose(l)
	for number := uint64(2); number < 5; number++ {
		l.Stop(volume.Fenced)
		l = r.lead(number)
		mkFile(t, l, string(rune('a'+number)))
		p := make([]byte, 9)
		if n, err := l.ReadAt(ctx, ino, p, 0); err != nil || string(p[:n]) != "part" {
			t.Fatalf("epoch %d: %q, %v", number, p[:n], err)
		}
		if _, err := l.GetAttr(ctx, plain); volume.KindOf(err) != volume.Stale {
			t.Fatalf("epoch %d: what is not kept: %v", number, err)
		}
		openAndClose(l)
	}
	mustDo(t, l, &volume.Request{Kind: volume.OpRemoveXattr, Ino: ino, Name: volume.XattrKeep})
	openAndClose(l)
	if _, err := l.GetAttr(ctx, ino); volume.KindOf(err) != volume.Stale {
		t.Fatalf("kept no longer: %v", err)
	}
}
