package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// fault is an answer that is an error: a code of the S3 protocol, its HTTP status and
// a message that names the thing.
type fault struct {
	code    string
	status  int
	message string
	detail  []sig.Field // further elements of the answer
	allow   string      // the header Allow
}

func (f *fault) Error() string {
	text := f.code + ": " + f.message
	for _, d := range f.detail {
		text += "; " + d.Name + ": " + d.Value
	}
	return text
}

// statuses are the codes that the gateway answers, and their HTTP status.
var statuses = map[string]int{
	"AccessDenied": 403, "AuthorizationHeaderMalformed": 400, "BadDigest": 400, "BucketAlreadyExists": 409,
	"BucketAlreadyOwnedByYou": 409, "BucketNotEmpty": 409, "ConditionalRequestConflict": 409,
	"EntityTooLarge": 400, "EntityTooSmall": 400, "ExistingObjectIsDirectory": 409, "DirectoryObjectContainsData": 400,
	"IllegalLocationConstraintException": 400, "IncompleteBody": 400, "InsufficientStorage": 507, "InternalError": 500,
	"InvalidArgument": 400, "InvalidBucketName": 400, "InvalidDigest": 400, "InvalidPart": 400, "InvalidPartNumber": 416,
	"InvalidPartOrder": 400, "InvalidRange": 416, "InvalidRequest": 400, "InvalidStorageClass": 400, "InvalidTag": 400,
	"InvalidURI": 400, "KeyTooLongError": 400, "MalformedXML": 400, "MaxMessageLengthExceeded": 400,
	"MalformedACLError": 400, "MetadataTooLarge": 400, "MethodNotAllowed": 405, "MissingSecurityHeader": 400, "UnexpectedContent": 400, "MissingContentLength": 411, "MissingRequestBodyError": 400,
	"NoSuchBucket": 404, "NoSuchBucketPolicy": 404, "NoSuchCORSConfiguration": 404, "NoSuchKey": 404,
	"NoSuchLifecycleConfiguration": 404, "NoSuchPublicAccessBlockConfiguration": 404, "NoSuchTagSet": 404,
	"NoSuchUpload": 404, "NoSuchVersion": 404, "NoSuchWebsiteConfiguration": 404, "NotImplemented": 501,
	"ObjectLockConfigurationNotFoundError": 404, "ObjectParentIsFile": 409, "OperationAborted": 409,
	"OwnershipControlsNotFoundError": 404, "PreconditionFailed": 412, "QuotaExceeded": 507,
	"ReplicationConfigurationNotFoundError": 404, "RequestTimeout": 400,
	"ServerSideEncryptionConfigurationNotFoundError": 404, "ServiceUnavailable": 503, "SlowDown": 503,
	"XAmzContentChecksumMismatch": 400, "AccessForbidden": 403, "BadRequest": 400, "InvalidLocationConstraint": 400,
	"InvalidBucketAclWithObjectOwnership": 400, "InvalidRedirectLocation": 400, "RequestHeaderSectionTooLarge": 400,
}

