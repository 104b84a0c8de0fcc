package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestKindsComplete(t *testing.T) {
	texts := map[string]Kind{}
	for k := range kindCount {
		text := k.Error()
		if text == "" || k.Errno() == 0 || k.S3Code() == "" {
			t.Errorf("kind %d: text %q, errno %d, S3 code %q", k, text, k.Errno(), k.S3Code())
		}
		if other, ok := texts[text]; ok {
			t.Errorf("kinds %d and %d have the same text %q", other, k, text)
		}
		texts[text] = k
		if !k.valid() {
			t.Errorf("kind %d is not valid", k)
		}
		if KindOf(k) != k || ErrnoOf(k) != k.Errno() {
			t.Errorf("kind %d is seen as %d, errno %v", k, KindOf(k), ErrnoOf(k))
		}
	}
	for _, k := range []Kind{kindCount, 200, 255} {
		if k.valid() || k.Errno() != syscall.EIO || k.S3Code() != "InternalError" || k.Error() == "" {
			t.Errorf("unknown kind %d: valid %t, %v, %s, %q", k, k.valid(), k.Errno(), k.S3Code(), k.Error())
		}
	}
}

func TestKindErrnos(t *testing.T) {
	for kind, want := range map[Kind]syscall.Errno{
		NotFound: syscall.ENOENT, Exists: syscall.EEXIST, NotDir: syscall.ENOTDIR, IsDir: syscall.EISDIR,
		NotEmpty: syscall.ENOTEMPTY, Invalid: syscall.EINVAL, NameTooLong: syscall.ENAMETOOLONG, NoSpace: syscall.ENOSPC,
		ReadOnly: syscall.EROFS, NotPermitted: syscall.EPERM, AccessDenied: syscall.EACCES, Stale: syscall.ESTALE,
		OutOfRange: syscall.ERANGE, TooBig: syscall.EFBIG, XattrTooBig: syscall.E2BIG, Unsupported: syscall.EOPNOTSUPP,
		CrossDevice: syscall.EXDEV, TooManyLinks: syscall.EMLINK, Busy: syscall.EBUSY, NotSeekable: syscall.ENXIO,
		Quota: syscall.EDQUOT, Corrupt: syscall.EIO, Missing: syscall.EIO, Fenced: syscall.EROFS,
	} {
		if kind.Errno() != want {
			t.Errorf("%v: errno %v, want %v", kind, kind.Errno(), want)
		}
	}
}

// TestKindOfErrno: the errno of a kind comes back as a kind with the same errno, and
// as the first of the list where several share one.
func TestKindOfErrno(t *testing.T) {
	for k := range kindCount {
		back := KindOfErrno(k.Errno())
		if back.Errno() != k.Errno() {
			t.Errorf("%v -> %v -> %v -> %v", k, k.Errno(), back, back.Errno())
		}
	}
	for errno, want := range map[syscall.Errno]Kind{
		syscall.EIO: IO, syscall.EROFS: ReadOnly, syscall.EACCES: AccessDenied, syscall.ENOENT: NotFound,
		syscall.ENOTTY: Unknown, 0: Unknown, syscall.EAGAIN: Precondition,
	} {
		if got := KindOfErrno(errno); got != want {
			t.Errorf("errno %d: kind %v, want %v", errno, got, want)
		}
	}
}

func TestErrorChains(t *testing.T) {
	path := &fs.PathError{Op: "open", Path: "x", Err: syscall.ENOSPC}
	for _, row := range []struct {
		name  string
		err   error
		kind  Kind
		errno syscall.Errno
		text  string
	}{
		{"bare kind", NotDir, NotDir, syscall.ENOTDIR, "not a directory"},
		{"formatted", Errorf(NotEmpty, "remove %q", "d"), NotEmpty, syscall.ENOTEMPTY, `remove "d"`},
		{"wrapped kind", Wrap(NotFound, "look up x"), NotFound, syscall.ENOENT, "look up x: not found"},
		{"wrapped twice", Wrap(Wrap(Exists, "b"), "a"), Exists, syscall.EEXIST, "a: b: already exists"},
		{"wrapped by fmt", fmt.Errorf("a: %w", Errorf(Corrupt, "b")), Corrupt, syscall.EIO, "a: b"},
		{"bare errno", syscall.ENAMETOOLONG, NameTooLong, syscall.ENAMETOOLONG, syscall.ENAMETOOLONG.Error()},
		{"errno in a path error", path, NoSpace, syscall.ENOSPC, path.Error()},
		{"wrapped path error", Wrap(path, "write"), NoSpace, syscall.ENOSPC, "write: " + path.Error()},
		{"errno wins over kind", Errorf(IO, "write: %w", syscall.EDQUOT), IO, syscall.EDQUOT, "write: " + syscall.EDQUOT.Error()},
		{"errno without a kind", Wrap(syscall.ENOTTY, "ioctl"), Unknown, syscall.ENOTTY, "ioctl: " + syscall.ENOTTY.Error()},
		{"foreign", errors.New("foreign"), Unknown, syscall.EIO, "foreign"},
		{"joined", errors.Join(errors.New("x"), Stale), Stale, syscall.ESTALE, "x\nstale handle"},
		{"empty", &Error{Kind: Busy}, Busy, syscall.EBUSY, "busy"},
		{"text only", &Error{Kind: Busy, Text: "move x"}, Busy, syscall.EBUSY, "move x"},
	} {
		if got := KindOf(row.err); got != row.kind {
			t.Errorf("%s: kind %v, want %v", row.name, got, row.kind)
		}
		if got := ErrnoOf(row.err); got != row.errno {
			t.Errorf("%s: errno %v, want %v", row.name, got, row.errno)
		}
		if got := row.err.Error(); got != row.text {
			t.Errorf("%s: text %q, want %q", row.name, got, row.text)
		}
	}
}

func TestErrorIs(t *testing.T) {
	cause := errors.New("cause")
	err := Wrap(Errorf(Missing, "read chunk: %w", cause), "read file")
	if !errors.Is(err, Missing) || !errors.Is(err, cause) || errors.Is(err, Corrupt) {
		t.Errorf("%v: is Missing %t, cause %t, Corrupt %t", err, errors.Is(err, Missing), errors.Is(err, cause), errors.Is(err, Corrupt))
	}
	var e *Error
	if !errors.As(err, &e) || e.Kind != Missing || e.Text != "read file" {
		t.Errorf("as *Error: %+v", e)
	}
	if Wrap(nil, "nothing") != nil || ErrnoOf(nil) != 0 {
		t.Error("nil did not stay nil")
	}
}
