package api

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestReferrerHost(t *testing.T) {
	t.Parallel()
	for referrer, want := range map[string]string{
		"https://news.example":                         "news.example",
		"https://News.Example/a?b#c":                   "News.Example",
		"http://user:secret@news.example:8080/":        "news.example",
		"https://a@b@news.example/":                    "news.example",
		"https://news.example?q=https://other.example": "news.example",
		"https://news.example#https://other.example":   "news.example",
		`https://news.example\@other.example`:          "news.example",
		"android-app://com.google.android.gm/":         "com.google.android.gm",
		"http://[2001:db8::1]:80/":                     "[2001:db8::1]",
		"http://192.0.2.1/":                            "192.0.2.1",
		"http://under_score.example/":                  "under_score.example",
		"http://xn--bcher-kva.example/":                "xn--bcher-kva.example",
		"http://" + strings.Repeat("a", maxHost):       strings.Repeat("a", maxHost),
		"http://" + strings.Repeat("a", maxHost+1):     "",
		"":                                      "",
		"about:blank":                           "",
		"news.example/a":                        "",
		"/relative":                             "",
		"//news.example/":                       "",
		"https://":                              "",
		"https://user@/":                        "",
		"https://:80/":                          "",
		"https://news.example:port/":            "",
		"https://news.example:800000/":          "",
		"https://news.example:80:80/":           "",
		"https://[]/":                           "",
		"https://[::1/":                         "",
		"https://[::1]x/":                       "",
		"https://news example/":                 "",
		"https://b\u00fccher.example/":          "",
		"https://%6eews.example/":               "",
		"1http://news.example/":                 "",
		"javascript:alert(1)//://news.example":  "",
		"https://news.example\r\nx-injected: 1": "",
	} {
		if got := string(referrerHost([]byte(referrer))); got != want {
			t.Errorf("%q has the host %q, want %q", referrer, got, want)
		}
	}
}

// Where there is a host, package net/url finds the same one, or does not take the text for a URL at all.
func TestReferrerHostAgreesWithNetURL(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"https", "://", "a.example", "B", "@", ":", "80", "/", "?", "#", "[", "]", "::1", " ", "%", "-", "_", "é", "\x00"})
	rapid.Check(t, func(t *rapid.T) {
		text := "http://" + strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")
		host := string(referrerHost([]byte(text)))
		u, err := url.Parse(text)
		if err != nil || host == "" {
			return
		}
		if want := u.Hostname(); strings.Trim(host, "[]") != want {
			t.Fatalf("%q has the host %q, net/url says %q", text, host, want)
		}
	})
}
