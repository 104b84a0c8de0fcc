package sig

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// param is one piece of a query. Name and value are decoded.
type param struct {
	name, value string
	valued      bool // there was an equals sign
}

// parseQuery decodes a query. Unlike net/url it keeps order, bare names and pieces
// with semicolons, and refuses what it cannot decode: what is dropped would not be
// covered by the signature.
func parseQuery(raw string) ([]param, *Error) {
	var list []param
	for raw != "" {
		var piece string
		piece, raw, _ = strings.Cut(raw, "&")
		if piece == "" {
			continue
		}
		name, value, valued := strings.Cut(piece, "=")
		n, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "InvalidURI", "Couldn't parse the query parameter %q.", name)
		}
		list = append(list, param{n, value, valued})
	}
	return list, nil
}

func hasAny(params []param, names ...string) bool {
	return slices.ContainsFunc(params, func(p param) bool { return slices.Contains(names, p.name) })
}

// canonicalQuery encodes anew and sorts by name, then value, both encoded. The
// parameter skip is left out: a signature does not cover itself.
func canonicalQuery(params []param, skip string) string {
	type encoded struct{ name, value string }
	list := make([]encoded, 0, len(params))
	for _, p := range params {
		if p.name != skip || skip == "" {
			list = append(list, encoded{uriEncode(p.name, false), uriEncode(p.value, false)})
		}
	}
	slices.SortFunc(list, func(a, b encoded) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String()
}

// uriEncode is the UriEncode of the AWS documentation: everything but unreserved
// characters, as upper-case hexadecimal; a slash only outside of paths.
func uriEncode(s string, path bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '~', c == '/' && path:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// rawPath is the path as it was sent.
func rawPath(r *http.Request) string {
	p := r.URL.EscapedPath()
	if u := r.RequestURI; u != "" {
		p, _, _ = strings.Cut(u, "?")
		if i := strings.Index(p, "://"); i >= 0 && !strings.HasPrefix(p, "/") { // the absolute form, to a proxy
			p = p[i+3:]
			if j := strings.IndexByte(p, '/'); j >= 0 {
				p = p[j:]
			} else {
				p = ""
			}
		}
	}
	if p == "" {
		return "/"
	}
	return p
}

// pathForms are the ways in which a client may have written the path when it
// signed: as it sent it, and as AWS normalises it. Both decode to the same.
func pathForms(r *http.Request) []string {
	raw := rawPath(r)
	forms := []string{raw}
	if decoded, err := url.PathUnescape(raw); err == nil {
		if enc := uriEncode(decoded, true); enc != raw {
			forms = append(forms, enc)
		}
	}
	return forms
}

func method(r *http.Request) string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

// headerLine is the canonical value of a signed header. Those that net/http takes
// out of the header map are put back.
func headerLine(r *http.Request, name string) string {
	var values []string
	switch name {
	case "host":
		values = []string{r.Host}
	case "transfer-encoding":
		values = r.TransferEncoding
	default:
		values = r.Header.Values(name)
		if name == "content-length" && len(values) == 0 && r.ContentLength >= 0 {
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
	}
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = collapse(v)
	}
	return strings.Join(list, ",")
}

// collapse trims a value and makes each run of blanks one space.
func collapse(v string) string {
	v = strings.Trim(v, " \t")
	if !strings.Contains(v, "  ") && !strings.Contains(v, "\t") {
		return v
	}
	return strings.Join(strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == '\t' }), " ")
}

// canonicalRequest is what version 4 signs, for one form of the path.
func canonicalRequest(r *http.Request, path, query string, signed []string, payload string) string {
	var b strings.Builder
	b.WriteString(method(r) + "\n" + path + "\n" + query + "\n")
	for _, name := range signed {
		b.WriteString(name + ":" + headerLine(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String()
}

// unsignedHeaders are those that must be signed and are not: host, and every
// x-amz-* of the request.
func unsignedHeaders(r *http.Request, signed []string) []string {
	var list []string
	if !slices.Contains(signed, "host") {
		list = append(list, "host")
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-amz-") && !slices.Contains(signed, lower) {
			list = append(list, lower)
		}
	}
	slices.Sort(list)
	return list
}
