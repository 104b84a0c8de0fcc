package s3

import (
	"crypto/tls"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// Volume is what the gateway needs of a volume.
type Volume interface {
	volume.Volume
	volume.NameReader
	volume.KeptReader
}

// Verifier says who made a request; *sig.Verifier is one.
type Verifier interface {
	Verify(r *http.Request) (*sig.Result, error)
}

// Config of a Server. Volume and Auth must be set; everything else has a default.
type Config struct {
	Volume Volume
	Auth   Verifier
	// Region is what GetBucketLocation says.
	Region string
	// Domains are base names of virtual-host style: a request for bucket.domain is for
	// bucket. Path style always works.
	Domains []string
	// Buckets are buckets that are not at the root, and the paths of their directories.
	Buckets map[string]string
	// UID, GID, FileMode and DirMode are of what clients make.
	UID, GID          uint32
	FileMode, DirMode uint32
	// UploadExpiry is how long an upload in parts may stay unfinished.
	UploadExpiry time.Duration
	// OpaqueETags spares the MD5 of what is put: ETags are not the MD5 of the content then.
	OpaqueETags bool
	// CORSOrigins are the origins whose scripts may use the gateway; "*" for all.
	CORSOrigins []string
	// TLS, if not nil, is spoken on the listeners given to Serve.
	TLS *tls.Config
	// MaxConnections bounds the connections of all listeners together, MaxRequests the
	// requests at work, Rate the requests per second of one client address (0: no bound).
	MaxConnections, MaxRequests int
	Rate                        float64
	// Stall is how long a client may send nothing of a body that it has begun, or take nothing of
	// its answer.
	Stall time.Duration
	Now   func() time.Time
	Log   zerolog.Logger
	// Elsewhere, if not nil, is asked before an operation that changes something, once it is
	// known who asks; nothing of the body has been read. It answers the request if that is another
	// node's business, and says so; an error is answered here. anonymous says that there are no keys.
	Elsewhere func(w http.ResponseWriter, r *http.Request, anonymous bool) (answered bool, err error)
	// Done, if not nil, is told of every request when it has been answered.
	Done func(Done)
}

// Done is a request that was answered.
type Done struct {
	Operation     string // empty if it was refused before that was known
	Status        int
	Read, Written int64 // bytes of the bodies
}

// DefaultConfig is a Config that lacks only Volume and Auth.
func DefaultConfig() Config {
	return Config{
		Region: "us-east-1", FileMode: 0o644, DirMode: 0o755, UploadExpiry: 7 * 24 * time.Hour,
		MaxConnections: 4096, MaxRequests: 256, Stall: stallTimeout, Now: time.Now, Log: zerolog.Nop(),
	}
}

func (c *Config) complete() error {
	d := DefaultConfig()
	if c.Volume == nil || c.Auth == nil {
		return volume.Errorf(volume.Invalid, "s3: a volume and a verifier must be given")
	}
	if c.Region == "" {
		c.Region = d.Region
	}
	if c.FileMode == 0 {
		c.FileMode = d.FileMode
	}
	if c.DirMode == 0 {
		c.DirMode = d.DirMode
	}
	if (c.FileMode|c.DirMode)&^0o777 != 0 {
		return volume.Errorf(volume.Invalid, "s3: modes %o and %o: only permission bits can be given", c.FileMode, c.DirMode)
	}
	if c.UploadExpiry <= 0 {
		c.UploadExpiry = d.UploadExpiry
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = d.MaxConnections
	}
	if c.MaxRequests <= 0 {
		c.MaxRequests = d.MaxRequests
	}
	if c.Stall <= 0 {
		c.Stall = d.Stall
	}
	if c.Rate < 0 {
		return volume.Errorf(volume.Invalid, "s3: a rate of %g requests per second", c.Rate)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}
