package hostdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Attributes of our own do not reach the lower file, are not missed there, and may be
// larger than what it can hold.
func TestOwnAttributesStayAbove(t *testing.T) {
	r := newRig(t)
	big := make([]byte, volume.MaxXattrLen)
	own := []volume.Xattr{{Name: volume.XattrObject, Value: big}, {Name: volume.XattrObject + ".p0", Value: big}}
	ino := r.ino()
	r.do(&volume.Op{Kind: volume.OpCreate, Ino: ino, Mode: volume.ModeFile | 0o644, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Xattrs: []volume.Xattr{{Name: volume.XattrKeep}}})
	r.write(ino, 0, "content")
	r.do(&volume.Op{Kind: volume.OpPublish, Ino: ino, Parent: volume.RootIno, Name: "f", Xattrs: append([]volume.Xattr{{Name: "user.a", Value: []byte("1")}}, own...)})
	r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: ino, Name: volume.XattrObject, Data: []byte("small")})
	check := func() {
		t.Helper()
		buf := make([]byte, 1024)
		n, err := unix.Llistxattr(filepath.Join(r.path, "f"), buf)
		if err != nil || strings.Contains(string(buf[:n]), "wolfdisk") || !strings.Contains(string(buf[:n]), "user.a") {
			t.Errorf("the lower file has %q, %v", buf[:max(n, 0)], err)
		}
		r.compare()
		if s := r.dir.Stats(); s.RefusedXattr > 0 {
			t.Errorf("refused: %+v", s)
		}
	}
	check()
	r.crash()
	check()
	r.do(&volume.Op{Kind: volume.OpRemoveXattr, Ino: ino, Name: volume.XattrObject})
	check()
}
