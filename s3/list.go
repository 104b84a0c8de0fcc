package s3

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"

	"wolfdisk/volume"
)

// maxKeys is S3's limit of one page.
const maxKeys = 1000

// pageBudget bounds the entries that are looked at for one page: a page over a deep tree
// of empty directories ends early, perhaps with nothing, and the next goes on.
const pageBudget = 50000

// token says where a page ended: behind a key, or behind all keys that begin with a common
// prefix. It holds no state of the server, and outlives what it names.
type token struct {
	last   string
	prefix bool
}

const tokenFormat = 1

func (t token) encode() string {
	kind := byte('k')
	if t.prefix {
		kind = 'p'
	}
	return base64.RawURLEncoding.EncodeToString(append([]byte{tokenFormat, kind}, t.last...))
}

func decodeToken(s string) (token, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 3 || b[0] != tokenFormat || b[1] != 'k' && b[1] != 'p' || len(b) > 2+2*maxKeyLen {
		return token{}, errf("InvalidArgument", "the continuation token is not one of this gateway")
	}
	return token{last: string(b[2:]), prefix: b[1] == 'p'}, nil
}

// listing asks for a page.
type listing struct {
	prefix, delim string
	after         string // keys, and common prefixes, behind this
	token         token
	most          int
	safe          bool // leave out keys that XML cannot carry
}

// listed is a key or a common prefix of a page.
type listed struct {
	key    string
	prefix bool
	object *object // of a key
}

// page is a part of a listing.
type page struct {
	items []listed
	next  token
	more  bool
}

// list makes a page.
func (s *Server) list(ctx context.Context, bucket volume.Ino, q listing) (page, error) {
	l := &lister{s: s, ctx: ctx, q: q}
	if q.most == 0 {
		return l.page, nil
	}
	from, ok := q.start()
	budget := s.pageBudget
	for ok {
		w := &walker{s: s, ctx: ctx, from: from, prefix: q.prefix, budget: budget, visit: l.visit}
		l.seek = ""
		_, err := w.walk(bucket)
		budget = w.budget
		if err == errBudget {
			return l.early(), nil
		}
		if err == nil {
			err = l.err
		}
		if err != nil {
			return page{}, err
		}
		if l.seek == "" {
			return l.page, nil
		}
		from, ok = behind(l.seek)
		if budget--; budget < 0 {
			return l.early(), nil
		}
	}
	return l.page, nil
}

// start is the least key that can be on the page.
func (q *listing) start() (string, bool) {
	switch {
	case q.token.prefix:
		return behind(q.token.last)
	case q.token.last != "":
		return q.token.last + "\x00", true
	case q.after != "":
		return q.after + "\x00", true
	}
	return "", true
}

type lister struct {
	s    *Server
	ctx  context.Context
	q    listing
	page page
	at   token  // how far the visits came
	seek string // go on behind all that begin with this
	err  error
}

// early ends the page where the visits came to. They came somewhere: before the first,
// the walk looks at no more than the names on the way there.
func (l *lister) early() page {
	l.page.more, l.page.next = true, l.at
	return l.page
}

// visit puts a key on the page, or the common prefix that stands for it.
func (l *lister) visit(key string, dir volume.Ino, e volume.DirEntry) step {
	l.at = token{last: key}
	if len(key) > maxKeyLen {
		return skip // longer than any key
	}
	isDir := e.Type == volume.ModeDir
	if !isDir && e.Type != volume.ModeFile {
		return goOn // nothing that a client could have
	}
	if l.q.delim != "" {
		rest := key[len(l.q.prefix):]
		// A directory is a common prefix even if it is empty; by another delimiter it is
		// none for itself.
		if i := strings.Index(rest, l.q.delim); i >= 0 && (l.q.delim == "/" || l.explicit(e)) {
			return l.common(key[:len(l.q.prefix)+i+len(l.q.delim)], key, isDir)
		}
	}
	if isDir && !l.explicit(e) {
		return goOn
	}
	if l.hide(key) {
		return goOn
	}
	o, err := l.entry(dir, e)
	if err != nil {
		l.err = err
		return stop
	}
	if o == nil {
		return goOn
	}
	return l.add(listed{key: key, object: o})
}

// entry is the object that an entry of a directory stands for; nil if it was removed meanwhile. Of one that
// was replaced since the directory was read, it is the one that has the name now: the key was there all the
// time, so it has to be on the page.
func (l *lister) entry(dir volume.Ino, e volume.DirEntry) (*object, error) {
	missing := func(err error) bool {
		kind := volume.KindOf(err)
		return err != nil && (kind == volume.Stale || kind == volume.NotFound)
	}
	a, err := l.s.vol.GetAttr(l.ctx, e.Ino)
	for range patient {
		var o *object
		if err == nil {
			if o, err = l.s.look(l.ctx, a); err == nil {
				return o, nil
			}
		}
		if !missing(err) {
			return nil, err
		}
		a, err = l.s.vol.Lookup(l.ctx, dir, e.Name)
		if missing(err) || err == nil && a.Type() != e.Type {
			return nil, nil
		}
	}
	return nil, errRestless(e.Name)
}

// explicit reports whether a directory is an object of its own.
func (l *lister) explicit(e volume.DirEntry) bool {
	if e.Type != volume.ModeDir {
		return true
	}
	m, err := l.s.readMeta(l.ctx, e.Ino)
	if err != nil && volume.KindOf(err) != volume.Stale {
		l.err = err
	}
	return m != nil && m.kind == kindExplicit
}

// hide leaves out what XML cannot carry.
func (l *lister) hide(key string) bool {
	if !l.q.safe || xmlSafe(key) {
		return false
	}
	l.s.hidden.Add(1)
	return true
}

// common puts the common prefix of a key on the page; all else that begins with it is
// passed over.
func (l *lister) common(prefix, key string, isDir bool) step {
	past := func() step {
		l.at = token{last: prefix, prefix: true}
		if isDir && key == prefix {
			return skip
		}
		l.seek = prefix
		return stop
	}
	if prefix <= l.q.after && l.q.token.last == "" || l.hide(prefix) {
		return past()
	}
	if l.add(listed{key: prefix, prefix: true}) == stop {
		return stop
	}
	return past()
}

func (l *lister) add(it listed) step {
	if len(l.page.items) == l.q.most {
		last := l.page.items[len(l.page.items)-1]
		l.page.more, l.page.next = true, token{last: last.key, prefix: last.prefix}
		return stop
	}
	l.page.items = append(l.page.items, it)
	return goOn
}

// number is a query parameter that bounds an answer.
func (c *call) number(name string, most int) (int, error) {
	v := c.q.Get(name)
	if v == "" {
		return most, nil
	}
	n, err := parseNumber(name, v)
	return min(n, most), err
}

func parseNumber(name, v string) (int, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return 0, errArgument(name, v, "Provided %s not an integer or within integer range", clean(v))
	}
	if n < 0 {
		return 0, errArgument(name, v, "Argument %d must be an integer between 0 and 2147483647", n)
	}
	return int(n), nil
}
