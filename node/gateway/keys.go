package gateway

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync/atomic"

	"wolfdisk/node/config"
	"wolfdisk/s3/sig"
)

// keySet are the pairs of keys, which can be exchanged while they are used.
type keySet struct {
	m atomic.Pointer[map[string]sig.Key]
}

func (k *keySet) set(pairs []config.S3Key) {
	m := make(map[string]sig.Key, len(pairs))
	for _, p := range pairs {
		m[p.Access] = sig.Key{Access: p.Access, Secret: p.Secret, Buckets: p.Buckets, ReadOnly: p.ReadOnly}
	}
	k.m.Store(&m)
}

// Find implements sig.Keys.
func (k *keySet) Find(access string) (sig.Key, bool) {
	v, ok := (*k.m.Load())[access]
	return v, ok
}

// Empty implements sig.Keys.
func (k *keySet) Empty() bool { return len(*k.m.Load()) == 0 }

func loadCertificate(s *config.S3) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("[s3] tls_cert, tls_key: %w", err)
	}
	return &cert, nil
}

// reload takes keys and certificate from a configuration that was read again.
func (g *Gateway) reload(next *config.Config) {
	s := &next.S3
	// What the configuration says of bind and anonymous takes effect at the next start; until
	// then clients are served as it was said at this one.
	if open := len(s.Pairs) == 0 && !g.keys.Empty() && g.listener != nil && !g.cfg.S3.Loopback(); open {
		g.log.Error().Str("code", codeKeysKept).Msg("the S3 keys are gone from the configuration, and other machines reach the gateway: it goes on with the keys it has until the next start")
	} else {
		g.keys.set(s.Pairs)
	}
	g.warnReadable(next)
	if !g.tls || s.TLSCert == "" {
		return
	}
	cert, err := loadCertificate(s)
	if err != nil {
		g.log.Error().Err(err).Str("code", codeReloadTLS).Msg("the gateway's certificate was not read again: it goes on with the one it has")
		return
	}
	g.cert.Store(cert)
}

// warnReadable tells of files with secrets that others can read.
func (g *Gateway) warnReadable(c *config.Config) {
	files := c.S3.SecretFiles()
	if c.S3.SecretsInFile() && c.File != "" {
		files = append(files, c.File)
	}
	for _, name := range files {
		if st, err := os.Stat(name); err == nil && st.Mode().Perm()&0o077 != 0 {
			g.log.Warn().Str("code", codeReadable).Str("file", name).Str("mode", fmt.Sprintf("%04o", st.Mode().Perm())).
				Msg("the file holds secrets of the S3 gateway, and others than its owner may read it: chmod 600 " + name)
		}
	}
}
