package volume

import (
	"errors"
	"fmt"
	"syscall"
)

// Kind is the closed list of what can go wrong, and is itself an error: the
// cheap one, for answers like "no such name" that are no failure at all. Kinds
// survive the wire as their number, so the order is part of the protocol.
type Kind uint8

const (
	Unknown      Kind = iota // not one of ours: reported as an I/O error
	NotFound                 // no such name or inode
	Exists                   // the name is taken
	NotDir                   // a directory is needed
	IsDir                    // a directory is not allowed
	NotEmpty                 // the directory has entries
	Invalid                  // an argument makes no sense
	NameTooLong              // a name or target exceeds its limit
	NoSpace                  // the disk or the log is full
	ReadOnly                 // this node accepts no changes
	NotPermitted             // refused whoever asks
	AccessDenied             // refused to this caller
	IO                       // the disk or network failed
	Stale                    // the inode is gone, or its history lost
	NoXattr                  // no such extended attribute
	OutOfRange               // the buffer is too small, or a seek beyond the end
	TooBig                   // the file would exceed its largest size
	XattrTooBig              // the attribute exceeds its limit
	Unsupported              // not on this volume or file
	CrossDevice              // the objects are not on one volume
	TooManyLinks             // the inode has too many names
	Busy                     // in use, try again when it is not
	Interrupted              // the caller gave up
	Corrupt                  // stored bytes do not match their checksum
	Missing                  // content that should be there is nowhere to be had
	Unavailable              // the node that could answer cannot be reached
	Precondition             // the caller's condition does not hold
	Fenced                   // a higher epoch has been promised
	Quota                    // a quota is used up
	NotSeekable              // no data or hole behind this offset
	WrongHistory             // the position is not on this lineage
	TooOld                   // the log no longer reaches back that far
	BadFormat                // bytes that are no valid op, frame or message
	WrongVersion             // a format or protocol version that is not known here
	Unauthorized             // the peer does not hold the cluster key
	WrongCluster             // the peer belongs to another cluster
	WrongVolume              // the peer holds another volume
	Closed                   // used after it was closed
	Fault                    // an injected or impossible condition stopped the writer

	kindCount
)

var kinds = [kindCount]struct {
	text  string
	errno syscall.Errno
	s3    string
}{
	Unknown:      {"unknown error", syscall.EIO, "InternalError"},
	NotFound:     {"not found", syscall.ENOENT, "NoSuchKey"},
	Exists:       {"already exists", syscall.EEXIST, "OperationAborted"},
	NotDir:       {"not a directory", syscall.ENOTDIR, "InvalidRequest"},
	IsDir:        {"is a directory", syscall.EISDIR, "InvalidRequest"},
	NotEmpty:     {"directory not empty", syscall.ENOTEMPTY, "BucketNotEmpty"},
	Invalid:      {"invalid argument", syscall.EINVAL, "InvalidArgument"},
	NameTooLong:  {"name too long", syscall.ENAMETOOLONG, "KeyTooLongError"},
	NoSpace:      {"no space left", syscall.ENOSPC, "InsufficientStorage"},
	ReadOnly:     {"read-only", syscall.EROFS, "ServiceUnavailable"},
	NotPermitted: {"operation not permitted", syscall.EPERM, "AccessDenied"},
	AccessDenied: {"permission denied", syscall.EACCES, "AccessDenied"},
	IO:           {"input/output error", syscall.EIO, "InternalError"},
	Stale:        {"stale handle", syscall.ESTALE, "NoSuchKey"},
	NoXattr:      {"no such attribute", enoattr, "InvalidRequest"},
	OutOfRange:   {"out of range", syscall.ERANGE, "InvalidRange"},
	TooBig:       {"file too large", syscall.EFBIG, "EntityTooLarge"},
	XattrTooBig:  {"attribute too large", syscall.E2BIG, "MetadataTooLarge"},
	Unsupported:  {"not supported", syscall.EOPNOTSUPP, "NotImplemented"},
	CrossDevice:  {"crosses a device", syscall.EXDEV, "InvalidRequest"},
	TooManyLinks: {"too many links", syscall.EMLINK, "InvalidRequest"},
	Busy:         {"busy", syscall.EBUSY, "SlowDown"},
	Interrupted:  {"interrupted", syscall.EINTR, "RequestTimeout"},
	Corrupt:      {"damaged data", syscall.EIO, "InternalError"},
	Missing:      {"missing data", syscall.EIO, "InternalError"},
	Unavailable:  {"unavailable", syscall.EIO, "ServiceUnavailable"},
	Precondition: {"precondition failed", syscall.EAGAIN, "PreconditionFailed"},
	Fenced:       {"fenced by a higher epoch", syscall.EROFS, "ServiceUnavailable"},
	Quota:        {"quota exceeded", syscall.EDQUOT, "QuotaExceeded"},
	NotSeekable:  {"no data or hole there", syscall.ENXIO, "InvalidRange"},
	WrongHistory: {"other history", syscall.EIO, "InternalError"},
	TooOld:       {"log does not reach back", syscall.EIO, "InternalError"},
	BadFormat:    {"malformed", syscall.EIO, "InternalError"},
	WrongVersion: {"unknown format version", syscall.EIO, "InternalError"},
	Unauthorized: {"other cluster key", syscall.EACCES, "AccessDenied"},
	WrongCluster: {"other cluster", syscall.EACCES, "AccessDenied"},
	WrongVolume:  {"other volume", syscall.EACCES, "AccessDenied"},
	Closed:       {"closed", syscall.EBADF, "ServiceUnavailable"},
	Fault:        {"stopped", syscall.EROFS, "ServiceUnavailable"},
}

