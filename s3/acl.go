package s3

import (
	"bytes"
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

// permissions are what a grant can allow (Permission of Amazon S3's API).
var permissions = []string{"FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP"}

// putACL takes what says no more than getACL.
func (c *call) putACL() error {
	if err := c.exists(); err != nil {
		return err
	}
	acl, grants := c.headerValue("x-amz-acl"), c.grants()
	body, err := c.body(maxSmallXML)
	if err != nil {
		return err
	}
	hasBody := len(bytes.TrimSpace(body)) > 0
	switch {
	case hasBody && (acl != "" || grants): // one of the two would count for nothing
		return errf("UnexpectedContent", "the request has an ACL in its headers, and another in its body")
	case grants:
		return errGrants()
	case hasBody:
		err = c.checkACL(body)
	case acl == "":
		err = errf("MissingSecurityHeader", "the request has no ACL")
	case acl != "private" && acl != "bucket-owner-full-control":
		err = errACL(acl)
	}
	if err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// checkACL holds the document of an ACL to what getACL answers.
func (c *call) checkACL(body []byte) error {
	var doc struct {
		XMLName xml.Name `xml:"AccessControlPolicy"`
		Owner   struct {
			ID string
		}
		Grants []struct {
			Grantee struct {
				ID string
			}
			Permission string
		} `xml:"AccessControlList>Grant"`
	}
	if err := xml.Unmarshal(body, &doc); err != nil {
		return errf("MalformedACLError", "the document cannot be read: %v", err)
	}
	mine := func(id string) bool { return id == c.owner().ID || id == everybody }
	// The document may leave its owner out.
	same := len(doc.Grants) > 0 && (doc.Owner.ID == "" || mine(doc.Owner.ID))
	for _, g := range doc.Grants {
		if !slices.Contains(permissions, g.Permission) {
			return errf("MalformedACLError", "the permission %q is not known", clean(g.Permission))
		}
		same = same && mine(g.Grantee.ID) && g.Permission == "FULL_CONTROL"
	}
	if !same {
		return errGrants()
	}
	return nil
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
	return errf("NotImplemented", "grants are not supported: the owner may do everything, and access is what the keys allow")
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
