package config

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Setting is a row of the reference of a configuration.
type Setting struct {
	Flag     string // "--kafka-brokers"
	Variable string // "INGEST_KAFKA_BROKERS"
	Type     string // "string", "duration", "string, …", as kong names it
	Default  string // empty: none
	Help     string
}

// Reference lists the settings of cfg, a pointer to a struct as [Load] takes it, in the order of its fields.
func Reference(cfg any, prefix string) ([]Setting, error) {
	parser, err := kong.New(cfg, kong.Name("reference"), kong.NoDefaultHelp(), kong.Embed(&fileFlag{}))
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	settings := make([]Setting, 0, len(parser.Model.Flags))
	for _, f := range parser.Model.Flags {
		kind := strings.TrimPrefix(f.Target.Type().String(), "time.")
		if element, ok := strings.CutPrefix(kind, "[]"); ok {
			kind = element + ", …"
		}
		if f.Enum != "" {
			kind = strings.ReplaceAll(f.Enum, ",", ", ")
		}
		settings = append(settings, Setting{
			Flag: "--" + f.Name, Variable: variable(prefix, f.Name), Type: strings.ToLower(kind), Default: f.Default, Help: f.Help,
		})
	}
	return settings, nil
}

// WriteMarkdown writes the reference of cfg as a Markdown table.
func WriteMarkdown(w io.Writer, cfg any, prefix string) error {
	settings, err := Reference(cfg, prefix)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("| flag | variable | type | default | |\n|---|---|---|---|---|\n")
	for _, s := range settings {
		def := ""
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		cells := []string{"`" + s.Flag + "`", "`" + s.Variable + "`", s.Type, def, s.Help}
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(c, "|", `\|`)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the reference: %w", err)
	}
	return nil
}
