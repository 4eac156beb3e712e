package keyring

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const hash = "5f0b1d3f6c0b1d3f6c0b1d3f6c0b1d3f6c0b1d3f6c0b1d3f6c0b1d3f6c0b1d3f"

func TestDecode(t *testing.T) {
	t.Parallel()
	entries, err := Decode([]byte(`{"keys": [
		{"id": "acme-1", "sha256": "` + hash + `", "grants": ["acme:*", "x7Kp2"], "clicks_per_second": 0.5, "burst": 20,
		 "not_after": "2027-01-31T01:00:00+01:00", "hmac_secret_file": "acme-1.secret"},
		{"grants": ["*"], "hmac_secret_file": "/run/secrets/b", "\u0069d": "b"}
	]}`))
	if err != nil || len(entries) != 2 {
		t.Fatalf("%+v: %v", entries, err)
	}
	want := Entry{
		ID: "acme-1", SHA256: hash, Grants: []string{"acme:*", "x7Kp2"}, ClicksPerSecond: 0.5, Burst: 20,
		NotAfter: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), HMACSecretFile: "acme-1.secret",
	}
	entries[0].NotAfter = entries[0].NotAfter.UTC()
	if !reflect.DeepEqual(entries[0], want) {
		t.Errorf("%+v\nwant %+v", entries[0], want)
	}
	if entries[1].ID != "b" || entries[1].secretPath("/etc/keys/keys.json") != "/run/secrets/b" || entries[0].secretPath("/etc/keys/keys.json") != "/etc/keys/acme-1.secret" {
		t.Errorf("%+v", entries[1])
	}
	text, err := Encode(entries)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Decode(text); err != nil || !reflect.DeepEqual(again[0], want) || again[1].ID != "b" {
		t.Errorf("%s\nis %+v: %v", text, again, err)
	}
	for _, empty := range []string{`{"keys":[]}`, " {\n\"keys\" : [ ]\t}\n"} {
		if entries, err := Decode([]byte(empty)); err != nil || len(entries) != 0 {
			t.Errorf("%s: %v", empty, err)
		}
	}
	if text, err := Encode(nil); err != nil || string(text) != "{\n  \"keys\": []\n}\n" {
		t.Errorf("%s: %v", text, err)
	}
}

