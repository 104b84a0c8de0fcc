package fusefs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// testDriver is the driver that tests mount with, and the environment variable that
// tells a server in a child.
var testDriver = DriverBazil

const driverEnv = "WOLFDISK_FUSEFS_TEST_DRIVER"

// conformance is what every driver has to pass: all tests that mount. They run by
// themselves over the first driver, and here over the others.
var conformance = []struct {
	name string
	test func(*testing.T)
}{
	{"Modes", TestModes},
	{"Times", TestTimes},
	{"Content", TestContent},
	{"Sparse", TestSparse},
	{"OpenUnlinked", TestOpenUnlinked},
	{"RemovedElsewhere", TestRemovedElsewhere},
	{"Names", TestNames},
	{"DirectoryMovedListsNewParent", TestDirectoryMovedListsNewParent},
	{"Xattr", TestXattr},
	{"ACL", TestACL},
	{"KillPriv", TestKillPriv},
	{"BigDirectory", TestBigDirectory},
	{"FollowerIsReadOnly", TestFollowerIsReadOnly},
	{"NothingStale", TestNothingStale},
	{"OwnOpsAreNotInvalidated", TestOwnOpsAreNotInvalidated},
	{"ForeignOpDuringOwn", TestForeignOpDuringOwn},
	{"InvalidationUnderLoad", TestInvalidationUnderLoad},
	{"LookupAcrossChange", TestLookupAcrossChange},
	{"CleanStale", TestCleanStale},
	{"CleanStaleLeavesLive", TestCleanStaleLeavesLive},
	{"Unmount", TestUnmount},
	{"Interrupt", TestInterrupt},
	{"MountErrors", TestMountErrors},
	{"MountTable", TestMountTable},
	{"MountFlags", TestMountFlags},
	{"Negotiated", TestNegotiated},
	{"LargeRequests", TestLargeRequests},
	{"ChangeRemoved", TestChangeRemoved},
	{"Disown", TestDisown},
	{"ManyHang", TestManyHang},
}

func TestGofuse(t *testing.T) {
	testDriver = DriverGofuse
	t.Setenv(driverEnv, testDriver)
	defer func() { testDriver = DriverBazil }()
	for _, c := range conformance {
		t.Run(c.name, c.test)
	}
}

// A test that mounts, and is not in the table, would prove nothing about the second
// driver.
func TestConformanceIsComplete(t *testing.T) {
	listed := map[string]bool{"TestGofuse": true, "TestGofuseReservedName": true, "TestConformanceIsComplete": true,
		"TestReadersComeAndGo": true} // the other driver's readers are the library's
	for _, c := range conformance {
		listed["Test"+c.name] = true
	}
	files, err := filepath.Glob("*_linux_test.go")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(fn.Name.Name, "Test") || fn.Name.Name == "TestMain" || fn.Recv != nil {
				continue
			}
			if mounts(fn) && !listed[fn.Name.Name] {
				t.Errorf("%s in %s mounts, but is not in the table conformance", fn.Name.Name, name)
			}
		}
	}
}

// mounts reports whether a test calls one of the functions that mount.
func mounts(fn *ast.FuncDecl) (found bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if id, ok := call.Fun.(*ast.Ident); ok {
				found = found || slices.Contains([]string{"mountModel", "mountHub", "crashedMount", "Mount"}, id.Name)
			}
		}
		return true
	})
	return found
}

// agreed is what the kernel and a driver agreed on, and the mount's number.
func agreed(t *testing.T, d driver) (flags uint64, id string) {
	t.Helper()
	switch d := d.(type) {
	case *bazil:
		return uint64(d.conn.Features()), d.id
	case *gofuse:
		v := reflect.ValueOf(d.server).Elem().FieldByName("negotiatedFlags")
		if !v.IsValid() || !v.CanUint() {
			t.Fatal("go-fuse has changed: its Server has no negotiatedFlags")
		}
		return v.Uint(), d.mount.(*goPoint).id
	}
	t.Fatalf("unknown driver %T", d)
	return 0, ""
}

