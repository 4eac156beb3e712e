package kafkatest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates makes an authority for this cluster alone, writes its certificate to [Cluster.CAFile], and returns the
// brokers' key and certificate chain in the form of a PEM key store (KIP-651).
func (c *Cluster) certificates(t *testing.T) []byte {
	t.Helper()
	caKey, brokerKey := newKey(t), newKey(t)
	valid := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial),
			Subject:      pkix.Name{CommonName: name},
			NotBefore:    time.Now().Add(-time.Hour),
			NotAfter:     time.Now().Add(24 * time.Hour),
		}
	}
	ca := valid(1, "linkpulse test authority")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	broker := valid(2, "broker")
	broker.KeyUsage = x509.KeyUsageDigitalSignature
	broker.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	broker.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}

	caCert := sign(t, ca, ca, caKey, caKey)
	brokerCert := sign(t, broker, ca, brokerKey, caKey)
	key, err := x509.MarshalPKCS8PrivateKey(brokerKey)
	if err != nil {
		t.Fatal(err)
	}

	c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(c.CAFile, caCert, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(caCert)
	c.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return bytes.Join([][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), brokerCert, caCert,
	}, nil)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, cert, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
