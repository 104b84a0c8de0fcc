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
}

func (f *fault) Error() string { return f.code + ": " + f.message }

// statuses are the codes that the gateway answers, and their HTTP status.
var statuses = map[string]int{
	"AccessDenied": 403, "AuthorizationHeaderMalformed": 400, "BadDigest": 400, "BucketAlreadyExists": 409,
	"BucketAlreadyOwnedByYou": 409, "BucketNotEmpty": 409, "ConditionalRequestConflict": 409,
	"EntityTooLarge": 413, "EntityTooSmall": 400, "ExistingObjectIsDirectory": 409, "DirectoryObjectContainsData": 400,
	"IllegalLocationConstraintException": 400, "IncompleteBody": 400, "InsufficientStorage": 507, "InternalError": 500,
	"InvalidArgument": 400, "InvalidBucketName": 400, "InvalidDigest": 400, "InvalidPart": 400, "InvalidPartNumber": 416,
	"InvalidPartOrder": 400, "InvalidRange": 416, "InvalidRequest": 400, "InvalidStorageClass": 400, "InvalidTag": 400,
	"InvalidURI": 400, "KeyTooLongError": 400, "MalformedXML": 400, "MaxMessageLengthExceeded": 400,
	"MetadataTooLarge": 400, "MethodNotAllowed": 405, "MissingContentLength": 411, "MissingRequestBodyError": 400,
	"NoSuchBucket": 404, "NoSuchBucketPolicy": 404, "NoSuchCORSConfiguration": 404, "NoSuchKey": 404,
	"NoSuchLifecycleConfiguration": 404, "NoSuchPublicAccessBlockConfiguration": 404, "NoSuchTagSet": 404,
	"NoSuchUpload": 404, "NoSuchVersion": 404, "NoSuchWebsiteConfiguration": 404, "NotImplemented": 501,
	"ObjectLockConfigurationNotFoundError": 404, "ObjectParentIsFile": 409, "OperationAborted": 409,
	"OwnershipControlsNotFoundError": 404, "PreconditionFailed": 412, "QuotaExceeded": 507,
	"ReplicationConfigurationNotFoundError": 404, "RequestTimeout": 400,
	"ServerSideEncryptionConfigurationNotFoundError": 404, "ServiceUnavailable": 503, "SlowDown": 503,
	"XAmzContentChecksumMismatch": 400, "AccessForbidden": 403,
}

// errf is a fault with a code of statuses.
func errf(code, format string, args ...any) error {
	status, ok := statuses[code]
	if !ok {
		status = http.StatusInternalServerError
	}
	return &fault{code: code, status: status, message: fmt.Sprintf(format, args...)}
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
	return errf(code, "%s", message).(*fault)
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