// Requests are as large as the driver can have them, in both directions.
func TestLargeRequests(t *testing.T) {
	r, a := mountModel(t)
	const size = 8 << 20
	max := map[string]int{DriverBazil: maxData, DriverGofuse: goMaxData}[r.srv.Driver()]
	count := func(op string) int { return int(r.srv.Stats().Requests[op]) }
	fd := a.open("f", os.O_CREATE|os.O_RDWR)
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i >> 12)
	}
	before := count("write")
	a.do(cmd{Op: "pwrite", FD: fd, Data: data})
	if n := count("write") - before; n < size/max || n > size/max+size/max/4 {
		t.Errorf("%d bytes in %d writes of at most %d", size, n, max)
	}
	r.srv.InvalidateAll()
	r.settle()
	before = count("read")
	got := a.do(cmd{Op: "pread", FD: fd, Len: size}).Data
	if string(got) != string(data) {
		t.Errorf("read %d bytes, or not those that were written", len(got))
	}
	if n := count("read") - before; n < size/max || n > 2*size/max+4 {
		t.Errorf("%d bytes in %d reads of at most %d", size, n, max)
	}
}

// What the options ask for arrives in the mount table.
func TestMountFlags(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{ReadOnly: true}, "ro,nosuid,nodev"},
		{Options{SUID: true}, "rw,nodev"},
		{Options{Dev: true}, "rw,nosuid"},
		{Options{SUID: true, Dev: true}, "rw"},
	} {
		r := mountHub(t, newHub(), tt.o)
		table, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); len(f) > 5 && f[4] == r.dir {
				got = strings.Join(slices.DeleteFunc(strings.Split(f[5], ","), func(s string) bool { return s == "relatime" }), ",")
			}
		}
		if got != tt.want {
			t.Errorf("%+v: mounted %q, want %q", tt.o, got, tt.want)
		}
	}
}

// go-fuse keeps one name of the root for itself. Below the root it is like any other, and
// nothing that the volume has is lost by it.
func TestGofuseReservedName(t *testing.T) {
	const name = ".go-fuse-epoll-hack"
	h := newHub()
	h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: name, Mode: volume.ModeFile | 0o644})
	r := mountHub(t, h, Options{Driver: DriverGofuse})
	a := startAgent(t, r.dir, 0)
	a.do(cmd{Op: "mkdir", Path: "d", Mode: 0o755})
	a.put("d/"+name, "mine")
	if got := a.content("d/" + name); got != "mine" {
		t.Errorf("content %q", got)
	}
	if got := a.names("."); !slices.Equal(got, []string{name, "d"}) {
		t.Errorf("the root lists %q", got)
	}
	a.fails("ERANGE", cmd{Op: "unlink", Path: name})
	h.ino(t, name) // still there
}

// A directory that was removed while somebody works in it can still be changed, as on
// a local file system; and a path that goes while it is changed is no stale handle.
func TestChangeRemoved(t *testing.T) {
	r, a := mountModel(t)
	a.do(cmd{Op: "mkdir", Path: "d", Mode: 0o755})
	a.do(cmd{Op: "chdir", Path: "d"})
	a.do(cmd{Op: "rmdir", Path: "d"})
	a.do(cmd{Op: "chmod", Path: "./", Mode: 0o1700})
	at := volume.Time{Sec: -1, Nsec: 7}
	a.do(cmd{Op: "utimes", Path: "./", Atime: at, Mtime: at})
	if st := a.stat("./"); st.Mode != unix.S_IFDIR|0o1700 || st.Nlink != 0 || st.Mtim != (unix.Timespec{Sec: -1, Nsec: 7}) {
		t.Errorf("changed after its removal: %+v", st)
	}
	// The volume says ESTALE of a file that went on the way.
	a.put("f", "content")
	p := a.open("f", unix.O_PATH)
	a.do(cmd{Op: "unlink", Path: "f"})
	c := r.srv.core.calls.get()
	defer r.srv.core.calls.put(c)
	c.begin(1, 0, 0, 0)
	ino := volume.Ino(a.do(cmd{Op: "fstat", FD: p}).Stat.Ino)
	errno := r.srv.core.setattr(c, ino, &setattrIn{valid: fattrSize | fattrMode | fattrUID | fattrGID, size: 3, mode: 0o600, uid: 7, gid: 8})
	if errno != 0 || c.attr.Size != 3 || c.attr.Mode != unix.S_IFREG|0o600 || c.attr.UID != 7 || c.attr.GID != 8 || c.attr.Nlink != 0 {
		t.Errorf("truncated after its removal: %v %+v", errno, c.attr)
	}
	c.end()
	if errno := r.srv.core.setattr(c, 1<<40, &setattrIn{valid: fattrMode}); errno != unix.ESTALE {
		t.Errorf("an inode that never was: %v", errno)
	}
}
