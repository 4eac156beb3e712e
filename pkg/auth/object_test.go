package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"
)

// Walking over brackets and quotes finds the members that the decoder of encoding/json finds, one by one.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, ` { "a" : [1,{"b":"]}"}] , "c\"" : "x\\" } `, `{"a":{"a":{}},"b":[[]],"c":-1e5,"d":null,"e":true}`,
		`{"\u0061":1,"a":2}`, `[]`, `{"a"}`, `{"a":1}x`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"":""}`, `"x"`, ``, `{"a":1,}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]string{}
		var order []string
		_, err := members(data, func(name, value []byte) *RefusedError {
			order = append(order, string(name))
			got[string(name)] = string(value)
			return nil
		})
		want, wantOrder, wantErr := naiveMembers(data)
		if (err == nil) != (wantErr == nil) && !errors.Is(err, errNotUTF8) && !errors.Is(err, errMembers) {
			t.Fatalf("%q: %v, the decoder says %v", data, err, wantErr)
		}
		if err == nil && (!slices.Equal(order, wantOrder) || !maps.Equal(got, want)) {
			t.Fatalf("%q: %q, the decoder says %q", data, got, want)
		}
		for _, value := range got {
			_, ok := text([]byte(value))
			var s *string
			if isText := json.Unmarshal([]byte(value), &s) == nil && s != nil; ok != isText {
				t.Fatalf("%q is a string: %v", value, ok)
			}
			all, ok := texts([]byte(value))
			var list []*string
			isTexts := json.Unmarshal([]byte(value), &list) == nil && list != nil && !slices.Contains(list, nil)
			if ok != isTexts || ok && len(all) != len(list) {
				t.Fatalf("%q is a list of strings: %v", value, ok)
			}
			for i := range all {
				if all[i] != *list[i] {
					t.Fatalf("%q: %q", value, all)
				}
			}
		}
	})
}

// naiveMembers asks the decoder.
func naiveMembers(data []byte) (all map[string]string, order []string, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if begin, err := dec.Token(); err != nil || begin != json.Delim('{') {
		return nil, nil, errNoObject
	}
	all = map[string]string{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		name, ok := token.(string)
		if _, twice := all[name]; !ok || twice {
			return nil, nil, errDuplicate
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, nil, err
		}
		all[name], order = string(value), append(order, name)
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errNotJSON
	}
	return all, order, nil
}
