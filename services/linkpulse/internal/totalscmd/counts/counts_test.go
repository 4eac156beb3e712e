package counts

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "counts")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFormats(t *testing.T) {
	t.Parallel()
	want := map[string]totals.Clicks{"a": {Count: 3, Bots: 1}, "acme:b": {Count: 40}, "link": {}}
	for name, content := range map[string]string{
		"NDJSON":        `{"link":"a","count":3,"bots":1}` + "\n\n" + ` {"count":40,"link":"acme:b"} ` + "\n" + `{"link":"link","count":0}`,
		"CSV":           "a,3,1\nacme:b,40\nlink,0\n",
		"with a head":   "\ufeffLink,Count,Bots\r\na,3,1\r\nacme:b,40,\r\nlink,0,0\r\n",
		"short heading": "link,count\na,3,1\n\"acme:b\", 40\nlink,0\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := Open(file(t, content))
			if err != nil || f.Links != 3 || f.Clicks != 43 {
				t.Fatalf("%+v, %v", f, err)
			}
			got := map[string]totals.Clicks{}
			for p := range int32(4) {
				part, err := f.Partition(p, 4)
				if err != nil {
					t.Fatal(err)
				}
				maps.Copy(got, part)
			}
			if !maps.Equal(got, want) {
				t.Fatalf("counts %v, want %v", got, want)
			}
		})
	}
}

func TestProblemsAreToldWithTheirLines(t *testing.T) {
	t.Parallel()
	for content, want := range map[string][]string{
		"a,3\nb,x\nc d,1\n":                   {`line 2: link b: "x" is no number`, `line 3: "c d"`},
		"a,3,4\n":                             {"line 1: link a: 3 clicks, 4 of them bots"},
		"a,-3\n":                              {"line 1: link a: -3 clicks"},
		"a,1,x\n":                             {`line 1: link a: "x" is no number`},
		"a,4503599627370497\n":                {"line 1: link a: 4503599627370497 clicks"},
		"a\n":                                 {"line 1: 1 columns"},
		"a,1,0,x\n":                           {"line 1: 4 columns"},
		"a,1\n\"b,2\n":                        {"line 2"},
		`{"link":"a","clicks":3}` + "\n":      {"line 1", "clicks"},
		`{"link":"a","count":3} {}` + "\n":    {"line 1: something follows"},
		`{"link":"a","count":3.5}` + "\n":     {"line 1", "3.5"},
		`{"link":"a","count":3}` + "\nb,1\n":  {"line 2"},
		`{"link":"a"}` + "\n":                 {`line 1: link "a": there is no count`},
		strings.Repeat("x\n", 50):             {"line 10", "perhaps more"},
		`{"count":3}` + "\n" + `{"link":"a"}`: {"line 1"},
	} {
		_, err := Open(file(t, content))
		if err == nil {
			t.Errorf("%q is taken", content)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %q does not say %q", content, err, part)
			}
		}
		if strings.Contains(err.Error(), "line 11") {
			t.Errorf("%q: %q goes on for too long", content, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was opened")
	}
}

func TestALinkTwiceAndAFileThatChanges(t *testing.T) {
	t.Parallel()
	f, err := Open(file(t, "a,1\nb,1\na,2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Partition(0, 1); err == nil || !strings.Contains(err.Error(), `line 3: link "a" comes twice`) {
		t.Errorf("a link twice: %v", err)
	}
	path := file(t, "a,1\n")
	if f, err = Open(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("a,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Partition(0, 1); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("a file that changes: %v", err)
	}
}
