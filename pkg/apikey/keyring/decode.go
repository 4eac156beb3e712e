package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The members of an entry.
const (
	memberID      = "id"
	memberSHA256  = "sha256"
	memberGrants  = "grants"
	memberRate    = "clicks_per_second"
	memberBurst   = "burst"
	memberEnds    = "not_after"
	memberSecrets = "hmac_secret_file"
)

// Decode reads a file of keys. The error tells everything that is wrong with it, each with the place and the id of its key.
// It repeats neither values nor names that are none: they may be secrets that got into the wrong place.
func Decode(text []byte) ([]Entry, error) {
	entries, _, err := decode(text)
	return entries, err
}

// decode returns what a ring has of each entry too.
func decode(text []byte) (entries []Entry, keys []*Key, err error) {
	list, err := decodeList(text)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	ids, hashes := map[string]int{}, map[string]int{}
	for i, value := range list {
		m := &mistakes{}
		e := decodeEntry(value, m)
		k := e.check(m)
		m.add(memberID, unique(ids, e.ID, i))
		m.add(memberSHA256, unique(hashes, strings.ToLower(e.SHA256), i))
		errs = append(errs, label(i, e.ID, m.errs))
		entries, keys = append(entries, e), append(keys, k)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return entries, keys, nil
}

// unique tells where a value came before, unless it is empty.
func unique(seen map[string]int, value string, i int) error {
	if before, twice := seen[value]; twice && value != "" {
		return fmt.Errorf("the same as that of keys[%d]", before)
	}
	seen[value] = i
	return nil
}

// label says which entry errors are about: by its id too, where it has one.
func label(i int, id string, wrong []error) error {
	where := fmt.Sprintf("keys[%d]", i)
	if (&Entry{ID: id}).validID() {
		where += " " + id
	}
	var errs []error
	for _, err := range wrong {
		errs = append(errs, fmt.Errorf("%s: %w", where, err))
	}
	return errors.Join(errs...)
}

// decodeList takes the list of keys out of the file.
func decodeList(text []byte) ([]json.RawMessage, error) {
	switch {
	case len(text) > MaxFile:
		return nil, fmt.Errorf("it has %d bytes: at most %d", len(text), MaxFile)
	case !utf8.Valid(text):
		return nil, errors.New("it is not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("it is not JSON: at byte %d: %w", syntax.Offset, err)
		}
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	members, wrong := object(whole, "keys")
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	value, ok := members["keys"]
	if !ok {
		return nil, errors.New(`there is no "keys": an empty list of them lets nobody send clicks`)
	}
	list, err := array(value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("keys: %w", err)
	case len(list) > MaxKeys:
		return nil, fmt.Errorf("there are %d keys: at most %d", len(list), MaxKeys)
	}
	return list, nil
}

// decodeEntry takes an entry apart. What it says is wrong is about the JSON alone.
func decodeEntry(value json.RawMessage, m *mistakes) (e Entry) {
	members, wrong := object(value, memberID, memberSHA256, memberGrants, memberRate, memberBurst, memberEnds, memberSecrets)
	m.errs = append(m.errs, wrong...)
	take := func(name string, read func(json.RawMessage) error) {
		if value, ok := members[name]; ok {
			m.add(name, read(value))
		}
	}
	take(memberID, text(&e.ID))
	take(memberSHA256, text(&e.SHA256))
	take(memberSecrets, text(&e.HMACSecretFile))
	take(memberGrants, func(value json.RawMessage) error {
		list, err := array(value)
		e.Grants = make([]string, len(list))
		for i := range list {
			if wrong := text(&e.Grants[i])(list[i]); wrong != nil {
				err = fmt.Errorf("grant %d: %w", i, wrong)
			}
		}
		return err
	})
	take(memberRate, func(value json.RawMessage) error {
		if json.Unmarshal(value, &e.ClicksPerSecond) != nil || e.ClicksPerSecond <= 0 {
			e.ClicksPerSecond = 0
			return errors.New("must be a number above 0; leave it out where there is no limit")
		}
		return nil
	})
	take(memberBurst, func(value json.RawMessage) error {
		if json.Unmarshal(value, &e.Burst) != nil || e.Burst <= 0 {
			return errors.New("must be a whole number above 0")
		}
		return nil
	})
	take(memberEnds, func(value json.RawMessage) (err error) {
		var s string
		if text(&s)(value) == nil {
			e.NotAfter, err = time.Parse(time.RFC3339, s)
		}
		if err != nil || e.NotAfter.IsZero() {
			return errors.New("must be a time as of RFC 3339, like 2027-01-31T00:00:00Z")
		}
		return nil
	})
	return e
}

// text reads a string that is not empty.
func text(into *string) func(json.RawMessage) error {
	return func(value json.RawMessage) error {
		if value[0] != '"' || json.Unmarshal(value, into) != nil || *into == "" {
			return errors.New("must be a string that is not empty")
		}
		return nil
	}
}

func array(value json.RawMessage) (list []json.RawMessage, err error) {
	if value[0] != '[' || json.Unmarshal(value, &list) != nil {
		return nil, errors.New("must be a list")
	}
	return list, nil
}

// object reads the members of an object: those that are known, each once.
func object(value json.RawMessage, known ...string) (members map[string]json.RawMessage, wrong []error) {
	if value[0] != '{' {
		return nil, []error{errors.New("must be an object")}
	}
	members = map[string]json.RawMessage{}
	dec := json.NewDecoder(bytes.NewReader(value))
	_, err := dec.Token()
	for err == nil && dec.More() {
		var token json.Token
		if token, err = dec.Token(); err != nil {
			break
		}
		name, _ := token.(string) // of a member: it is one
		var raw json.RawMessage
		err = dec.Decode(&raw)
		_, twice := members[name]
		switch {
		case !slices.Contains(known, name):
			wrong = append(wrong, fmt.Errorf("%s: there is no such member; there are %s", shown(name), strings.Join(known, ", ")))
		case twice:
			wrong = append(wrong, fmt.Errorf("%s: is there twice", name))
		default:
			members[name] = raw
		}
	}
	if err != nil { // the whole was read before
		wrong = append(wrong, err)
	}
	return members, wrong
}

// shown is the name of a member where it is one that somebody could have meant, and too short to be a secret.
func shown(name string) string {
	const longest = 24
	for i := range len(name) {
		if c := name[i]; (c < 'a' || 'z' < c) && (c < 'A' || 'Z' < c) && c != '_' && c != '-' {
			return "a member whose name is none"
		}
	}
	if name == "" || len(name) > longest {
		return "a member whose name is none"
	}
	return `"` + name + `"`
}
