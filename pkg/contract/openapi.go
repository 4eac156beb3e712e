package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// HTTP is the contract of openapi.yaml. It is safe for concurrent use.
type HTTP struct{ router routers.Router }

// OpenAPI loads the contract and fails the test where the document itself is not valid OpenAPI 3.1.
func OpenAPI(tb testing.TB) *HTTP {
	tb.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(Dir(tb), "openapi.yaml"))
	if err != nil {
		tb.Fatalf("loading the OpenAPI document: %v", err)
	}
	h, err := newHTTP(doc)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func newHTTP(doc *openapi3.T) (*HTTP, error) {
	registerBodies()
	doc.Servers = nil // a test's server is anywhere
	for _, path := range doc.Paths.Map() {
		path.Servers = nil
	}
	router, err := legacy.NewRouter(doc, openapi3.EnableExamplesValidation())
	if err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	return &HTTP{router: router}, nil
}

// registerBodies teaches the library the media types of the contract that it does not know. Its table is global, and
// guarded by itself.
func registerBodies() {
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", decodeLines)
	for _, text := range []string{"text/html", "text/css", "text/javascript", "image/svg+xml"} {
		openapi3filter.RegisterBodyDecoder(text, openapi3filter.PlainBodyDecoder)
	}
}

// decodeLines reads a body of one JSON text per line as the array of them.
func decodeLines(
	body io.Reader, header http.Header, schema *openapi3.SchemaRef, encoding openapi3filter.EncodingFn,
) (any, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	items := []any{}
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		item, err := openapi3filter.JSONBodyDecoder(bytes.NewReader(line), header, schema, encoding)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// CheckRequest tells what the contract has against a request. It leaves the body as it was.
//
// The contract limits some texts in bytes and the document counts characters, and it does not state the limit on the
// body: a request that passes may still be too large.
func (h *HTTP) CheckRequest(r *http.Request) error {
	input, err := h.input(r)
	if err != nil {
		return err
	}
	body, err := drain(&r.Body)
	if err != nil {
		return err
	}
	input.Request = r.Clone(r.Context())
	input.Request.Body = io.NopCloser(bytes.NewReader(body))
	if input.Request.Header.Get("Content-Type") == "" && len(body) > 0 {
		input.Request.Header.Set("Content-Type", "application/json") // as the contract says
	}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		return fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
	}
	return nil
}

// CheckResponse tells what the contract has against the response to a request. It leaves the body as it was.
func (h *HTTP) CheckResponse(r *http.Request, resp *http.Response) error {
	input, err := h.input(r)
	if err != nil {
		return err
	}
	body, err := drain(&resp.Body)
	if err != nil {
		return err
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header,
		Body:    io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		return fmt.Errorf("answer %d to %s %s: %w\n%s", resp.StatusCode, r.Method, r.URL.Path, err, body)
	}
	return nil
}

// ValidateRequest fails the test where the contract has something against a request.
func (h *HTTP) ValidateRequest(tb testing.TB, r *http.Request) {
	tb.Helper()
	if err := h.CheckRequest(r); err != nil {
		tb.Error(err)
	}
}

// ValidateResponse fails the test where the contract has something against the response to a request.
func (h *HTTP) ValidateResponse(tb testing.TB, r *http.Request, resp *http.Response) {
	tb.Helper()
	if err := h.CheckResponse(r, resp); err != nil {
		tb.Error(err)
	}
}

// CheckRecorded is CheckResponse for what a handler wrote to a recorder.
func (h *HTTP) CheckRecorded(r *http.Request, w *httptest.ResponseRecorder) error {
	resp := w.Result()
	return errors.Join(h.CheckResponse(r, resp), resp.Body.Close())
}

// ValidateRecorded is ValidateResponse for what a handler wrote to a recorder.
func (h *HTTP) ValidateRecorded(tb testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	tb.Helper()
	if err := h.CheckRecorded(r, w); err != nil {
		tb.Error(err)
	}
}

// Transport returns a RoundTripper that shows every exchange to the contract: an answer must be one of it, and a request
// that breaks it must not succeed. The test fails otherwise; the exchange goes on.
func (h *HTTP) Transport(tb testing.TB, next http.RoundTripper) http.RoundTripper {
	tb.Helper()
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context()) // a RoundTripper must not change the request
		requestErr := h.CheckRequest(r)
		resp, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil // its body is the connection
		}
		if requestErr != nil && resp.StatusCode < http.StatusBadRequest {
			tb.Errorf("answered with %d although the contract does not allow it: %v", resp.StatusCode, requestErr)
		}
		h.ValidateResponse(tb, r, resp)
		return resp, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// input finds the operation of a request.
func (h *HTTP) input(r *http.Request) (*openapi3filter.RequestValidationInput, error) {
	route, params, err := h.router.FindRoute(r)
	if err != nil {
		return nil, fmt.Errorf("%s %s is not in the contract: %w", r.Method, r.URL.Path, err)
	}
	return &openapi3filter.RequestValidationInput{
		Request: r, Route: route, PathParams: params, QueryParams: r.URL.Query(),
		Options: &openapi3filter.Options{AuthenticationFunc: authenticated},
	}, nil
}

// authenticated tells whether a request carries credentials of a scheme. Whether they are good is for the server.
func authenticated(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	header := in.RequestValidationInput.Request.Header
	name, prefix := in.SecurityScheme.Name, ""
	if in.SecurityScheme.Type == "http" {
		name, prefix = "Authorization", in.SecurityScheme.Scheme+" "
	}
	if value := header.Get(name); len(value) <= len(prefix) || !strings.EqualFold(value[:len(prefix)], prefix) {
		return fmt.Errorf("there is no %s of the scheme %s", name, in.SecuritySchemeName)
	}
	return nil
}

// drain reads a body and puts another one with the same bytes in its place.
func drain(body *io.ReadCloser) ([]byte, error) {
	if *body == nil {
		return nil, nil
	}
	b, err := io.ReadAll(*body)
	err = errors.Join(err, (*body).Close())
	*body = io.NopCloser(bytes.NewReader(b))
	return b, err
}
