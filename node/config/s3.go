package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"wolfdisk/volume"
)

// S3 is the [s3] section: the S3 gateway.
type S3 struct {
	Enabled                             bool
	Bind                                string // host:port; empty unless enabled
	AccessKey, SecretKey, SecretKeyFile string
	Keys                                []S3Key // of the tables [[s3.keys]]
	Anonymous                           bool
	Region                              string
	Domains                             []string
	Buckets                             map[string]string // bucket -> directory, clean and without a slash at the start
	UID, GID                            int
	FileMode, DirMode                   Mode
	UploadExpiry                        time.Duration
	OpaqueETags                         bool
	CORSOrigins                         []string
	MaxConnections, MaxRequests         int
	Rate                                int    // requests per second of one address; 0: no bound
	TLSCert, TLSKey                     string // paths; empty: plain HTTP

	// Pairs are all pairs of keys with their secrets.
	Pairs []S3Key
}

// S3Key is a pair of keys.
type S3Key struct {
	Access, Secret, SecretFile string
	Buckets                    []string // empty: all
	ReadOnly                   bool
}

// SecretsInFile reports whether the configuration file itself has secrets.
func (s *S3) SecretsInFile() bool {
	return s.SecretKey != "" || slices.ContainsFunc(s.Keys, func(k S3Key) bool { return k.SecretFile == "" })
}

// SecretFiles are the files that hold a secret each.
func (s *S3) SecretFiles() (list []string) {
	for _, k := range s.Pairs {
		if k.SecretFile != "" {
			list = append(list, k.SecretFile)
		}
	}
	if s.TLSKey != "" {
		list = append(list, s.TLSKey)
	}
	return list
}

// completeS3 reads the secrets, and holds the rule that there is no gateway without keys but on
// this machine alone.
func (c *Config) completeS3(env *environment) (problems Problems) {
	s := &c.S3
	add := func(key, format string, args ...any) {
		problems = append(problems, c.problem(key, format, args...))
	}
	switch {
	case s.SecretKey != "" && s.SecretKeyFile != "":
		add("s3.secret_key_file", "[s3] secret_key is given, too: one of the two is enough")
	case s.AccessKey == "" && s.SecretKey != "":
		add("s3.secret_key", "belongs to [s3] access_key, which is missing")
	case s.AccessKey == "" && s.SecretKeyFile != "":
		add("s3.secret_key_file", "belongs to [s3] access_key, which is missing")
	case s.AccessKey != "" && s.SecretKey == "" && s.SecretKeyFile == "":
		add("s3.access_key", "needs its secret: [s3] secret_key, or secret_key_file with the name of a file that holds it")
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		key := "s3.tls_cert"
		if s.TLSCert == "" {
			key = "s3.tls_key"
		}
		add(key, "TLS needs both, [s3] tls_cert and tls_key")
	}
	if len(problems) > 0 {
		return problems
	}
	s.Pairs = slices.Clone(s.Keys)
	if s.AccessKey != "" {
		s.Pairs = append([]S3Key{{Access: s.AccessKey, Secret: s.SecretKey, SecretFile: s.SecretKeyFile}}, s.Pairs...)
	}
	seen := map[string]bool{}
	for i := range s.Pairs {
		k := &s.Pairs[i]
		key := "s3.keys"
		if i == 0 && s.AccessKey != "" {
			key = "s3.access_key"
		}
		if seen[k.Access] {
			add(key, "the access key %q is there twice", k.Access)
		}
		seen[k.Access] = true
		if k.SecretFile == "" {
			continue
		}
		if key == "s3.access_key" {
			key = "s3.secret_key_file"
		}
		data, err := env.readFile(k.SecretFile)
		if err != nil {
			add(key, "read the secret of %q: %v", k.Access, err)
			continue
		}
		line, _, _ := strings.Cut(string(data), "\n")
		if k.Secret, err = checkSecret(strings.TrimSuffix(line, "\r")); err == nil && k.Secret == "" {
			err = errors.New("is empty")
		}
		if err != nil {
			add(key, "%s: the first line %v: must be %s", k.SecretFile, err, secretFormat)
		}
	}
	if s.Enabled {
		problems = append(problems, c.completeS3Bind()...)
	}
	return problems
}

func (c *Config) completeS3Bind() (problems Problems) {
	s := &c.S3
	host := "0.0.0.0"
	if len(s.Pairs) == 0 && !s.Anonymous {
		host = "127.0.0.1"
	}
	switch {
	case s.Anonymous && len(s.Pairs) > 0:
		problems = append(problems, c.problem("s3.anonymous", "there are keys, so everybody is asked for one: remove the keys, or this"))
	case s.Bind == "":
		s.Bind = host + ":" + defaultS3Port
	case len(s.Pairs) == 0 && !s.Anonymous && !s.Loopback():
		problems = append(problems, c.problem("s3.bind", "%q can be reached from other machines, and there are no keys: everybody could read and write the volume. "+
			"Give [s3] access_key and secret_key, or bind to 127.0.0.1:%s; if everybody may, say [s3] anonymous = true", s.Bind, defaultS3Port))
	}
	return problems
}

// Loopback reports whether only this machine reaches the gateway.
func (s *S3) Loopback() bool {
	host, _, err := splitAddr(s.Bind)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}

func checkS3Bind(text string) (string, error) { return checkListen(text, defaultS3Port) }

const secretFormat = "1 to 128 printable characters without spaces"

// checkAccessKey accepts an empty text for none, as checkSecret does.
func checkAccessKey(text string) (string, error) {
	if len(text) > 128 {
		return "", errors.New("is no access key")
	}
	for _, r := range text {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+=@", r) {
			return "", errors.New("is no access key")
		}
	}
	return text, nil
}

