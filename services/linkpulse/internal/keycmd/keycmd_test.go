package keycmd

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
)

var now = time.Date(2026, 11, 28, 5, 46, 14, 5e8, time.UTC)

// run runs a command line as the program does.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var c Cmd
	parser, err := kong.New(&c, kong.Name("key"), kong.Exit(func(int) { t.Error("it exits") }))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return "", "", err
	}
	name, _, _ := strings.Cut(parsed.Command(), " ")
	cmd, err := c.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	var out, log strings.Builder
	err = cmd.Run(t.Context(), Env{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &log, Now: func() time.Time { return now }})
	return out.String(), log.String(), err
}

func must(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := run(t, "", args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return stdout, stderr
}

func entries(t *testing.T, path string) []keyring.Entry {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	list, err := keyring.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// The life of keys: made, checked, replaced, by the commands alone.
func TestKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, keyFile := filepath.Join(dir, "keys.json"), filepath.Join(dir, "acme-1.key")
	out, log := must(t, "new", "acme-1", "--grant=acme:*", "--grant=x7Kp2", "--clicks-per-second=200", "--valid-for=8760h", "--keys-file="+file)
	key, err := apikey.Parse(strings.TrimSuffix(out, "\n"))
	if err != nil || key.ID() != "acme-1" {
		t.Fatalf("printed %q: %v", out, err)
	}
	if want := file + ": acme-1 may send clicks of acme:*, x7Kp2, 200 a second and 1000 at once, until 2027-11-28T05:46:14Z\n"; log != want {
		t.Errorf("said %q\nwant %q", log, want)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v: %v", info.Mode(), err)
	}
	if e := entries(t, file); len(e) != 1 || e[0].SHA256 != keyring.Hashed(key) || e[0].ClicksPerSecond != 200 || e[0].Burst != 0 || len(e[0].Grants) != 2 {
		t.Errorf("%+v", e)
	}
	if text, _ := os.ReadFile(file); strings.Contains(string(text), key.Reveal()[12:]) {
		t.Error("the file has the secret")
	}
	if err := errors.Join(os.WriteFile(keyFile, []byte(out), 0o600), os.Chmod(file, 0o640)); err != nil {
		t.Fatal(err)
	}

	out, _ = must(t, "check", "--keys-file="+file, "--key-file="+keyFile, "--link=acme:a,x7Kp2")
	if want := "acme-1: may send clicks of acme:*, x7Kp2, 200 a second and 1000 at once, until 2027-11-28T05:46:14Z\nacme:a: yes\nx7Kp2: yes\n"; out != want {
		t.Errorf("check says %q\nwant %q", out, want)
	}
	out, _, err = run(t, "", "check", "--keys-file="+file, "--key-file="+keyFile, "--link=acme:a", "--link=acme2:a")
	if !errors.Is(err, ErrNotGood) || !strings.HasSuffix(out, "acme:a: yes\nacme2:a: no, acme-1 does not cover it\n") {
		t.Errorf("check says %q, %v", out, err)
	}

	if _, _, err := run(t, "", "new", "acme-1", "--grant=*", "--keys-file="+file); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("an id is given twice: %v", err)
	}
	must(t, "new", "bird", "--grant=bird:*", "--keys-file="+file)
	must(t, "new", "acme-1", "--grant=acme:*", "--replace", "--keys-file="+file)
	if e := entries(t, file); len(e) != 2 || e[0].ID != "acme-1" || e[0].SHA256 == keyring.Hashed(key) || e[1].ID != "bird" {
		t.Errorf("%+v", e)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file has the mode %v: %v", info.Mode(), err)
	}
	_, _, err = run(t, "", "check", "--keys-file="+file, "--key-file="+keyFile)
	if err == nil || !strings.Contains(err.Error(), "acme-1: there is no such key, or its secret is another one") {
		t.Errorf("the old key: %v", err)
	}
	out, _ = must(t, "check", "--keys-file="+file)
	if out != "acme-1: may send clicks of acme:*\nbird: may send clicks of bird:*\n" {
		t.Errorf("check says %q", out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("there are %v: %v", left, err)
	}
}

func TestSigningKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, secretFile := filepath.Join(dir, "keys.json"), filepath.Join(dir, "sub", "acme.secret")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, log := must(t, "new", "acme", "--grant=*", "--sign="+secretFile, "--keys-file="+file)
	if out != "" || !strings.Contains(log, "acme may send clicks of *, in signed requests\n") {
		t.Errorf("printed %q, %q", out, log)
	}
	text, err := os.ReadFile(secretFile)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(secretFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret has the mode %v: %v", info.Mode(), err)
	}
	if _, err := apikey.ParseSecret(strings.TrimSuffix(string(text), "\n")); err != nil || !strings.HasPrefix(string(text), "lps_") {
		t.Errorf("the secret is %q: %v", text, err)
	}
	if e := entries(t, file); e[0].SHA256 != "" || e[0].HMACSecretFile != filepath.Join("sub", "acme.secret") {
		t.Errorf("%+v", e)
	}
	if _, err := keyring.Load(file, nil); err != nil {
		t.Error(err)
	}
	// A secret in use is not written over, and one of a key that was not made is not left behind.
	if _, _, err := run(t, "", "new", "acme", "--replace", "--grant=*", "--sign="+secretFile, "--keys-file="+file); err == nil || !strings.Contains(err.Error(), "take another name") {
		t.Errorf("%v", err)
	}
	if again, err := os.ReadFile(secretFile); err != nil || string(again) != string(text) {
		t.Errorf("the secret is %q: %v", again, err)
	}
	other := filepath.Join(dir, "other.secret")
	if _, _, err := run(t, "", "new", "acme", "--grant=*", "--sign="+other, "--keys-file="+file); err == nil {
		t.Error("an id is given twice")
	}
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a secret is left behind: %v", err)
	}
	elsewhere := filepath.Join(t.TempDir(), "bird.secret")
	must(t, "new", "bird", "--grant=*", "--sign="+elsewhere, "--keys-file="+file)
	if e := entries(t, file); e[1].HMACSecretFile != elsewhere {
		t.Errorf("%+v", e[1])
	}
}

