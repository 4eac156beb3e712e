package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// Messages is the contract of asyncapi.yaml for the WebSocket. It is safe for concurrent use.
type Messages struct {
	server, client map[string]*jsonschema.Schema // of the payloads, by type
}

// AsyncAPI loads the contract.
func AsyncAPI(tb testing.TB) *Messages {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(Dir(tb), "asyncapi.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	m, err := newMessages(text)
	if err != nil {
		tb.Fatalf("reading the AsyncAPI document: %v", err)
	}
	return m
}

// websocket is the channel of the document that is looked at.
const websocket = "#/channels/websocket"

func newMessages(text []byte) (*Messages, error) {
	var doc struct {
		Operations map[string]struct {
			Action   string `yaml:"action"`
			Channel  ref    `yaml:"channel"`
			Messages []ref  `yaml:"messages"`
		} `yaml:"operations"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	whole, err := jsonOf(text)
	if err != nil {
		return nil, err
	}
	const url = "asyncapi.json"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // what AsyncAPI 3.0's own schema object is a superset of
	if err := compiler.AddResource(url, whole); err != nil {
		return nil, err
	}
	m := &Messages{server: map[string]*jsonschema.Schema{}, client: map[string]*jsonschema.Schema{}}
	for name, op := range doc.Operations {
		if op.Channel.To != websocket {
			continue
		}
		byType := m.client
		if op.Action == "send" { // the document is written from the services' side
			byType = m.server
		}
		for _, message := range op.Messages {
			typ := path.Base(message.To)
			schema, err := compiler.Compile(url + "#/components/messages/" + typ + "/payload")
			if err != nil {
				return nil, fmt.Errorf("operation %s, message %s: %w", name, typ, err)
			}
			byType[typ] = schema
		}
	}
	return m, nil
}

// ref is a reference to another place of the document.
type ref struct {
	To string `yaml:"$ref"`
}

// jsonOf reads YAML as the values that a JSON schema is made of.
func jsonOf(text []byte) (any, error) {
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(b))
}

// CheckServer tells what the contract has against a message, the payload of a text frame, that a gateway sent.
func (m *Messages) CheckServer(message []byte) error { return check(m.server, message) }

// CheckClient tells what the contract has against a message that a client sends. A schema cannot see a member that comes
// twice; the gateway refuses that too.
func (m *Messages) CheckClient(message []byte) error { return check(m.client, message) }

// ValidateServer fails the test where the contract has something against a message that a gateway sent.
func (m *Messages) ValidateServer(tb testing.TB, message []byte) {
	tb.Helper()
	if err := m.CheckServer(message); err != nil {
		tb.Error(err)
	}
}

// ValidateClient fails the test where the contract has something against a message that a client sends.
func (m *Messages) ValidateClient(tb testing.TB, message []byte) {
	tb.Helper()
	if err := m.CheckClient(message); err != nil {
		tb.Error(err)
	}
}

var errNoType = errors.New(`the message is no object with a "type"`)

func check(byType map[string]*jsonschema.Schema, message []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(message))
	if err != nil {
		return fmt.Errorf("the message is not JSON: %w\n%s", err, message)
	}
	object, _ := v.(map[string]any)
	typ, ok := object["type"].(string)
	if !ok {
		return fmt.Errorf("%w\n%s", errNoType, message)
	}
	schema, ok := byType[typ]
	if !ok {
		return fmt.Errorf("the contract has no message of type %q in this direction\n%s", typ, message)
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("%w\n%s", err, message)
	}
	return nil
}
