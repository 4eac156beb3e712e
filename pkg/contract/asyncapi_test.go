package contract

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// specification compiles the schema of AsyncAPI documents.
func specification(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("testdata/asyncapi-specs/3.0.0.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	const url = "http://asyncapi.com/definitions/3.0.0/asyncapi.json"
	if err := compiler.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(url)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Dir(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// planted replaces a part of a document that must be there.
func planted(t *testing.T, text, part, with string) string {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Fatalf("the document has no %q", part)
	}
	return strings.Replace(text, part, with, 1)
}

func TestAsyncAPIDocument(t *testing.T) {
	t.Parallel()
	specification, text := specification(t), document(t, "asyncapi.yaml")
	check := func(text string) error {
		doc, err := jsonOf([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return specification.Validate(doc)
	}
	if err := check(text); err != nil {
		t.Fatalf("the document is not valid AsyncAPI 3.0: %v", err)
	}
	for part, with := range map[string]string{
		"action: send":        "action: sends",
		"\nchannels:":         "\nchanels:",
		"    address: clicks": "    at: clicks",
		"      payload: {$ref: \"#/components/schemas/Ready\"}": "      payload: 5",
		"asyncapi: 3.0.0":                          "asyncapi: 2.6.0",
		"  version: \"1\"\n":                       "",
		"            type: string\n      payload:": "            type: sting\n      payload:",
	} {
		if check(planted(t, text, part, with)) == nil {
			t.Errorf("a document with %q instead of %q passes", with, part)
		}
	}
}

// Every message that the document describes is sent or received by somebody, and none is only mentioned.
func TestAsyncAPIOperationsCoverTheMessages(t *testing.T) {
	t.Parallel()
	m := AsyncAPI(t)
	for typ := range m.client {
		if m.server[typ] != nil {
			t.Errorf("%s goes both ways", typ)
		}
	}
	files, err := filepath.Glob(filepath.Join(Dir(t), "testdata/server/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range files {
		seen[typeOf(t, f)] = true
	}
	for typ := range m.server {
		if !seen[typ] {
			t.Errorf("%s has no golden message", typ)
		}
	}
	if len(m.server) != 7 || len(m.client) != 3 {
		t.Errorf("%d types from the server and %d from the client", len(m.server), len(m.client))
	}
}

func typeOf(t *testing.T, file string) string {
	t.Helper()
	var m struct{ Type string }
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Type
}

func TestGoldenMessagesKeepTheContract(t *testing.T) {
	t.Parallel()
	m := AsyncAPI(t)
	for dir, validate := range map[string]func(testing.TB, []byte){"server": m.ValidateServer, "client": m.ValidateClient} {
		files, err := filepath.Glob(filepath.Join(Dir(t), "testdata", dir, "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no golden messages in %s: %v", dir, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			validate(t, text)
		}
	}
}

func TestInvalidClientMessagesBreakTheContract(t *testing.T) {
	t.Parallel()
	m := AsyncAPI(t)
	var invalid []struct{ Name, Message string }
	if err := json.Unmarshal([]byte(document(t, "testdata/client_invalid.json")), &invalid); err != nil {
		t.Fatal(err)
	}
	for _, c := range invalid {
		if strings.HasSuffix(c.Name, " twice") {
			continue // no schema can see that
		}
		if m.CheckClient([]byte(c.Message)) == nil {
			t.Errorf("%s passes: %s", c.Name, c.Message)
		}
	}
}

// What a gateway might send by mistake.
func TestServerMessagesThatBreakTheContract(t *testing.T) {
	t.Parallel()
	m := AsyncAPI(t)
	for _, text := range []string{
		``, `null`, `[]`, `{}`, `{"type":7}`,
		`{"type":"subscribe","links":[]}`, // a client's
		`{"type":"click_updates","link":"a","count":1,"delta":1,"bots":0,"seq":1,"at":1}`,
		`{"type":"click_update","link":"a","count":1,"delta":1,"bots":0,"seq":1}`,
		`{"type":"click_update","link":"a","count":1,"delta":1,"bots":0,"seq":1,"at":1,"ts":1}`,
		`{"type":"click_update","link":"a","count":1,"delta":0,"bots":0,"seq":1,"at":1}`,
		`{"type":"click_update","link":"a b","count":1,"delta":1,"bots":0,"seq":1,"at":1}`,
		`{"type":"click_update","link":"a","count":-1,"delta":1,"bots":0,"seq":1,"at":1}`,
		`{"type":"click_update","link":"a","count":1.5,"delta":1,"bots":0,"seq":1,"at":1}`,
		`{"type":"click_update","link":"a","count":"1","delta":1,"bots":0,"seq":1,"at":1}`,
		`{"type":"click_update","link":"a","count":9223372036854775808,"delta":1,"bots":0,"seq":1,"at":1}`,
		`{"type":"subscribed","links":[],"denied":null,"syncing":[]}`,
		`{"type":"subscribed","links":[],"denied":[]}`,
		`{"type":"subscribed","links":["a"],"denied":[],"syncing":[]}`,
		`{"type":"subscribed","links":[{"link":"a","count":1,"bots":0}],"denied":[],"syncing":[]}`,
		`{"type":"subscribed","links":[{"link":"a","count":1,"bots":0,"seq":1,"epoch":1}],"denied":[],"syncing":[]}`,
		`{"type":"unsubscribed","links":["a"],"reason":"whim"}`,
		`{"type":"ready","protocol":2,"connection":"c","gateway":"g","heartbeat_ms":1,"epoch":1}`,
		`{"type":"ready","protocol":1,"connection":"","gateway":"g","heartbeat_ms":1,"epoch":1}`,
		`{"type":"ready","protocol":1,"connection":"c","gateway":"g","heartbeat_ms":1,"epoch":0}`,
		`{"type":"heartbeat","at":1,"complete_to":1,"lag_ms":-1}`,
		`{"type":"goodbye","reason":"tired","reconnect_after_ms":1}`,
		`{"type":"error","code":"oops","message":"m"}`,
		`{"type":"error","code":"bad_link","message":""}`,
	} {
		if m.CheckServer([]byte(text)) == nil {
			t.Errorf("passes: %s", text)
		}
	}
}
