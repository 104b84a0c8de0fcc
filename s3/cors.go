package s3

import (
	"net/http"
	"slices"
)

// exposed are the headers that a script may read.
const exposed = "ETag, Content-Range, Accept-Ranges, x-amz-request-id, x-amz-id-2, x-amz-version-id, " +
	"x-amz-mp-parts-count, x-amz-tagging-count, x-amz-checksum-crc32, x-amz-checksum-crc32c, " +
	"x-amz-checksum-crc64nvme, x-amz-checksum-sha1, x-amz-checksum-sha256, x-amz-checksum-type"

// cors adds what a browser wants to know, and answers its question before a request. It
// reports whether that was all.
func (s *Server) cors(c *call) bool {
	origin := c.r.Header.Get("Origin")
	preflight := c.r.Method == http.MethodOptions
	h := c.w.Header()
	h.Add("Vary", "Origin")
	all := slices.Contains(s.cfg.CORSOrigins, "*")
	if origin == "" || !all && !slices.Contains(s.cfg.CORSOrigins, origin) {
		if preflight {
			c.fail(errf("AccessForbidden", "scripts from %q may not use this gateway", origin))
		}
		return preflight
	}
	if all {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", exposed)
	if !preflight {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, PUT, POST, DELETE")
	if asked := c.r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "3000")
	c.w.WriteHeader(http.StatusOK)
	return true
}
