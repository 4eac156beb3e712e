// Package keyflag is how commands that send clicks are told how to prove who they are: by flags, by the environment, or by
// files, which are the best way: arguments and environments are seen by others.
package keyflag

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/client"
)

// The variables of the environment, which hold where the flags do not say anything.
const (
	variable     = "LINKPULSE_KEY"
	fileVariable = "LINKPULSE_KEY_FILE"
)

// Flags are the flags of a command that sends clicks.
type Flags struct {
	Key         string `help:"API key to send clicks with. Every user of this machine sees arguments: a file is better ($LINKPULSE_KEY)." placeholder:"KEY"`
	KeyFile     string `help:"File that holds the API key ($LINKPULSE_KEY_FILE)." type:"path" placeholder:"FILE"`
	SignAs      string `help:"Sign requests instead, as the key of this id." placeholder:"ID"`
	SigningFile string `help:"File that holds the secret to sign with." type:"path" placeholder:"FILE"`
}

// Credentials returns what clicks are sent with, by the flags or else by the environment, each NAME=value; nil: nothing.
func (f *Flags) Credentials(environ []string) (client.Credentials, error) {
	switch signs, sends := f.SignAs != "" || f.SigningFile != "", f.Key != "" || f.KeyFile != ""; {
	case signs && sends:
		return nil, errors.New("a key is sent (--key, --key-file) or signed with (--sign-as, --signing-file): not both")
	case signs:
		return f.signer()
	}
	key, err := f.APIKey(environ)
	if key == nil || err != nil {
		return nil, err
	}
	return *key, nil
}

// APIKey returns the key alone; nil: there is none.
func (f *Flags) APIKey(environ []string) (*apikey.Key, error) {
	text, path, names := f.Key, f.KeyFile, [2]string{"--key", "--key-file"}
	if text == "" && path == "" {
		text, path, names = lookup(environ, variable), lookup(environ, fileVariable), [2]string{variable, fileVariable}
	}
	switch {
	case text != "" && path != "":
		return nil, fmt.Errorf("%s and %s both name a key: say one", names[0], names[1])
	case text == "" && path == "":
		return nil, nil //nolint:nilnil // there need not be one
	}
	name := names[0]
	if path != "" {
		var err error
		name = names[1]
		if text, err = read(path); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	key, err := apikey.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &key, nil
}

func (f *Flags) signer() (client.Credentials, error) {
	if f.SignAs == "" || f.SigningFile == "" {
		return nil, errors.New("--sign-as and --signing-file belong together: whose signature it is, and the secret")
	}
	text, err := read(f.SigningFile)
	if err != nil {
		return nil, fmt.Errorf("--signing-file: %w", err)
	}
	secret, err := apikey.ParseSecret(text)
	if err != nil {
		return nil, fmt.Errorf("--signing-file: %w", err)
	}
	signer, err := apikey.NewSigner(f.SignAs, secret)
	if err != nil {
		return nil, fmt.Errorf("--sign-as: %w", err)
	}
	return signer, nil
}

// maxSecret is the most bytes of a file with a secret: a file that is longer is another one.
const maxSecret = 1024

// read reads a secret and takes the end of its line away.
func read(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	return ReadLine(file)
}

// ReadLine reads a secret of one line, and nothing else.
func ReadLine(r io.Reader) (string, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxSecret {
		return "", fmt.Errorf("it has more than %d bytes: that is no secret", maxSecret)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}

func lookup(environ []string, name string) (value string) {
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}
