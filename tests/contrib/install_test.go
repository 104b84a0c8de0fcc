package contrib

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// installed runs "make install" into an empty folder and lists what is there, with
// modes.
func installed(t *testing.T, dest string, vars ...string) map[string]fs.FileMode {
	t.Helper()
	args := append([]string{"-s", "-o", "build", "-C", repoDir, "install", "DESTDIR=" + dest, "BINDIR=" + binDir}, vars...)
	if out, err := exec.Command("make", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files := map[string]fs.FileMode{}
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		files[strings.TrimPrefix(path, dest)] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestInstall(t *testing.T) {
	programs := []string{"/usr/local/bin/wolfdisk", "/usr/local/bin/wolfdisk-master", "/usr/local/bin/wolfdisk-slave", "/usr/local/bin/wolfdiskctl"}
	linux := append([]string{"/sbin/mount.wolfdisk"}, programs...)
	freebsd := append([]string{"/usr/local/etc/rc.d/wolfdisk_master", "/usr/local/etc/rc.d/wolfdisk_slave", "/usr/local/libexec/wolfdisk/run"}, programs...)
	data := map[string][]string{"Linux": {"/etc/default/wolfdisk"}, "FreeBSD": nil}
	for _, u := range units {
		data["Linux"] = append(data["Linux"], "/usr/local/lib/systemd/system/"+u+".service")
	}
	for system, executables := range map[string][]string{"Linux": linux, "FreeBSD": freebsd} {
		files := installed(t, t.TempDir(), "SYSTEM="+system)
		for path, mode := range files {
			doc := strings.HasPrefix(path, "/usr/local/share/doc/wolfdisk/")
			switch {
			case slices.Contains(executables, path) && mode == 0o755, (doc || slices.Contains(data[system], path)) && mode == 0o644:
			default:
				t.Errorf("%s: %s has mode %v, or should not be there", system, path, mode)
			}
		}
		for _, path := range append(append([]string{"/usr/local/share/doc/wolfdisk/operations.md"}, executables...), data[system]...) {
			if _, ok := files[path]; !ok {
				t.Errorf("%s: %s is missing", system, path)
			}
		}
	}
}

// Another prefix is everywhere where the usual one was; what the operator has set stays.
func TestInstallPrefix(t *testing.T) {
	dest := t.TempDir()
	writeFile(t, filepath.Join(dest, "etc/default/wolfdisk"), "MASTER_FLAGS=mine\n", 0o600)
	files := installed(t, dest, "PREFIX=/opt/wd", "SBINDIR=/usr/sbin", "SYSTEM=Linux")
	for path := range files {
		if strings.HasPrefix(path, "/opt/wd/bin/") {
			continue
		}
		if strings.Contains(readFile(t, dest+path), "/usr/local") {
			t.Errorf("%s holds the old prefix", path)
		}
	}
	if text := readFile(t, dest+"/opt/wd/lib/systemd/system/wolfdisk-master.service"); !strings.Contains(text, "ExecStart=/opt/wd/bin/wolfdisk-master ") {
		t.Errorf("the unit starts something else\n%s", text)
	}
	if _, ok := files["/usr/sbin/mount.wolfdisk"]; !ok || readFile(t, dest+"/etc/default/wolfdisk") != "MASTER_FLAGS=mine\n" {
		t.Errorf("the helper is missing, or a configuration was replaced: %v", files)
	}
	// Again, over what is there.
	installed(t, dest, "PREFIX=/opt/wd", "SBINDIR=/usr/sbin", "SYSTEM=Linux")
}

func TestInstallRefuses(t *testing.T) {
	for _, args := range []string{"--nonsense x", "--prefix", "--prefix relative", "--prefix /a;b", "--sbindir /a|b", "--system Plan9"} {
		dest := t.TempDir()
		cmd := exec.Command(contribPath("install.sh"), append(strings.Fields(args), "--bin", binDir, "--destdir", dest)...)
		out, err := cmd.CombinedOutput()
		if err == nil || len(out) == 0 {
			t.Errorf("%s: accepted\n%s", args, out)
		}
		if entries, err := os.ReadDir(dest); err != nil || len(entries) > 0 {
			t.Errorf("%s: left %v, %v", args, entries, err)
		}
	}
}

// TestInstallFromPackage: an unpacked package holds the programs beside contrib, and
// needs no make.
func TestInstallFromPackage(t *testing.T) {
	pack, dest := t.TempDir(), t.TempDir()
	for _, name := range []string{"README.md", "docs", "contrib"} {
		if out, err := exec.Command("cp", "-R", filepath.Join(repoDir, name), pack).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, name := range []string{"wolfdisk", "wolfdisk-master", "wolfdisk-slave", "wolfdiskctl"} {
		writeFile(t, filepath.Join(pack, name), name, 0o755)
	}
	out, err := exec.Command(filepath.Join(pack, "contrib/install.sh"), "--destdir", dest, "--system", "Linux").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"usr/local/bin/wolfdiskctl", "sbin/mount.wolfdisk", "usr/local/share/doc/wolfdisk/README.md"} {
		if _, err := os.Stat(filepath.Join(dest, name)); err != nil {
			t.Error(err)
		}
	}
	if got := readFile(t, filepath.Join(dest, "usr/local/bin/wolfdisk")); got != "wolfdisk" {
		t.Errorf("another program was installed: %.20q", got)
	}
	// What the package is made of is what this needs.
	recipe := readFile(t, filepath.Join(repoDir, "Makefile"))
	if !strings.Contains(recipe, "cp -R README.md docs contrib ") {
		t.Error("make package leaves something out")
	}
}
