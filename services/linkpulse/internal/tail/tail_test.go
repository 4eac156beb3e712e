package tail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/click"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTailReadsARealLogOnce(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("accesslog/testdata/access.log")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	if err := os.WriteFile(w.log, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, log, err := w.run(Cmd{StripPrefix: "/projects"})
	if err != nil || !strings.Contains(out, "100 lines · 31 clicks") || !strings.Contains(out, "status 48, prefix 21") {
		t.Fatalf("printed %q, %q: %v", out, log, err)
	}
	first := w.ingest.clicks
	ids := map[string]bool{}
	for _, c := range first {
		id, err := click.ParseID(c.ID)
		if err != nil || id[6]>>4 != 8 || id[8]>>6 != 2 {
			t.Fatalf("id %s is no UUIDv8: %v", c.ID, err)
		}
		ids[c.ID] = true
	}
	if len(first) != 31 || len(ids) != 31 || first[0].At.Year() != 2015 || first[0].UserAgent == "" {
		t.Fatalf("%d clicks with %d ids; the first is %+v", len(first), len(ids), first[0])
	}
	// Again: the position says that all is done.
	if _, _, err := w.run(Cmd{StripPrefix: "/projects"}); err != nil || len(w.ingest.clicks) != 31 {
		t.Fatalf("%d clicks after the second run: %v", len(w.ingest.clicks), err)
	}
	// And without the position the ids are the same, from the file as from a copy of it.
	if err := os.Rename(w.log, w.log+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.log, content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.run(Cmd{StripPrefix: "/projects", PositionFile: filepath.Join(t.TempDir(), "position"), JSON: true})
	if again := w.ingest.clicks[31:]; err != nil || !slices.EqualFunc(first, again, func(a, b sent) bool { return a.ID == b.ID }) {
		t.Fatalf("the ids are others: %v", err)
	}
	// A log of another name is another log.
	_, _, err = w.run(Cmd{StripPrefix: "/projects", PositionFile: filepath.Join(t.TempDir(), "position"), Name: "web2"})
	if other := w.ingest.clicks[62:]; err != nil || len(other) != 31 || ids[other[0].ID] {
		t.Fatalf("the ids of another log are the same: %v", err)
	}
}

func TestTailTellsWhatBecameOfEveryLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("x", 2*chunkSize)
	lines := line("a") + "noise\n" + long + "\n" + line("b%20c") + line("../x") +
		strings.Replace(line("p"), "GET", "POST", 1) + strings.Replace(line("h"), "GET", "HEAD", 1) +
		strings.Replace(line("s"), " 302 ", " 200 ", 1) + strings.TrimSuffix(line("unfinished"), "\n")
	if err := os.WriteFile(w.log, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	out, log, err := w.run(Cmd{JSON: true})
	var s summary
	if err := errors.Join(err, json.Unmarshal([]byte(out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:]), &s)); err != nil {
		t.Fatalf("printed %q: %v", out, err)
	}
	got := fmt.Sprintf("%d %d %v", s.Lines, s.Clicks, s.Skipped)
	if got != "8 3 map[format:1 link:1 method:1 prefix:0 status:1 too_long:1]" || !s.Done || s.Behind == 0 {
		t.Fatalf("summary %s, %+v", got, s)
	}
	if !strings.Contains(log, "at byte "+strconv.Itoa(len(line("a")))+" is no click (format)") || strings.Contains(log, "1.2.3.4") {
		t.Fatalf("told %q", log)
	}
	if w.ingest.clicks[2].Bot == nil || !*w.ingest.clicks[2].Bot || w.ingest.clicks[0].Bot != nil {
		t.Fatalf("clicks %+v", w.ingest.clicks)
	}
	// The line is finished later.
	f, err := os.OpenFile(w.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.run(Cmd{}); err != nil || w.ingest.links()[3] != "unfinished" {
		t.Fatalf("links %v: %v", w.ingest.links(), err)
	}
}

func TestFollowThroughRename(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.follow() // the log does not exist yet
		settle()
		w.append("", "a", "b")
		w.expect("a", "b")
		w.rename("access.log", "access.log.1")
		w.append("access.log.1", "c") // the server still has it open
		w.expect("a", "b", "c")
		w.append("", "d")
		w.append("access.log.1", "e") // and a slow worker longer
		w.expect("a", "b", "c", "e", "d")
		time.Sleep(linger - 5*time.Second)
		w.append("access.log.1", "f")
		w.expect("a", "b", "c", "e", "d", "f")
		w.rename("access.log.1", "access.log.2")
		w.rename("access.log", "access.log.1")
		w.append("", "g")
		w.append("access.log.1", "h")
		w.append("access.log.2", "i")
		settle()
		if got := w.ingest.links(); len(got) != 9 {
			t.Fatalf("ingest has %v", got)
		}
		if told := stop(); strings.Contains(told, "lost") || strings.Contains(told, "gone") {
			t.Fatalf("told %q", told)
		}
	})
}

// The first lines of both generations are alike but for their time, and the new one grows beyond the old one before the
// follower looks: by size and inode alone nothing would have happened.
func TestFollowThroughCopyTruncate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append("", "a", "b")
		stop := w.follow()
		w.expect("a", "b")
		w.append("", "unread") // between two looks, and then it is rotated
		w.copyTruncate("access.log.1")
		w.append("", "new-1", "new-2", "new-3", "new-4")
		settle()
		got := w.ingest.links()
		slices.Sort(got)
		if want := []string{"a", "b", "new-1", "new-2", "new-3", "new-4", "unread"}; !slices.Equal(got, want) {
			t.Fatalf("ingest has %v, want %v", got, want)
		}
		// A truncation without a copy is a gap, and is told.
		w.append("", "gone")
		if err := os.Truncate(w.log, 0); err != nil {
			t.Fatal(err)
		}
		w.append("", "after")
		settle()
		if told := stop(); !strings.Contains(told, "there is no copy of it") || !strings.Contains(told, "1 gaps") {
			t.Fatalf("told %q", told)
		}
		if got := w.ingest.links(); got[len(got)-1] != "after" {
			t.Fatalf("ingest has %v", got)
		}
	})
}

func TestFollowThroughRemovalAndReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append("", "a")
		w.follow()
		w.expect("a")
		w.append("", "b")
		if err := os.Remove(w.log); err != nil { // the last line was not read yet; the file is still open
			t.Fatal(err)
		}
		w.append("", "c")
		w.expect("a", "b", "c")
		// Moved away and back: nothing of it is read twice.
		w.rename("access.log", "elsewhere")
		settle()
		w.append("", "d")
		settle()
		w.rename("elsewhere", "access.log")
		w.append("", "e")
		w.expect("a", "b", "c", "d", "e")
	})
}

func TestResumeAfterRotationsThatNobodySaw(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.append("", "a", "b")
	if _, _, err := w.run(Cmd{}); err != nil {
		t.Fatal(err)
	}
	w.append("", "c")
	w.rename("access.log", "access.log.2")
	w.append("access.log.1", "d", "e")
	w.append("access.log.bak", "not-ours")
	w.append("access.log.1.gz", "compressed")
	w.append("", "f")
	if _, _, err := w.run(Cmd{}); err != nil {
		t.Fatal(err)
	}
	if got, want := w.ingest.links(), []string{"a", "b", "c", "d", "e", "f"}; !slices.Equal(got, want) {
		t.Fatalf("ingest has %v, want %v", got, want)
	}
	if _, _, err := w.run(Cmd{}); err != nil || len(w.ingest.clicks) != 6 {
		t.Fatalf("ingest has %v: %v", w.ingest.links(), err)
	}
	// What was read to its end may be gone.
	if err := os.Remove(w.log + ".2"); err != nil {
		t.Fatal(err)
	}
	if _, log, err := w.run(Cmd{}); err != nil || log != "" {
		t.Fatalf("told %q: %v", log, err)
	}
	// What was not is a gap: it is told, and the exit code says it.
	w.append("", "unread")
	if err := os.Remove(w.log); err != nil {
		t.Fatal(err)
	}
	w.append("", "g")
	_, log, err := w.run(Cmd{})
	if !errors.Is(err, ErrLost) || !strings.Contains(log, "is not to be found any more") {
		t.Fatalf("told %q: %v", log, err)
	}
	if got := w.ingest.links(); got[len(got)-1] != "g" {
		t.Fatalf("ingest has %v", got)
	}
}

func TestNothingIsDroppedWhileIngestIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append("", "a")
		stop := w.follow()
		w.expect("a")
		kept, err := os.ReadFile(w.log + ".linkpulse-position")
		if err != nil {
			t.Fatal(err)
		}
		w.ingest.set(func() (*http.Response, error) { return status(http.StatusServiceUnavailable), nil })
		w.append("", "b")
		time.Sleep(time.Hour)
		synctest.Wait()
		w.append("", "c")
		now, err := os.ReadFile(w.log + ".linkpulse-position")
		if err != nil || !bytes.Equal(kept, now) {
			t.Fatalf("the position moved to %s without an acknowledgement: %v", now, err)
		}
		told := stop() // in the middle of an attempt
		if n := strings.Count(told, "waiting"); n < 100 || n > 360 {
			t.Fatalf("told %d times in an hour: %q", n, told)
		}
		w.ingest.set(nil)
		w.follow()
		w.expect("a", "b", "c")
	})
}

// ingest acknowledged, and the machine lost its power before the position was kept.
func TestWhatIsSentAgainHasItsID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.append("", "a")
	if _, _, err := w.run(Cmd{}); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(w.log + ".linkpulse-position")
	if err != nil {
		t.Fatal(err)
	}
	w.append("", "b", "b") // the same line twice is two clicks
	if _, _, err := w.run(Cmd{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.log+".linkpulse-position", kept, 0o600); err != nil {
		t.Fatal(err)
	}
	w.rename("access.log", "access.log.1")
	if _, _, err := w.run(Cmd{}); err != nil {
		t.Fatal(err)
	}
	c := w.ingest.clicks
	if len(c) != 5 || c[1].ID != c[3].ID || c[2].ID != c[4].ID || c[1].ID == c[2].ID {
		t.Fatalf("clicks %+v", c)
	}
}

func TestTailRefusesToGuess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, _, err := w.run(Cmd{}); err == nil || !strings.Contains(err.Error(), "there is no log") {
		t.Fatalf("no log: %v", err)
	}
	w.append("", "a")
	position := w.log + ".linkpulse-position"
	for content, want := range map[string]string{
		`{"version":1,"file":"/other/log"}`: "give each log a position file of its own",
		`{"version":2,"file":"x"}`:          "has version 2",
		`{"version":1`:                      "reading the position",
		`{"version":1,"file":` + string(quote(t, w.log)) + `,"sources":[{"fingerprint":"x"}]}`: "is no fingerprint",
	} {
		if err := os.WriteFile(position, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.run(Cmd{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", content, err, want)
		}
	}
	if len(w.ingest.clicks) != 0 {
		t.Fatalf("ingest has %v", w.ingest.links())
	}
	if _, _, err := w.run(Cmd{StripPrefix: "s"}); err == nil {
		t.Fatal("a prefix without a slash was taken")
	}
}

func quote(t *testing.T, s string) []byte {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
