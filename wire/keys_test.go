package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"wolfdisk/volume"
)

func TestKeyFileRoundTrip(t *testing.T) {
	for _, k := range []*Keys{testKeys(1, 7), testKeys(2, 8, 9)} {
		path := filepath.Join(t.TempDir(), "cluster.key")
		if err := k.Save(path); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		got, err := LoadKeys(path)
		if err != nil {
			t.Fatal(err)
		}
		if got.cluster != k.cluster || fmt.Sprint(got.keys) != fmt.Sprint(k.keys) || got.Path() != path || got.Count() != len(k.keys) {
			t.Errorf("loaded %v", got)
		}
		wantKind(t, "second Save", k.Save(path), volume.Exists, path, "never overwritten")
		left, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(left) != 1 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestKeyFileGolden(t *testing.T) {
	const want = `# WolfDisk cluster key. Whoever has it can read, write and join the cluster.
# Copy this file as it is to every node, mode 0600.
wolfdisk-key 1
cluster 01010101010101010101010101010101 fb641b3d
key 0707070707070707070707070707070707070707070707070707070707070707 7d46a6a8
`
	if got := string(testKeys(1, 7).marshal()); got != want {
		t.Errorf("key file:\n%s", got)
	}
}

func TestLoadKeysRefuses(t *testing.T) {
	good := string(testKeys(1, 7, 8).marshal())
	lines := strings.SplitAfter(good, "\n")
	secret := strings.Fields(lines[4])[1]
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, tc := range []struct {
		name, text string
		mode       os.FileMode
		kind       volume.Kind
		say        string
	}{
		{"empty", "", 0o600, volume.BadFormat, "before the first key"},
		{"no key", lines[2] + lines[3], 0o600, volume.BadFormat, "before the first key"},
		{"other file", "[node]\nid = 1\n", 0o600, volume.BadFormat, "not a WolfDisk key"},
		{"later version", replace("wolfdisk-key 1", "wolfdisk-key 2"), 0o600, volume.WrongVersion, "update this node"},
		{"three keys", good + lines[4], 0o600, volume.BadFormat, "more than 2"},
		{"equal keys", lines[2] + lines[3] + lines[4] + lines[4], 0o600, volume.BadFormat, "the same"},
		{"mistyped", replace("0707", "0770"), 0o600, volume.Corrupt, "line 5"},
		{"cut", replace("0707", "07"), 0o600, volume.BadFormat, "expected 64 hex digits"},
		{"no hex", replace("0707", "07zz"), 0o600, volume.BadFormat, "not all hex"},
		{"no check", replace(" 7d46a6a8", ""), 0o600, volume.BadFormat, "check"},
		{"order", lines[2] + lines[4] + lines[3], 0o600, volume.BadFormat, `"cluster"`},
		{"too long", good + strings.Repeat("#\n", maxKeyFile), 0o600, volume.BadFormat, "longer than"},
		{"group readable", good, 0o640, volume.NotPermitted, "chmod 600"},
		{"world readable", good, 0o604, volume.NotPermitted, "chmod 600"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cluster.key")
			if err := os.WriteFile(path, []byte(tc.text), tc.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			_, err := LoadKeys(path)
			wantKind(t, "LoadKeys", err, tc.kind, path, tc.say)
			if strings.Contains(err.Error(), secret[:16]) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
	dir := t.TempDir()
	_, err := LoadKeys(filepath.Join(dir, "absent"))
	wantKind(t, "absent", err, volume.NotFound, "absent", "copy it from another node", "wolfdisk init")
	_, err = LoadKeys(dir)
	wantKind(t, "directory", err, volume.Invalid, "not a regular file")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = LoadKeys(fifo)
	wantKind(t, "FIFO", err, volume.Invalid, "not a regular file")
}

func TestKeyFileToleratesEditing(t *testing.T) {
	text := strings.ReplaceAll(string(testKeys(1, 7, 8).marshal()), "\n", "\r\n\n  # a note\n")
	k, err := parseKeys([]byte(text))
	if err != nil || k.Count() != 2 {
		t.Fatalf("%v, %v", k, err)
	}
}

func TestLoadOrCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etc", "wolfdisk", "cluster.key")
	const n = 16
	var wg sync.WaitGroup
	keys, created := make([]*Keys, n), make([]bool, n)
	for i := range n {
		wg.Go(func() {
			var err error
			if keys[i], created[i], err = LoadOrCreate(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	made := 0
	for i := range n {
		if created[i] {
			made++
		}
		if keys[i].keys[0] != keys[0].keys[0] || keys[i].cluster != keys[0].cluster {
			t.Error("two daemons hold different keys")
		}
	}
	if made != 1 {
		t.Errorf("%d daemons made a key", made)
	}
}

func TestKeysNeverPrintThemselves(t *testing.T) {
	k := testKeys(1, 0xc7)
	text := fmt.Sprintf("%v %+v %#v %s %q %x %d %v", k, k, k, k, k, k, k, []any{k})
	js, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	text += string(js) + fmt.Sprint(errors.Join(fmt.Errorf("with %v", k)))
	for _, secret := range []string{"c7c7", "C7C7", "199 199", "199, 199", string([]byte{0xc7, 0xc7})} {
		if strings.Contains(text, secret) {
			t.Errorf("printed: %s", text)
		}
	}
}

// What is derived must be the same on every node, for ever.
func TestDerivedSecretsGolden(t *testing.T) {
	k := testKeys(1, 7, 8)
	for _, tc := range []struct{ name, got, want string }{
		{"beacon", hex.EncodeToString(k.BeaconKey()), "a461d4d28810e0df25700f6df3bea815cd8b0fc5a47a628e8ecc37e191b600fd"},
		{"admin", k.AdminToken(), "b0ea2805b88b9811c24756be507cc456eb848e2eef7e3daee3b438eea3b0660a"},
		{"fingerprint", k.Fingerprint(), "4021c208"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s", tc.name, tc.got)
		}
	}
	if all := k.BeaconKeys(); len(all) != 2 || !bytes.Equal(all[0], k.BeaconKey()) || bytes.Equal(all[0], all[1]) {
		t.Error("BeaconKeys")
	}
	if !bytes.Equal(k.authority(0).cert.Raw, k.authority(0).cert.Raw) {
		t.Error("the authority's certificate is not deterministic")
	}
	other := testKeys(2, 7)
	if bytes.Equal(other.BeaconKey(), k.BeaconKey()) || other.AdminToken() == k.AdminToken() || other.Fingerprint() == k.Fingerprint() {
		t.Error("the cluster ID does not enter what is derived")
	}
}