func checkSecret(text string) (string, error) {
	if len(text) > 128 {
		return "", fmt.Errorf("has %d characters", len(text))
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return "", errors.New("has a character that is not printable")
		}
	}
	return text, nil
}

func checkRegion(text string) (string, error) {
	if text == "" || len(text) > 63 {
		return "", errors.New("is no region")
	}
	for _, r := range text {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return "", errors.New("is no region")
		}
	}
	return text, nil
}

func checkDomain(text string) (string, error) {
	text = strings.ToLower(strings.Trim(text, "."))
	if text == "" || strings.ContainsAny(text, ":") || checkHost(text) != nil {
		return "", errors.New("is no host name")
	}
	return text, nil
}

func checkOrigin(text string) (string, error) {
	if text == "*" {
		return text, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != text {
		return "", errors.New("is no origin like https://example.org")
	}
	return text, nil
}

// decodeS3Keys reads the tables [[s3.keys]].
func decodeS3Keys(c *Config, value any) error {
	list, ok := value.([]any)
	if !ok {
		return fmt.Errorf("is %s, must be tables [[s3.keys]]", kindOf(value))
	}
	for i, item := range list {
		table, ok := item.(map[string]any)
		if !ok {
			return fmt.Errorf("has %s in the list, must be tables [[s3.keys]]", kindOf(item))
		}
		k, err := decodeS3Key(table)
		if err != nil {
			return fmt.Errorf("pair %d: %w", i+1, err)
		}
		c.S3.Keys = append(c.S3.Keys, k)
	}
	return nil
}

func decodeS3Key(table map[string]any) (k S3Key, err error) {
	names := []string{"access_key", "secret_key", "secret_key_file", "buckets", "read_only"}
	text := func(name string) string {
		v, given := table[name]
		s, ok := v.(string)
		if given && !ok && err == nil {
			err = fmt.Errorf("%s is %s, must be a text in quotes", name, kindOf(v))
		}
		return s
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !contains(names, name) {
			return k, fmt.Errorf("unknown key %s%s", name, didYouMean(name, names))
		}
	}
	k.Access, k.Secret, k.SecretFile = text("access_key"), text("secret_key"), text("secret_key_file")
	if v, given := table["read_only"]; given && err == nil {
		if k.ReadOnly, given = v.(bool); !given {
			err = fmt.Errorf("read_only is %s, must be true or false, without quotes", kindOf(v))
		}
	}
	if v, given := table["buckets"]; given && err == nil {
		var wrong string
		if k.Buckets, wrong = listOf(v); wrong != "" {
			err = fmt.Errorf("buckets %s", wrong)
		} else if len(k.Buckets) == 0 {
			err = errors.New("buckets is empty: name some, or leave it away for all")
		}
	}
	if err != nil {
		return k, err
	}
	if _, err = checkAccessKey(k.Access); err == nil && k.Access == "" {
		err = errors.New("is no access key")
	}
	if err != nil {
		return k, fmt.Errorf("access_key %q %w: must be 1 to 128 letters, digits, and ._-+=@", k.Access, err)
	}
	switch {
	case (k.Secret == "") == (k.SecretFile == ""):
		return k, fmt.Errorf("the access key %q needs either secret_key or secret_key_file", k.Access)
	case k.SecretFile != "" && !path.IsAbs(k.SecretFile):
		return k, fmt.Errorf("secret_key_file %q is relative: must be an absolute path", k.SecretFile)
	case k.Secret != "":
		if _, err := checkSecret(k.Secret); err != nil {
			return k, fmt.Errorf("the secret of %q %w: must be %s", k.Access, err, secretFormat)
		}
	}
	return k, nil
}

// decodeS3Buckets reads the table [s3.buckets].
func decodeS3Buckets(c *Config, value any) error {
	table, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("is %s, must be a table [s3.buckets]", kindOf(value))
	}
	c.S3.Buckets = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		dir, ok := table[name].(string)
		if !ok {
			return fmt.Errorf("%s is %s, must be the directory of the bucket, in quotes", name, kindOf(table[name]))
		}
		if len(name) < 3 || len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" || strings.Trim(name, ".-") != name {
			return fmt.Errorf("%q is no name of a bucket: must be 3 to 63 lower-case letters, digits, and inside . and -", name)
		}
		clean := strings.Trim(dir, "/")
		for part := range strings.SplitSeq(clean, "/") {
			if part == "" || part == "." || part == ".." || strings.HasPrefix(part, ".wolfdisk") || len(part) > volume.MaxNameLen || strings.ContainsRune(part, 0) {
				return fmt.Errorf("%s: %q is no directory of the volume: must be a path from its root, like \"media/photos\"", name, dir)
			}
		}
		c.S3.Buckets[name] = clean
	}
	return nil
}

// s3KeysText is the pairs without their secrets, as a line of a TOML file has them.
func s3KeysText(list []S3Key) string {
	parts := make([]string, len(list))
	for i, k := range list {
		parts[i] = "{access_key = " + quoteTOML(k.Access)
		if k.SecretFile != "" {
			parts[i] += ", secret_key_file = " + quoteTOML(k.SecretFile)
		} else {
			parts[i] += ", secret_key = " + quoteTOML(hidden)
		}
		if len(k.Buckets) > 0 {
			quoted := make([]string, len(k.Buckets))
			for j, b := range k.Buckets {
				quoted[j] = quoteTOML(b)
			}
			parts[i] += ", buckets = [" + strings.Join(quoted, ", ") + "]"
		}
		if k.ReadOnly {
			parts[i] += ", read_only = true"
		}
		parts[i] += "}"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func s3BucketsText(m map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, quoteTOML(name)+" = "+quoteTOML(m[name]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