func TestWithoutAFile(t *testing.T) {
	t.Parallel()
	out, log := must(t, "new", "acme-1", "--grant=acme:*")
	key, err := apikey.Parse(strings.TrimSuffix(out, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(log, "\n")
	var e keyring.Entry
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.ID != "acme-1" || e.SHA256 != keyring.Hashed(key) || strings.Contains(log, key.Reveal()[12:]) {
		t.Errorf("%q is %+v: %v", log, e, err)
	}
	out, log = must(t, "new", "acme-1", "--grant=acme:*", "--json")
	var r result
	if err := json.Unmarshal([]byte(out), &r); err != nil || log != "" {
		t.Fatalf("%q, %q: %v", out, log, err)
	}
	if key, err = apikey.Parse(r.Key); err != nil || r.Entry.SHA256 != keyring.Hashed(key) {
		t.Errorf("%+v: %v", r.Entry, err)
	}
	for name, hash := range map[string]func() (string, string, error){
		"of standard input": func() (string, string, error) { return run(t, r.Key+"\n", "hash") },
		"of an argument":    func() (string, string, error) { return run(t, "", "hash", "--key="+r.Key) },
	} {
		if out, _, err := hash(); err != nil || out != r.Entry.SHA256+"\n" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	secretFile := filepath.Join(t.TempDir(), "acme.secret")
	out, _ = must(t, "new", "acme-2", "--grant=*", "--json", "--sign="+secretFile)
	var signing result
	if err := json.Unmarshal([]byte(out), &signing); err != nil || signing.Key != "" || signing.Entry.HMACSecretFile != "acme.secret" || signing.Entry.SHA256 != "" {
		t.Errorf("%q: %v", out, err)
	}
}

// Nothing is made where something is wrong, and no secret is told.
func TestMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken, locked := filepath.Join(dir, "broken.json"), filepath.Join(dir, "locked.json")
	good := filepath.Join(dir, "good.json")
	must(t, "new", "acme", "--grant=acme:*", "--keys-file="+good)
	err := errors.Join(os.WriteFile(broken, []byte(`{"keys":[{"id":"a","grants":["**"]}]}`), 0o600), os.WriteFile(locked+".new", nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := apikey.New("stranger")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		stdin string
		args  []string
		want  []string
	}{
		"everything at once": {"", []string{"new", "-", "--grant=**", "--burst=5", "--sign=x"}, []string{"id: an id is", "grants: grant 0", "burst: needs"}},
		"no grants":          {"", []string{"new", "a"}, []string{"grants: there are no grants"}},
		"no id":              {"", []string{"new", "A", "--grant=*"}, []string{"an id is"}},
		"the past":           {"", []string{"new", "a", "--grant=*", "--valid-for=-1h"}, []string{"--valid-for"}},
		"nothing to replace": {"", []string{"new", "a", "--grant=*", "--replace", "--keys-file=" + good}, []string{"no key a to replace"}},
		"a broken file":      {"", []string{"new", "b", "--grant=*", "--keys-file=" + broken}, []string{broken, "keys[0] a: grants", "keys[0] a: sha256"}},
		"somebody else":      {"", []string{"new", "b", "--grant=*", "--keys-file=" + locked}, []string{"somebody else is changing", locked + ".new"}},
		"a directory":        {"", []string{"new", "b", "--grant=*", "--keys-file=" + dir}, []string{"no file of keys"}},
		"no directory":       {"", []string{"new", "b", "--grant=*", "--keys-file=" + dir + "/none/keys.json"}, []string{"no such file"}},
		"hash of nothing":    {"", []string{"hash"}, []string{"a key is lpk_"}},
		"hash of no key":     {stranger.Reveal()[:40], []string{"hash"}, []string{"a key is lpk_"}},
		"hash of much":       {strings.Repeat("x", 5000), []string{"hash"}, []string{"more than 1024"}},
		"hash of no file":    {"", []string{"hash", "--key-file=/nowhere"}, []string{"--key-file"}},
		"check of nothing":   {"", []string{"check"}, []string{"--keys-file"}},
		"check of a broken":  {"", []string{"check", "--keys-file=" + broken}, []string{"keys[0] a: grants", "keys[0] a: sha256"}},
		"check of no file":   {"", []string{"check", "--keys-file=/nowhere"}, []string{"/nowhere", "no such file"}},
		"no such key":        {"", []string{"check", "--keys-file=" + good, "--key=" + stranger.Reveal()}, []string{"stranger: there is no such key"}},
		"no key":             {"", []string{"check", "--keys-file=" + good, "--key=" + stranger.Reveal()[:40]}, []string{"--key: a key is"}},
		"a link of no key":   {"", []string{"check", "--keys-file=" + good, "--link=a"}, []string{"--link is about a key"}},
		"no link":            {"", []string{"check", "--keys-file=" + good, "--key=" + stranger.Reveal(), "--link=a b"}, []string{`--link "a b"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, log, err := run(t, tc.stdin, tc.args...)
			if err == nil || out != "" {
				t.Fatalf("printed %q, %q: %v", out, log, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
			if strings.Contains(err.Error()+log, stranger.Reveal()[15:35]) {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

func TestCheckTellsTheTime(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	out, _ := must(t, "new", "a", "--grant=*", "--valid-for=1s", "--keys-file="+file)
	text, err := keyring.Encode(func() []keyring.Entry {
		e := entries(t, file)
		e[0].NotAfter, e[0].HMACSecretFile = now.Add(-time.Hour), "" // it has passed
		return e
	}())
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if list, _ := must(t, "check", "--keys-file="+file); list != "a: may send clicks of *, but has expired: 2026-11-28T04:46:14Z\n" {
		t.Errorf("check says %q", list)
	}
	if _, _, err := run(t, "", "check", "--keys-file="+file, "--key="+strings.TrimSpace(out)); err == nil || !strings.Contains(err.Error(), "a: the key has expired") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(file, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, _ := must(t, "check", "--keys-file="+file); !strings.Contains(list, "nobody may send clicks") {
		t.Errorf("check says %q", list)
	}
}

// A link to the file stays a link.
func TestEditBehindALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.json"), filepath.Join(dir, "keys.json")
	must(t, "new", "a", "--grant=*", "--keys-file="+file)
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	must(t, "new", "b", "--grant=*", "--keys-file="+link)
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&os.ModeSymlink == 0 || len(entries(t, file)) != 2 {
		t.Errorf("%v: %v", info.Mode(), err)
	}
}
