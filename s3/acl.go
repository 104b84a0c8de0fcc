package s3

import (
	"encoding/xml"
	"net/http"
	"slices"
)

// maxSmallXML bounds documents that have a fixed, small content, bytes.
const maxSmallXML = 64 << 10

type aclGrantee struct {
	Namespace   string `xml:"xmlns:xsi,attr"`
	Type        string `xml:"xsi:type,attr"`
	ID          string
	DisplayName string
}

type aclGrant struct {
	Grantee    aclGrantee
	Permission string
}

type aclDocument struct {
	XMLName xml.Name   `xml:"http://s3.amazonaws.com/doc/2006-03-01/ AccessControlPolicy"`
	Owner   owner      `xml:"Owner"`
	Grants  []aclGrant `xml:"AccessControlList>Grant"`
}

// exists looks for the bucket or object that an operation is about.
func (c *call) exists() error {
	if c.key == "" {
		_, err := c.s.bucket(c.ctx, c.bucket)
		return err
	}
	_, _, err := c.s.get(c.ctx, c.bucket, c.key)
	return err
}

// getACL answers that the owner may do everything, and nobody else anything: what keys
// may do is the gateway's configuration.
func (c *call) getACL() error {
	if err := c.exists(); err != nil {
		return err
	}
	me := c.owner()
	c.sendXML(http.StatusOK, &aclDocument{Owner: me, Grants: []aclGrant{{
		Grantee:    aclGrantee{Namespace: "http://www.w3.org/2001/XMLSchema-instance", Type: "CanonicalUser", ID: me.ID, DisplayName: me.DisplayName},
		Permission: "FULL_CONTROL",
	}}})
	return nil
}

// putACL takes what says no more than getACL.
func (c *call) putACL() error {
	if err := c.exists(); err != nil {
		return err
	}
	if c.grants() {
		return errGrants()
	}
	acl := c.headerValue("x-amz-acl")
	body, err := c.body(maxSmallXML)
	if err != nil {
		return err
	}
	if acl == "" && len(body) > 0 {
		var doc struct {
			XMLName xml.Name `xml:"AccessControlPolicy"`
			Grants  []struct {
				Grantee struct {
					ID string
				}
				Permission string
			} `xml:"AccessControlList>Grant"`
		}
		if err := xml.Unmarshal(body, &doc); err != nil {
			return errf("MalformedXML", "the document cannot be read: %v", err)
		}
		acl = "private"
		for _, g := range doc.Grants {
			if g.Grantee.ID != c.owner().ID && g.Grantee.ID != everybody {
				return errGrants()
			}
		}
	}
	switch acl {
	case "private", "bucket-owner-full-control":
		c.w.WriteHeader(http.StatusOK)
		return nil
	case "":
		return errf("InvalidRequest", "the request has no ACL")
	}
	return errACL(acl)
}

// grants reports whether headers of the request give rights to anybody.
func (c *call) grants() bool {
	for name := range c.h {
		if hasPrefixFold(name, "x-amz-grant-") {
			return true
		}
	}
	return false
}

func errGrants() error {
	return errf("NotImplemented", "grants are not supported: access is what the keys allow")
}

// cannedACLs are all of Amazon S3's (ObjectCannedACL, BucketCannedACL and, for logs,
// "Canned ACL" in its User Guide).
var cannedACLs = []string{"private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read",
	"bucket-owner-full-control", "log-delivery-write"}

// errACL refuses an ACL that says more than that the owner may do everything.
func errACL(acl string) error {
	if !slices.Contains(cannedACLs, acl) {
		return errArgument("x-amz-acl", acl, "the ACL %q is not known", clean(acl))
	}
	return errf("NotImplemented", "the ACL %q is not supported: access is what the keys allow", acl)
}
