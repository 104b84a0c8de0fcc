package wire

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net/url"
	"time"

	"wolfdisk/volume"
)

const (
	// alpn is what both sides must have negotiated in the TLS handshake.
	alpn = "wolfdisk/1"
	// uriScheme begins the URI that a leaf certificate names its node by.
	uriScheme = "wolfdisk"
)

// Certificates do not expire: a cluster must not stop because nobody renewed
// something, nor because a machine woke up in 1970. They are checked against a fixed
// instant instead of the clock. What ends the trust in a key is its rotation.
var (
	certBegin = time.Unix(0, 0).UTC()
	certEnd   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	certNow   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Identity is who a certificate says a node is.
type Identity struct {
	Cluster volume.ID
	NodeID  string
	Role    volume.Role
	Store   volume.ID // of the node's state directory
}

var roles = []volume.Role{volume.RoleAuto, volume.RoleLeader, volume.RoleFollower, volume.RoleClient, volume.RoleWitness}

func roleOf(name string) (volume.Role, bool) {
	for _, r := range roles {
		if r.String() == name {
			return r, true
		}
	}
	return 0, false
}

// uri is the identity as a certificate carries it:
// wolfdisk://CLUSTER/NODE?role=ROLE&store=STORE.
func (id Identity) uri() *url.URL {
	q := url.Values{"role": {id.Role.String()}, "store": {id.Store.String()}}
	return &url.URL{Scheme: uriScheme, Host: id.Cluster.String(), Path: "/" + id.NodeID, RawQuery: q.Encode()}
}

// identityOf reads the identity out of a certificate. The certificate may be that
// of a stranger: what it says is worth only what its signature is.
func identityOf(cert *x509.Certificate) (Identity, error) {
	var id Identity
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != uriScheme || len(cert.URIs[0].Path) < 2 {
		return id, volume.Errorf(volume.BadFormat, "the certificate names no WolfDisk node")
	}
	u := cert.URIs[0]
	q := u.Query()
	role, ok := roleOf(q.Get("role"))
	id.Role, id.NodeID = role, u.Path[1:]
	errs := []error{
		id.Cluster.UnmarshalText([]byte(u.Host)),
		id.Store.UnmarshalText([]byte(q.Get("store"))),
		volume.CheckNodeID(id.NodeID),
	}
	for _, err := range errs {
		if err != nil {
			return id, volume.Errorf(volume.BadFormat, "the certificate's name: %w", err)
		}
	}
	// One identity has one spelling: whatever else the URI may carry is refused.
	if !ok || id.uri().String() != u.String() {
		return id, volume.Errorf(volume.BadFormat, "the certificate's name is malformed")
	}
	return id, nil
}

// authority is a certificate authority that every holder of a key can rebuild.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// authority derives the CA of one of the keys. Ed25519 signs deterministically,
// so that the certificate is the same on every node.
func (k *Keys) authority(i int) authority {
	key := ed25519.NewKeyFromSeed(k.derive(i, labelCA, ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "WolfDisk cluster " + k.cluster.String()},
		NotBefore:             certBegin,
		NotAfter:              certEnd,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		SubjectKeyId:          keyID(key.Public()),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic("wire: make the cluster's certificate authority: " + err.Error()) // no input is involved
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic("wire: parse the cluster's certificate authority: " + err.Error())
	}
	return authority{cert: cert, key: key}
}

func keyID(pub crypto.PublicKey) []byte {
	sum := sha256.Sum256(pub.(ed25519.PublicKey))
	return sum[:20]
}

// fingerprint is the beginning of the ID of an authority's public key.
func fingerprint(pub crypto.PublicKey) string { return hex.EncodeToString(keyID(pub)[:4]) }

// newLeaf makes a fresh key and certificate for one run of a node.
func newLeaf(ca authority, id Identity) (tls.Certificate, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, volume.Errorf(volume.IO, "make the node's TLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, volume.Errorf(volume.IO, "make the node's certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:   serial.Add(serial, big.NewInt(1)),
		Subject:        pkix.Name{CommonName: id.NodeID},
		NotBefore:      certBegin,
		NotAfter:       certEnd,
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:       []string{id.Cluster.String()}, // what a dialer verifies and sends as SNI
		URIs:           []*url.URL{id.uri()},
		AuthorityKeyId: ca.cert.SubjectKeyId,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, pub, ca.key)
	if err != nil {
		return tls.Certificate{}, volume.Errorf(volume.Invalid, "make the node's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, volume.Errorf(volume.Invalid, "read the node's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// tlsConfig is the one configuration of both sides: mutual TLS 1.3, leaves signed
// by any of the keys, no tickets, and a leaf of the first key to show.
func tlsConfig(k *Keys, id Identity) (*tls.Config, error) {
	leaf, err := newLeaf(k.authority(0), id)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for i := range k.keys {
		pool.AddCert(k.authority(i).cert)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		Certificates:           []tls.Certificate{leaf},
		RootCAs:                pool,
		ClientCAs:              pool,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ServerName:             id.Cluster.String(),
		SessionTicketsDisabled: true,
		Time:                   func() time.Time { return certNow },
		// Full records from the first byte: small ones would add 2 % to what is sent.
		DynamicRecordSizingDisabled: true,
		// Always shown, whatever authorities the peer lists: it shall refuse us for
		// the right reason.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &leaf, nil },
		// Remembers which cluster a stranger looked for, for the error message only.
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			if c, ok := info.Conn.(*rawConn); ok {
				c.serverName = info.ServerName
			}
			return nil, nil
		},
	}, nil
}
