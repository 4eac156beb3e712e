// Package contract holds programs to the contracts in proto: tests show it HTTP exchanges and WebSocket messages, and it
// tells what OpenAPI and AsyncAPI documents have against them. Only tests import it.
//
// It reads the documents from the source tree, beside which it lies, so that any module's tests see the contract as it
// stands and not as it was embedded.
package contract

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Dir returns the directory of the contracts.
func Dir(tb testing.TB) string {
	tb.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "proto")
	if _, err := os.Stat(dir); err != nil {
		tb.Fatalf("the contracts are found beside the source of this package, which a build with -trimpath does not know: %v", err)
	}
	return dir
}