// texts are what Amazon S3 says of a code, which clients may show or look for. What
// there is to say of the very request is then the element Reason.
var texts = map[string]string{
	"AccessDenied":                         "Access Denied.",
	"BadDigest":                            "The Content-MD5 you specified did not match what we received.",
	"BucketAlreadyOwnedByYou":              "Your previous request to create the named bucket succeeded and you already own it.",
	"BucketNotEmpty":                       "The bucket you tried to delete is not empty.",
	"EntityTooLarge":                       "Your proposed upload exceeds the maximum allowed object size.",
	"EntityTooSmall":                       "Your proposed upload is smaller than the minimum allowed size",
	"ExistingObjectIsDirectory":            "Existing Object is a directory.",
	"DirectoryObjectContainsData":          "Directory object contains data payload.",
	"InvalidBucketName":                    "The specified bucket is not valid.",
	"InvalidBucketAclWithObjectOwnership":  "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
	"InvalidLocationConstraint":            "The specified location-constraint is not valid",
	"InvalidPart":                          "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
	"InvalidPartNumber":                    "The requested partnumber is not satisfiable.",
	"InvalidPartOrder":                     "The list of parts was not in ascending order. Parts must be ordered by part number.",
	"InvalidRange":                         "The requested range is not satisfiable",
	"InvalidRedirectLocation":              "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
	"InvalidURI":                           "The specified URI couldn't be parsed.",
	"KeyTooLongError":                      "Your key is too long.",
	"MalformedACLError":                    "The XML you provided was not well-formed or did not validate against our published schema.",
	"MalformedXML":                         "The XML you provided was not well-formed or did not validate against our published schema.",
	"MaxMessageLengthExceeded":             "Your request was too big.",
	"MetadataTooLarge":                     "Your metadata headers exceed the maximum allowed metadata size",
	"MethodNotAllowed":                     "The specified method is not allowed against this resource.",
	"MissingContentLength":                 "You must provide the Content-Length HTTP header.",
	"MissingRequestBodyError":              "Request Body is empty",
	"MissingSecurityHeader":                "Your request is missing a required header.",
	"NoSuchBucket":                         "The specified bucket does not exist.",
	"NoSuchBucketPolicy":                   "The bucket policy does not exist",
	"NoSuchCORSConfiguration":              "The CORS configuration does not exist",
	"NoSuchKey":                            "The specified key does not exist.",
	"NoSuchTagSet":                         "The TagSet does not exist.",
	"NoSuchUpload":                         "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
	"NoSuchVersion":                        "The specified version does not exist.",
	"NoSuchWebsiteConfiguration":           "The specified bucket does not have a website configuration",
	"NotImplemented":                       "A header you provided implies functionality that is not implemented.",
	"ObjectLockConfigurationNotFoundError": "Object Lock configuration does not exist for this bucket.",
	"ObjectParentIsFile":                   "Object parent already exists as a file.",
	"OwnershipControlsNotFoundError":       "The bucket ownership controls were not found.",
	"PreconditionFailed":                   "At least one of the pre-conditions you specified did not hold.",
	"RequestHeaderSectionTooLarge":         "Your request header section exceeds the maximum allowed size.",
	"SlowDown":                             "Please reduce your request rate.",
	"UnexpectedContent":                    "This request does not support content.",
}

// errf is a fault with a code of statuses.
func errf(code, format string, args ...any) *fault {
	status, ok := statuses[code]
	if !ok {
		status = http.StatusInternalServerError
	}
	f := &fault{code: code, status: status, message: fmt.Sprintf(format, args...)}
	if text, ok := texts[code]; ok {
		f.detail = []sig.Field{{Name: "Reason", Value: f.message}}
		f.message = text
	}
	return f
}

// with adds an element to the answer.
func (f *fault) with(name, value string) *fault {
	f.detail = append(f.detail, sig.Field{Name: name, Value: value})
	return f
}

// errArgument refuses the value of a parameter or header.
func errArgument(name, value, format string, args ...any) *fault {
	return errf("InvalidArgument", format, args...).with("ArgumentName", name).with("ArgumentValue", value)
}

// notModified is the answer 304: it has headers, and no body.
var notModified = &fault{code: "NotModified", status: http.StatusNotModified, message: "the object is as the client has it"}

// faultOf turns any error into an answer. What a volume says of its own disks is
// not told to clients.
func faultOf(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	var s *sig.Error
	if errors.As(err, &s) {
		return &fault{code: s.Code, status: s.Status, message: s.Message, detail: s.Detail}
	}
	kind := volume.KindOf(err)
	code := kind.S3Code()
	message := kind.Error()
	switch {
	case kind == volume.ReadOnly, kind == volume.Fenced:
		message = "this node accepts no changes at the moment; ask the leader, or try again"
	case kind == volume.Unavailable, kind == volume.Closed:
		message = "the volume cannot be reached at the moment; try again"
	case code == "InternalError":
		message = "the request could not be carried out; the daemon's log says why"
	}
	return errf(code, "%s", message)
}

type errorBody struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Resource  string `xml:",omitempty"`
	Key       string `xml:",omitempty"`
	Detail    []detail
	RequestId string
	HostId    string
}

// detail is an element whose name is known only now.
type detail struct {
	XMLName xml.Name
	Value   string `xml:",chardata"`
}
