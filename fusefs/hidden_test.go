package fusefs

import (
	"syscall"
	"testing"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// Attributes of our own are not to be seen through a mount, nor made, changed or removed.
func TestOwnAttributesAreHidden(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	k, c := fakeCore(t, m, new(fakeKernel))
	res, err := m.Do(t.Context(), &volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: "f", Mode: volume.ModeFile | 0o644,
		Xattrs: []volume.Xattr{{Name: volume.XattrObject, Value: []byte("meta")}}})
	if err != nil {
		t.Fatal(err)
	}
	ino := res.Attr.Ino
	if errno := k.setxattr(c, ino, "user.a", []byte("1"), 0, false); errno != 0 {
		t.Fatal(errno)
	}
	if buf, errno := k.listxattr(c, ino, nil); errno != 0 || string(buf) != "user.a\x00" {
		t.Errorf("listed: %q, %v", buf, errno)
	}
	for _, name := range []string{volume.XattrObject, volume.XattrKeep, volume.XattrReserved + "x"} {
		if v, errno := k.getxattr(c, ino, name); errno != syscall.EOPNOTSUPP {
			t.Errorf("get %s: %q, %v", name, v, errno)
		}
		if errno := k.setxattr(c, ino, name, []byte("forged"), 0, false); errno != syscall.EOPNOTSUPP {
			t.Errorf("set %s: %v", name, errno)
		}
		if errno := k.removexattr(c, ino, name); errno != syscall.EOPNOTSUPP {
			t.Errorf("remove %s: %v", name, errno)
		}
	}
	if v, err := m.GetXattr(t.Context(), ino, volume.XattrObject); err != nil || string(v) != "meta" {
		t.Errorf("afterwards: %q, %v", v, err)
	}
}

// What another front end publishes is made known to the kernel.
func TestPublishedIsTold(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	f := new(fakeKernel)
	k, c := fakeCore(t, m, f)
	s3 := volume.Caller{Front: volume.FrontS3}
	do := func(r volume.Request) volume.Ino {
		t.Helper()
		r.Caller = s3
		res, err := m.Do(t.Context(), &r)
		if err != nil {
			t.Fatal(err)
		}
		return res.Attr.Ino
	}
	do(volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: "f", Mode: volume.ModeFile | 0o644})
	if errno := k.lookup(c, volume.RootIno, "f"); errno != 0 {
		t.Fatal(errno)
	}
	k.nodes.add(volume.RootIno, 1)
	ino := do(volume.Request{Kind: volume.OpCreate, Mode: volume.ModeFile | 0o644})
	do(volume.Request{Kind: volume.OpPublish, Ino: ino, Parent: volume.RootIno, Name: "f"})
	ops := m.Ops(0)
	k.Applied(ops[len(ops)-1:])
	if got := told(t, k, f); got == "" {
		t.Error("the kernel keeps the name of what was displaced")
	}
}
