// Package tlsclient is the configuration of connections that are encrypted: to Kafka, to Redis.
package tlsclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Config says how connections are encrypted. Files are read by [Config.Load].
type Config struct {
	Enable     bool   `help:"Encrypt the connections."`
	CA         string `help:"File with the certificates to trust; without it, those of the system." placeholder:"FILE"`
	Cert       string `help:"File with the certificate to show to servers that ask for one." placeholder:"FILE"`
	Key        string `help:"File with its key." placeholder:"FILE"`
	ServerName string `help:"Name to expect in the servers' certificates; without it, each one's own address."`
}

// Check returns every contradiction. It does no I/O.
func (c Config) Check() error {
	var errs []error
	if (c.Cert == "") != (c.Key == "") {
		errs = append(errs, errors.New("certificate and key come together"))
	}
	if !c.Enable && (c.CA != "" || c.Cert != "" || c.ServerName != "") {
		errs = append(errs, errors.New("it is configured and not enabled"))
	}
	return errors.Join(errs...)
}

// Load reads the files; nil is for connections that are not encrypted.
func (c Config) Load() (*tls.Config, error) {
	if !c.Enable {
		return nil, nil //nolint:nilnil // no TLS is a configuration
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("reading the CA: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