func (k Kind) valid() bool { return k < kindCount }

// Error is the kind's text.
func (k Kind) Error() string {
	if !k.valid() {
		return fmt.Sprintf("error kind %d", uint8(k))
	}
	return kinds[k].text
}

// Errno is the one errno of the kind.
func (k Kind) Errno() syscall.Errno {
	if !k.valid() {
		return syscall.EIO
	}
	return kinds[k].errno
}

// S3Code is the kind's error code in the S3 protocol.
func (k Kind) S3Code() string {
	if !k.valid() {
		return kinds[Unknown].s3
	}
	return kinds[k].s3
}

// Error is a kind with what was being done, to what, and the cause.
type Error struct {
	Kind Kind
	Text string // the verb that failed and its object
	Err  error  // the cause; may be nil
}

func (e *Error) Error() string {
	switch {
	case e.Err != nil && e.Text != "":
		return e.Text + ": " + e.Err.Error()
	case e.Err != nil:
		return e.Err.Error()
	case e.Text != "":
		return e.Text
	}
	return e.Kind.Error()
}

// Unwrap gives both the kind and the cause to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Errorf makes an error of a kind; a %w verb sets its cause as in fmt.Errorf.
func Errorf(kind Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Err: err}
}

// Wrap adds what was being done to an error and keeps its kind; nil stays nil.
func Wrap(err error, text string) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), Text: text, Err: err}
}

// Wrapf is Wrap with a text that is composed only if there is an error: for what every op passes.
func Wrapf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return Wrap(err, fmt.Sprintf(format, args...))
}

// KindOf is the kind of any error: its own, or that of the errno inside it.
func KindOf(err error) Kind {
	if k, ok := err.(Kind); ok {
		return k
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return KindOfErrno(errno)
	}
	return Unknown
}

// ErrnoOf is what an application sees of an error; 0 for nil. An errno inside
// the error wins over its kind, so that what a lower file system said arrives
// unchanged.
func ErrnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if k, ok := err.(Kind); ok {
		return k.Errno()
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return KindOf(err).Errno()
}

var errnoKinds = func() map[syscall.Errno]Kind {
	m := make(map[syscall.Errno]Kind, kindCount)
	for k := kindCount - 1; k > Unknown; k-- {
		m[kinds[k].errno] = k // the lowest kind of an errno wins
	}
	m[syscall.EIO] = IO
	return m
}()

// KindOfErrno is the kind that stands for an errno; Unknown if none does.
func KindOfErrno(errno syscall.Errno) Kind { return errnoKinds[errno] }
