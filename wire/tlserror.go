package wire

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	"wolfdisk/volume"
)

// Alerts of RFC 8446 that say that the peer does not accept our certificate.
var certAlerts = []tls.AlertError{42, 43, 44, 45, 46, 48, 49, 116}

// Alerts of RFC 8446 that say that there is no common version or ALPN protocol.
var versionAlerts = []tls.AlertError{40, 70, 86, 120}

// remoteAlert is the alert that the peer sent, if err is one. The standard library
// keeps the type of a received alert to itself, so it is found by its text.
func remoteAlert(err error, alerts []tls.AlertError) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return false
	}
	return slices.ContainsFunc(alerts, func(a tls.AlertError) bool { return a.Error() == op.Err.Error() })
}

// greetingError turns what went wrong before a session into an error that says
// what to do about it. Both sides of a mismatch come here: the one that refused the
// certificate, and the one that got the alert.
func (c *Config) greetingError(err error, conn *rawConn, addr string) error {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var refusal *Refusal
	var ours *volume.Error
	switch {
	case errors.As(err, &refusal), errors.Is(err, ErrSelf):
		return volume.Wrap(err, "session with "+addr)
	case errors.As(err, &ours) && ours.Kind == volume.BadFormat: // may have an EOF inside
		return volume.Wrap(err, "session with "+addr)
	case errors.As(err, &verify):
		return c.certificateError(verify, addr)
	case remoteAlert(err, certAlerts):
		if name := conn.serverName; name != "" && name != c.Keys.cluster.String() {
			return c.otherCluster(addr, cleanText(name))
		}
		return c.otherKey(addr, "refuses this node's key "+c.Keys.Fingerprint())
	case remoteAlert(err, versionAlerts):
		return refuse(volume.WrongVersion, CodeVersion, "%s does not speak %s (this node speaks protocol %s): update the older one", addr, alpn, versions(ProtocolMin, ProtocolMax))
	case errors.As(err, &record):
		return volume.Errorf(volume.BadFormat, "session with %s: it does not speak TLS: is this the port of a WolfDisk node? %w", addr, err)
	case errors.Is(err, context.Canceled):
		return volume.Errorf(volume.Interrupted, "session with %s: %w", addr, err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return volume.Errorf(volume.Unavailable, "session with %s: not established within %v", addr, c.HandshakeTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return volume.Errorf(volume.Unavailable, "session with %s: closed before it was established: %w", addr, err)
	case errors.As(err, &ours):
		return volume.Wrap(err, "session with "+addr)
	}
	// What is left are failures of the TLS handshake: whatever they are, the peer
	// did not show that it holds the key.
	return &Refusal{Kind: volume.Unauthorized, Code: CodeUnauthorized, Text: cleanText("session with " + addr + ": " + err.Error())}
}

// certificateError explains a certificate that none of our keys has signed. What
// it says of itself is not proven, but good enough to tell two mistakes apart.
func (c *Config) certificateError(err *tls.CertificateVerificationError, addr string) error {
	if len(err.UnverifiedCertificates) == 0 {
		return c.otherKey(addr, "shows no certificate")
	}
	cert := err.UnverifiedCertificates[0]
	id, perr := identityOf(cert)
	if perr != nil {
		return c.otherKey(addr, "is no WolfDisk node")
	}
	if id.Cluster != c.Keys.cluster {
		return c.otherCluster(addr, id.Cluster.String())
	}
	key := cert.AuthorityKeyId[:min(4, len(cert.AuthorityKeyId))]
	return c.otherKey(addr, id.NodeID+" holds another key, "+hex.EncodeToString(key)+" instead of "+c.Keys.Fingerprint())
}

func (c *Config) otherKey(addr, what string) error {
	return refuse(volume.Unauthorized, CodeUnauthorized, "%s: %s: copy %s of one node to all others and restart them", addr, what, c.Keys.file())
}

func (c *Config) otherCluster(addr, cluster string) error {
	return refuse(volume.WrongCluster, CodeCluster, "%s belongs to cluster %s, this node to cluster %s: dial another address, or copy %s of one node to the others to join them", addr, cluster, c.Keys.cluster, c.Keys.file())
}

func versions(lo, hi uint16) string {
	if lo == hi {
		return itoa(lo)
	}
	return itoa(lo) + " to " + itoa(hi)
}
