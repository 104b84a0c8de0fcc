package s3

import (
	"fmt"
	"testing"

	"wolfdisk/s3/sig"
)

// An ACL is taken only if it says what is so anyhow: that the owner may do everything, and nobody else anything.
func TestPutACL(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Auth = trusting{sig.Key{Access: "me"}} })
	r.path("b/k", "x")
	grant := func(id, permission string) string {
		return fmt.Sprintf(`<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>%s</ID></Grantee><Permission>%s</Permission></Grant>`, id, permission)
	}
	doc := func(owner, grants string) string {
		return `<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>` + owner + `</ID></Owner><AccessControlList>` + grants + `</AccessControlList></AccessControlPolicy>`
	}
	full := grant("me", "FULL_CONTROL")
	const private = "x-amz-acl: private"
	for _, path := range []string{"/b?acl", "/b/k?acl"} {
		for _, body := range []string{r.ok("GET", path, "").body, doc("me", full), doc("wolfdisk", grant("wolfdisk", "FULL_CONTROL")), doc("", full)} {
			r.ok("PUT", path, body)
		}
		r.ok("PUT", path, "", private)
		r.ok("PUT", path, "\n", private)
		for _, row := range []struct{ code, body, header string }{
			{"UnexpectedContent", doc("me", grant("other", "FULL_CONTROL")), private},
			{"UnexpectedContent", doc("me", full), private},
			{"MissingSecurityHeader", "", ""},
			{"MalformedACLError", doc("me", grant("me", "BOGUS")), ""},
			{"MalformedACLError", doc("me", full+grant("me", "")), ""},
			{"MalformedACLError", "<AccessControlPolicy>", ""},
			{"MalformedACLError", "<Tagging/>", ""},
			{"NotImplemented", doc("me", grant("me", "READ")), ""},
			{"NotImplemented", doc("me", full+grant("me", "WRITE_ACP")), ""},
			{"NotImplemented", doc("me", full+grant("other", "READ")), ""},
			{"NotImplemented", doc("me", grant("other", "FULL_CONTROL")), ""},
			{"NotImplemented", doc("other", full), ""},
			{"NotImplemented", doc("me", ""), ""},
			{"NotImplemented", "", "x-amz-grant-read: id=me"},
		} {
			var extra []string
			if row.header != "" {
				extra = append(extra, row.header)
			}
			r.fails(row.code, "PUT", path, row.body, extra...)
		}
	}
	r.fails("UnexpectedContent", "PUT", "/b?acl", doc("me", full), "x-amz-grant-read: id=me") // of an object such a header is refused before
}
