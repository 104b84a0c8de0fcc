package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"wolfdisk/volume"
)

// The key file is text, so that it can be copied through any terminal:
//
//	# comments and empty lines are ignored
//	wolfdisk-key 1
//	cluster <32 hex digits> <check>
//	key <64 hex digits> <check>
//	key <64 hex digits> <check>        (only while rotating)
//
// A check is 8 hex digits of a hash of its line's content: a line that was cut or
// mistyped is reported as such, and lines can still be swapped by hand.

const (
	keyFileMagic   = "wolfdisk-key"
	keyFileVersion = "1"
	// maxKeyFile bounds a key file, in bytes: three lines, and room for comments.
	maxKeyFile = 4 << 10
)

const keyFileComment = `# WolfDisk cluster key. Whoever has it can read, write and join the cluster.
# Copy this file as it is to every node, mode 0600.
`

// check is what stands behind the hex digits of a line.
func check(word string, value []byte) string {
	sum := sha256.Sum256(append([]byte(keyFileMagic+" "+word+" "), value...))
	return hex.EncodeToString(sum[:4])
}

func (k *Keys) marshal() []byte {
	var b bytes.Buffer
	line := func(word string, value []byte) {
		fmt.Fprintf(&b, "%s %s %s\n", word, hex.EncodeToString(value), check(word, value))
	}
	b.WriteString(keyFileComment)
	fmt.Fprintf(&b, "%s %s\n", keyFileMagic, keyFileVersion)
	line("cluster", k.cluster[:])
	for i := range k.keys {
		line("key", k.keys[i][:])
	}
	return b.Bytes()
}

// parseKeys reads a key file. Its errors name lines and never quote them: they
// may hold a key.
func parseKeys(text []byte) (*Keys, error) {
	k := &Keys{}
	seen := 0 // meaningful lines so far
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := k.parseLine(seen, words); err != nil {
			return nil, volume.Wrapf(err, "line %d", i+1)
		}
		seen++
	}
	if len(k.keys) == 0 {
		return nil, volume.Errorf(volume.BadFormat, "the file ends before the first key")
	}
	return k, nil
}

func (k *Keys) parseLine(seen int, words []string) error {
	switch {
	case seen == 0:
		if words[0] != keyFileMagic || len(words) != 2 {
			return volume.Errorf(volume.BadFormat, "not a WolfDisk key file")
		}
		if words[1] != keyFileVersion {
			return volume.Errorf(volume.WrongVersion, "unknown key file version (this program knows %s): update this node", keyFileVersion)
		}
		return nil
	case seen == 1:
		return parseValue(words, "cluster", k.cluster[:])
	case len(k.keys) == maxKeys:
		return volume.Errorf(volume.BadFormat, "more than %d keys", maxKeys)
	}
	var key [keyLen]byte
	if err := parseValue(words, "key", key[:]); err != nil {
		return err
	}
	if len(k.keys) > 0 && k.keys[0] == key {
		return volume.Errorf(volume.BadFormat, "both keys are the same")
	}
	k.keys = append(k.keys, key)
	return nil
}

func parseValue(words []string, word string, out []byte) error {
	switch {
	case words[0] != word:
		return volume.Errorf(volume.BadFormat, "expected the word %q", word)
	case len(words) != 3:
		return volume.Errorf(volume.BadFormat, "%s: expected hex digits and a check", word)
	case hex.DecodedLen(len(words[1])) != len(out):
		return volume.Errorf(volume.BadFormat, "%s: expected %d hex digits, not %d characters", word, 2*len(out), len(words[1]))
	}
	if _, err := hex.Decode(out, []byte(words[1])); err != nil {
		return volume.Errorf(volume.BadFormat, "%s: not all hex digits", word) // err quotes the digit
	}
	if words[2] != check(word, out) {
		return volume.Errorf(volume.Corrupt, "%s: damaged, its check does not match", word)
	}
	if bytes.Count(out, []byte{0}) == len(out) {
		return volume.Errorf(volume.BadFormat, "%s: is all zeros", word)
	}
	return nil
}

// LoadKeys reads a cluster key file. It refuses a file that others can read, and
// its errors name the file and the way out: NotFound, AccessDenied, NotPermitted
// (mode), BadFormat, WrongVersion, Corrupt.
func LoadKeys(path string) (*Keys, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	k, err := parseKeys(text)
	if err != nil {
		return nil, volume.Wrapf(err, "read cluster key %s (copy it again from another node)", path)
	}
	k.path = path
	return k, nil
}

func readKeyFile(path string) ([]byte, error) {
	// O_NONBLOCK: a FIFO in its place must not hang the start.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, volume.Errorf(volume.NotFound, `cluster key %s does not exist: copy it from another node of the cluster, mode 0600, or make a new cluster with "wolfdisk init"`, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, volume.Errorf(volume.AccessDenied, "open cluster key: %w: run as its owner, or give another with --key-file", err)
	case err != nil:
		return nil, volume.Wrap(err, "open cluster key")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, volume.Wrap(err, "stat cluster key")
	}
	if !info.Mode().IsRegular() {
		return nil, volume.Errorf(volume.Invalid, "cluster key %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, volume.Errorf(volume.NotPermitted, `cluster key %s has mode %04o, others can read it: "chmod 600 %s", and make a new key if somebody has`, path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, volume.Wrap(err, "read cluster key "+path)
	}
	if len(text) > maxKeyFile {
		return nil, volume.Errorf(volume.BadFormat, "cluster key %s is longer than %d bytes: not a WolfDisk key file", path, maxKeyFile)
	}
	return text, nil
}

// Save writes the key file, mode 0600, and never overwrites one: Exists. It
// returns when the file and its name are durable. Key files are the one thing here
// that does not go through pebble's vfs, which cannot make a file private from its
// first byte.
func (k *Keys) Save(path string) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".cluster-key-*") // 0600
	if err != nil {
		return volume.Wrap(err, "save cluster key "+path)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(k.marshal())
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return volume.Wrap(err, "write cluster key "+path)
	}
	// A link fails where a rename would replace: of two daemons that start at
	// once, one makes the key and the other finds it.
	if err := os.Link(tmp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return volume.Errorf(volume.Exists, "save cluster key: %s exists, and a key is never overwritten: move it away first", path)
		}
		return volume.Wrap(err, "publish cluster key "+path)
	}
	if err := syncDir(dir); err != nil {
		return volume.Wrap(err, "sync the directory of cluster key "+path)
	}
	k.path = path
	return nil
}

// LoadOrCreate loads the key file, or makes a new cluster and saves its key when
// there is none. Of several daemons that start at once, one creates the file and
// all use it.
func LoadOrCreate(path string) (k *Keys, created bool, err error) {
	k, err = LoadKeys(path)
	if volume.KindOf(err) != volume.NotFound {
		return k, false, err
	}
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return nil, false, volume.Wrap(err, "make the directory of cluster key "+path)
	}
	if k, err = NewKey(); err != nil {
		return nil, false, err
	}
	err = k.Save(path)
	if volume.KindOf(err) == volume.Exists {
		k, err = LoadKeys(path)
		return k, false, err
	}
	if err != nil {
		return nil, false, err
	}
	return k, true, nil
}

// makeDirs is MkdirAll whose result survives a power loss.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
