// Package shortener is the sample URL shortener of `linkpulse dev`. It shows the redirect path that a real redirect
// server should copy: answer the redirect first, hand the click to an asynchronous sender after, and never let either
// wait for the other.
package shortener

import (
	_ "embed"
	"html/template"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/client"
)

// Sample is a link that the index page offers.
type Sample struct {
	Slug  string // link id
	Title string
}

// Samples returns the links that the index page offers and that generated traffic visits, the most popular first.
func Samples() []Sample {
	return []Sample{
		{"x7Kp2", "Autumn newsletter"},
		{"a3bZ9", "Conference talk"},
		{"spring-sale", "Spring sale"},
		{"launch", "Product launch"},
		{"podcast-41", "Podcast, episode 41"},
		{"jobs", "We are hiring"},
		{"changelog", "What is new"},
		{"docs", "Documentation"},
	}
}

// Sender takes clicks without ever blocking; it says whether there was room.
type Sender interface {
	Send(client.Click) bool
}

//go:embed index.html
var indexHTML string

//go:embed landing.html
var landingHTML string

// Shortener serves GET /{slug} (302) for every well-formed slug, an index of samples at /, and the landing page that
// its redirects lead to. It is safe for concurrent use.
type Shortener struct {
	sender     Sender
	index      *template.Template
	landing    *template.Template
	dashboards []string
}

// New returns a shortener that posts its clicks through sender and whose index names the dashboards' URLs.
func New(sender Sender, dashboards []string) (*Shortener, error) {
	index, err := template.New("index").Parse(indexHTML)
	if err != nil {
		return nil, err
	}
	landing, err := template.New("landing").Parse(landingHTML)
	if err != nil {
		return nil, err
	}
	return &Shortener{sender: sender, index: index, landing: landing, dashboards: dashboards}, nil
}

// Handler returns the routes.
func (s *Shortener) Handler() http.Handler {
	r := chi.NewRouter()
	r.Get("/", s.serveIndex)
	r.Get("/to/{slug}", s.serveLanding)
	r.Get("/{slug}", s.redirect)
	r.Head("/{slug}", s.redirect)
	return r
}

// redirect answers first and counts after. A 302 is asked for again at every visit; a 301 would be kept by browsers and
// the later clicks would never arrive.
func (s *Shortener) redirect(w http.ResponseWriter, r *http.Request) {
	slug := chi.URLParam(r, "slug")
	if !click.ValidLink(slug) {
		http.Error(w, click.LinkRule, http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/to/"+slug, http.StatusFound) //nolint:gosec // a path of this server: a link id holds no slash
	c := client.Click{Link: slug, Referrer: r.Referer(), UserAgent: r.UserAgent()}
	if r.Method == http.MethodHead { // link checkers and previews look with HEAD; people follow with GET
		c.Bot = new(true)
	}
	s.sender.Send(c)
}

func (s *Shortener) serveIndex(w http.ResponseWriter, _ *http.Request) {
	render(w, s.index, struct {
		Samples    []Sample
		Dashboards []string
	}{Samples(), s.dashboards})
}

func (s *Shortener) serveLanding(w http.ResponseWriter, r *http.Request) {
	slug := chi.URLParam(r, "slug")
	if !click.ValidLink(slug) {
		http.Error(w, click.LinkRule, http.StatusNotFound)
		return
	}
	render(w, s.landing, struct {
		Slug       string
		Dashboards []string
	}{slug, s.dashboards})
}

// render writes a page. Both templates are small and their data is checked, so an error is a client that went away.
func render(w http.ResponseWriter, t *template.Template, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if err := t.Execute(w, data); err != nil {
		return
	}
}