// key is an entry with a member more, or another one.
func key(member string) string {
	return `{"id":"acme-1","sha256":"` + hash + `","grants":["acme:*"]` + member + `}`
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	list := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":              {``, "not JSON"},
		"no JSON":              {`keys: []`, "not JSON: at byte 1"},
		"cut":                  {`{"keys":[`, "not JSON: at byte 9"},
		"two documents":        {`{"keys":[]} {}`, "not JSON: at byte 13"},
		"a comment":            {`{"keys":[]} // none`, "not JSON"},
		"bad UTF-8":            {"{\"keys\":[{\"id\":\"\xff\"}]}", "not UTF-8"},
		"a list":               {`[]`, "must be an object"},
		"null":                 {`null`, "must be an object"},
		"no keys":              {`{}`, `there is no "keys"`},
		"other keys":           {`{"key":[]}`, `"key": there is no such member; there are keys`},
		"keys twice":           {`{"keys":[],"keys":[]}`, "keys: is there twice"},
		"keys twice otherwise": {`{"keys":[],"k\u0065ys":[]}`, "is there twice"},
		"keys of null":         {`{"keys":null}`, "keys: must be a list"},
		"keys in an object":    {`{"keys":{"a":1}}`, "keys: must be a list"},
		"too many":             {list(slices.Repeat([]string{key("")}, MaxKeys+1)...), "there are 1001 keys: at most 1000"},
		"deep":                 {`{"keys":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "not JSON"},
		"an entry of null":     {list(`null`), "keys[0]: must be an object"},
		"an entry of text":     {list(`"acme"`), "keys[0]: must be an object"},
		"no id":                {list(`{"sha256":"` + hash + `","grants":["*"]}`), "keys[0]: id: an id is"},
		"empty id":             {list(`{"id":"","sha256":"` + hash + `","grants":["*"]}`), "keys[0]: id: must be a string that is not empty"},
		"id with a line":       {list(`{"id":"acme\n1","sha256":"` + hash + `","grants":["*"]}`), "keys[0]: id: an id is"},
		"id of a number":       {list(`{"id":7,"sha256":"` + hash + `","grants":["*"]}`), "keys[0]: id: must be a string"},
		"two of an id":         {list(key(""), `{"id":"acme-1","sha256":"`+hash[1:]+`0","grants":["*"]}`), "keys[1] acme-1: id: the same as that of keys[0]"},
		"two of a hash":        {list(key(""), `{"id":"b","sha256":"`+strings.ToUpper(hash)+`","grants":["*"]}`), "keys[1] b: sha256: the same as that of keys[0]"},
		"no proof":             {list(`{"id":"acme-1","grants":["*"]}`), "keys[0] acme-1: sha256: there is neither this nor hmac_secret_file"},
		"short hash":           {list(`{"id":"a","sha256":"` + hash[2:] + `","grants":["*"]}`), "keys[0] a: sha256: must be 64 hex digits"},
		"long hash":            {list(`{"id":"a","sha256":"` + hash + `00","grants":["*"]}`), "sha256: must be 64 hex digits"},
		"odd hash":             {list(`{"id":"a","sha256":"` + hash[1:] + `","grants":["*"]}`), "sha256: must be 64 hex digits"},
		"hash of null":         {list(`{"id":"a","sha256":null,"grants":["*"]}`), "sha256: must be a string"},
		"no grants":            {list(`{"id":"a","sha256":"` + hash + `"}`), "keys[0] a: grants: there are no grants"},
		"empty grants":         {list(`{"id":"a","sha256":"` + hash + `","grants":[]}`), "grants: there are no grants"},
		"a grant for grants":   {list(`{"id":"a","sha256":"` + hash + `","grants":"*"}`), "grants: must be a list"},
		"a bad grant":          {list(`{"id":"a","sha256":"` + hash + `","grants":["a","b*c"]}`), "grants: grant 1:"},
		"a grant of null":      {list(`{"id":"a","sha256":"` + hash + `","grants":[null]}`), "grants: grant 0: must be a string"},
		"rate of 0":            {list(key(`,"clicks_per_second":0`)), "clicks_per_second: must be a number above 0"},
		"negative rate":        {list(key(`,"clicks_per_second":-1`)), "clicks_per_second: must be a number above 0"},
		"rate of text":         {list(key(`,"clicks_per_second":"5"`)), "clicks_per_second: must be a number"},
		"rate of null":         {list(key(`,"clicks_per_second":null`)), "clicks_per_second: must be a number"},
		"huge rate":            {list(key(`,"clicks_per_second":1e7`)), "clicks_per_second: must be 0.001 to 1000000"},
		"infinite rate":        {list(key(`,"clicks_per_second":1e999`)), "clicks_per_second: must be a number"},
		"tiny rate":            {list(key(`,"clicks_per_second":1e-9`)), "clicks_per_second: must be 0.001 to 1000000"},
		"burst alone":          {list(key(`,"burst":5`)), "burst: needs clicks_per_second"},
		"burst of 0":           {list(key(`,"clicks_per_second":1,"burst":0`)), "burst: must be a whole number above 0"},
		"half a burst":         {list(key(`,"clicks_per_second":1,"burst":1.5`)), "burst: must be a whole number"},
		"huge burst":           {list(key(`,"clicks_per_second":1,"burst":1000001`)), "burst: must be 1 to 1000000"},
		"no time":              {list(key(`,"not_after":"tomorrow"`)), "not_after: must be a time"},
		"time of a number":     {list(key(`,"not_after":1769860804`)), "not_after: must be a time"},
		"time without a zone":  {list(key(`,"not_after":"2027-01-31T00:00:00"`)), "not_after: must be a time"},
		"time of zero":         {list(key(`,"not_after":"0001-01-01T00:00:00Z"`)), "not_after: must be a time"},
		"empty path":           {list(key(`,"hmac_secret_file":""`)), "hmac_secret_file: must be a string that is not empty"},
		"long path":            {list(key(`,"hmac_secret_file":"` + strings.Repeat("p", 5000) + `"`)), "hmac_secret_file: no path is that long"},
		"misspelt":             {list(key(`,"clicksPerSecond":1`)), `keys[0] acme-1: "clicksPerSecond": there is no such member; there are id, sha256,`},
		"another case":         {list(key(`,"ID":"b"`)), `"ID": there is no such member`},
		"a name of 2 lines":    {list(key(`,"a\nb\u001b[31m":1`)), "a member whose name is none: there is no such member"},
		"twice":                {list(key(`,"id":"acme-2"`)), "keys[0] acme-1: id: is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries, err := Decode([]byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) || entries != nil {
				t.Fatalf("%+v, %v; want %q", entries, err, tc.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b\ufffd") {
				t.Fatalf("it repeats what nobody may print: %q", err)
			}
		})
	}
	if _, err := Decode(make([]byte, MaxFile+1)); err == nil || !strings.Contains(err.Error(), "at most 1048576") {
		t.Errorf("too large: %v", err)
	}
}

// Everything that is wrong is told at once, each on a line that says where.
func TestDecodeTellsEverything(t *testing.T) {
	t.Parallel()
	_, err := Decode([]byte(`{"keys":[
		{"id":"a","sha256":"5","grants":["*x","ok"],"burst":3},
		{"id":"b","sha256":"` + hash + `","grants":["**"],"rate":5,"not_after":""},
		{"id":"b","grants":[1,2],"clicks_per_second":"x","hmac_secret_file":7}
	]}`))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 10 {
		t.Errorf("%d lines, want 10:\n%v", len(lines), err)
	}
	for _, want := range []string{
		"keys[0] a: sha256:", "keys[0] a: grants: grant 0", "keys[0] a: burst:", `keys[1] b: "rate":`, "keys[1] b: not_after:",
		"keys[2] b: grants:", "keys[2] b: clicks_per_second:", "keys[2] b: hmac_secret_file:", "keys[1] b: grants: grant 0:", "keys[2] b: id: the same as that of keys[1]",
	} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
			t.Errorf("%q is not told in\n%v", want, err)
		}
	}
}

// Secrets that got into the wrong place are not repeated.
func TestDecodeKeepsSecrets(t *testing.T) {
	t.Parallel()
	const secret = "QX7SECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRET7"
	k := "lpk_acme-1_" + secret
	for _, member := range []string{
		`"id":"` + k + `"`, `"sha256":"` + k + `"`, `"sha256":"` + secret + `"`, `"grants":["` + k + `","` + secret + `!"]`, `"not_after":"` + k + `"`,
		`"clicks_per_second":"` + k + `"`, `"burst":"` + k + `"`, `"` + k + `":1`, `"` + secret + `":1`, `"hmac_secret_file":["` + secret + `"]`,
	} {
		text := fmt.Sprintf(`{"keys":[{%s}]}`, member)
		for _, text := range []string{text, text[:len(text)-3], `{"` + secret + `":1}`, secret} {
			_, err := Decode([]byte(text))
			if err == nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

// Whatever a file is, it is read without a panic; what is read is in order, can be written, and reads the same again.
func FuzzDecode(f *testing.F) {
	f.Add(`{"keys":[]}`)
	f.Add(`{"keys":[` + key(`,"clicks_per_second":2.5,"burst":7,"not_after":"2027-01-31T00:00:00Z","hmac_secret_file":"a"`) + `]}`)
	f.Add(`{"keys":[` + key("") + "," + strings.Replace(key(""), "acme-1", "b", 1) + `]}`)
	f.Add(`{"keys":[{"id":null,"grants":[[]],"burst":{}}]}`)
	f.Add(`{ "keys" : [ { "id" : "a" , "grants" : [ "*" ] , "hmac_secret_file" : "x" } ] } `)
	f.Fuzz(func(t *testing.T, text string) {
		entries, keys, err := decode([]byte(text))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x1b\r\x00") {
				t.Fatalf("%q", err)
			}
			return
		}
		again, err := Encode(entries)
		if err != nil {
			t.Fatal(err)
		}
		same, err := Decode(again)
		if len(again) > MaxFile { // what is written may be longer than what was read
			return
		}
		if err != nil || len(same) != len(entries) || len(keys) != len(entries) {
			t.Fatalf("%s\n%v", again, err)
		}
		for i, e := range entries {
			if !same[i].NotAfter.Equal(e.NotAfter) {
				t.Fatalf("%v and %v", same[i].NotAfter, e.NotAfter)
			}
			same[i].NotAfter = e.NotAfter
			if !reflect.DeepEqual(same[i], e) || e.Check() != nil {
				t.Fatalf("%+v and %+v: %v", e, same[i], e.Check())
			}
			if k := keys[i]; k.ID() != e.ID || !k.hashed && e.HMACSecretFile == "" || len(k.Grants().Patterns()) == 0 {
				t.Fatalf("%+v of %+v", k, e)
			}
		}
	})
}
