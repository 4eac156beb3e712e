package config

import (
	"strings"
	"testing"
)

// Programs that share a prefix share an environment: what is another's setting is no mistake, and a mistake is one.
func TestOthers(t *testing.T) {
	t.Parallel()
	type other struct {
		Redis kafka `embed:"" prefix:"redis-"`
	}
	environ := []string{"OPS_ADDR=env:1", "OPS_REDIS_PASSWORD=secret", "OPS_REDIS_PASSWORD_FILE=/none"}
	var got settings
	if err := Load(&got, Source{Name: "ops", Prefix: "OPS", Environ: environ, Others: []any{&other{}}}); err != nil || got.Addr != "env:1" {
		t.Fatalf("%+v, %v", got, err)
	}
	err := Load(&got, Source{Name: "ops", Prefix: "OPS", Environ: append(environ, "OPS_REDIS_PASWORD=x"), Others: []any{&other{}}})
	if err == nil || !strings.Contains(err.Error(), "OPS_REDIS_PASWORD: no such setting") {
		t.Fatalf("a mistake: %v", err)
	}
	if err := Load(&got, Source{Name: "ops", Prefix: "OPS", Environ: environ}); err == nil {
		t.Fatal("alone it knows no such setting")
	}
}
