package s3

import (
	"net/http"
	"slices"
	"strings"
)

// exposed are the headers that a script may read, beside those that every one may.
var exposed = func() string {
	list := "ETag, Content-Range, Content-Disposition, Content-Encoding, Accept-Ranges, Location, x-amz-request-id, x-amz-id-2, x-amz-version-id, " +
		"x-amz-bucket-region, x-amz-mp-parts-count, x-amz-object-size, x-amz-storage-class, x-amz-tagging-count, " +
		"x-amz-website-redirect-location, x-amz-checksum-type"
	for a := algoNone + 1; a < algoEnd; a++ {
		list += ", " + a.header()
	}
	return list
}()

// expose adds a header that only this answer has.
func expose(h http.Header, name string) {
	const header = "Access-Control-Expose-Headers"
	if list := h.Get(header); list != "" { // a script has asked
		h.Set(header, list+", "+name)
	}
}

// methods are what a script may ask with. Their names are in capitals, also in a question.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete}

// cors adds what a browser wants to know, and answers its question before a request. It
// reports whether that was all.
func (s *Server) cors(c *call) bool {
	origin := c.r.Header.Get("Origin")
	preflight := c.r.Method == http.MethodOptions
	h := c.w.Header()
	all := slices.Contains(s.cfg.CORSOrigins, "*")
	allowed := origin != "" && (all || slices.Contains(s.cfg.CORSOrigins, origin))
	if preflight {
		h.Add("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
		var err error
		switch method := c.r.Header.Get("Access-Control-Request-Method"); {
		case origin == "":
			err = errf("BadRequest", "Insufficient information. Origin request header needed.")
		case !slices.Contains(methods, method):
			err = errf("BadRequest", "Invalid Access-Control-Request-Method: %s", clean(method))
		case !allowed:
			err = errf("AccessForbidden", "scripts from %q may not use this gateway", clean(origin))
		}
		if err != nil {
			c.fail(err)
			return true
		}
	} else {
		h.Add("Vary", "Origin")
	}
	if !allowed {
		return false
	}
	if all {
		origin = "*"
	} else {
		h.Set("Access-Control-Allow-Credentials", "true") // beside * no browser takes it
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", exposed)
	if !preflight {
		return false
	}
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	if asked := c.r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "3000")
	c.w.WriteHeader(http.StatusOK)
	return true
}
