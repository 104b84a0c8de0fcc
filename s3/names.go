package s3

import (
	"net/netip"
	"strings"

	"wolfdisk/volume"
)

// maxKeyLen is S3's limit of a key, bytes.
const maxKeyLen = 1024

// checkKey says whether a key can be the path of a file below a bucket, or, with a slash
// at its end, of a directory. It is not cleaned: two keys are never one object.
func checkKey(key string) error {
	if key == "" {
		return errf("InvalidArgument", "a key has at least one byte")
	}
	if len(key) > maxKeyLen {
		return errf("KeyTooLongError", "the key has %d bytes; %d are allowed", len(key), maxKeyLen).
			with("Size", itoa(int64(len(key)))).with("MaxSizeAllowed", itoa(maxKeyLen))
	}
	for _, name := range strings.Split(strings.TrimSuffix(key, "/"), "/") {
		switch {
		case name == "":
			return errf("InvalidArgument", "the key %q has an empty part between slashes", key)
		case name == "." || name == "..":
			return errf("InvalidArgument", "the key %q has a part %q", key, name)
		case strings.IndexByte(name, 0) >= 0:
			return errf("InvalidArgument", "the key %q has a zero byte", key)
		case len(name) > volume.MaxNameLen:
			return errf("KeyTooLongError", "a part of the key between slashes has %d bytes; %d are allowed", len(name), volume.MaxNameLen)
		}
	}
	return nil
}

// splitKey parts a checked key into the directories above it and its own name. isDir
// says that it ended in a slash.
func splitKey(key string) (dirs []string, name string, isDir bool) {
	isDir = strings.HasSuffix(key, "/")
	parts := strings.Split(strings.TrimSuffix(key, "/"), "/")
	return parts[:len(parts)-1], parts[len(parts)-1], isDir
}

// hiddenBucket reports names at the root that no client sees: the reserved directory,
// everything else that begins with a dot, and what a file system keeps for itself.
func hiddenBucket(name string) bool { return strings.HasPrefix(name, ".") || name == "lost+found" }

// reservedPrefixes and reservedSuffixes are of names that Amazon S3 gives itself: "General
// purpose bucket naming rules" in its User Guide.
var (
	reservedPrefixes = []string{"xn--", "sthree-", "amzn-s3-demo-"}
	reservedSuffixes = []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"}
)

// checkNewBucket holds the name of a new bucket to S3's rules; what is there already as
// a directory may be called otherwise.
func checkNewBucket(name string) error {
	bad := func(why string) error {
		return errf("InvalidBucketName", "the bucket name %q %s", name, why).with("BucketName", name)
	}
	if len(name) < 3 || len(name) > 63 {
		return bad("does not have 3 to 63 characters")
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && (c != '.' && c != '-' || i == 0 || i == len(name)-1) {
			return bad("has other than lower-case letters, digits, and (inside) '.' and '-'")
		}
	}
	if strings.Contains(name, "..") {
		return bad("has two dots in a row")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return bad("looks like an address")
	}
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(name, p) {
			return bad("begins with " + p + ", which is reserved")
		}
	}
	for _, s := range reservedSuffixes {
		if strings.HasSuffix(name, s) {
			return bad("ends in " + s + ", which is reserved")
		}
	}
	return nil
}

// xmlSafe reports whether a string can stand in XML 1.0 as it is.
func xmlSafe(s string) bool {
	for i, r := range s {
		switch {
		case r == 0xFFFD && !strings.HasPrefix(s[i:], "\uFFFD"):
			return false // a byte that is no UTF-8
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r', r == 0xFFFE, r == 0xFFFF:
			return false
		}
	}
	return true
}

// escapeKey is encoding-type=url: every byte but letters, digits, "-_.~/" in percent form.
func escapeKey(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
