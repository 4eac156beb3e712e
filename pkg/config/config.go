// Package config reads the configuration of a service into one struct, from flags, the environment, a JSON file and
// defaults, in that order of precedence, and reports everything that is wrong at once.
//
// The struct carries kong's tags (help, default, enum, embed with prefix). A setting has one name in three spellings: the
// flag --kafka-brokers, the variable INGEST_KAFKA_BROKERS (for the prefix INGEST), the file's key "kafka-brokers". What is
// not a setting is refused wherever the name shows that it was meant to be one: an unknown flag, an unknown key of the
// file, an unknown variable that begins with the prefix.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// Source is where settings come from.
type Source struct {
	// Name of the program, for its help.
	Name string
	// Prefix of its variables, without the underscore.
	Prefix string
	// Args are the program's arguments, without its own name.
	Args []string
	// Environ is the environment, each NAME=value.
	Environ []string
	// Stdout takes the help that --help asks for.
	Stdout io.Writer
	// Others are pointers to the configurations of programs that share the prefix. Variables that are settings of theirs
	// may be there, and are not read.
	Others []any
}

// ErrHelp reports that the arguments asked for help, which has been written.
var ErrHelp = errors.New("help was asked for")

// Checker is a configuration that can tell what no single setting can: what contradicts what.
type Checker interface {
	// Check returns every problem, joined.
	Check() error
}

// suffix of a variable that names a file with the value, so that secrets need not stand in the environment.
const fileSuffix = "_FILE"

// Load fills in cfg, a pointer to a struct. A variable whose name ends in _FILE names a file that holds the value. A list
// is replaced by that of the source that wins, never added to. The error joins every problem; it is [ErrHelp] if help was
// asked for. Tags must not say required: what is missing is for [Checker] to tell, after every source was read.
func Load(cfg any, src Source) error {
	r := &reader{cfg: cfg, src: src, env: map[string]string{}, set: map[string]string{}}
	for _, kv := range src.Environ {
		name, value, ok := strings.Cut(kv, "=")
		if rest, ours := strings.CutPrefix(name, src.Prefix+"_"); ok && ours && !serviceLink(rest, value) {
			r.env[name] = value
		}
	}
	return r.load()
}

type reader struct {
	cfg  any
	src  Source
	env  map[string]string
	errs []error
	// set is what the sources before the arguments say, by flag: the last one to say something wins.
	set map[string]string
}

// fileFlag is the one flag that every service has: where its file is.
type fileFlag struct {
	Config string `help:"JSON file with settings, keys spelt like the flags." placeholder:"FILE"`
}

func (r *reader) load() error {
	var own fileFlag
	parser, helped, err := r.parser(r.cfg, &own)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	// The arguments are read twice: alone, so that a mistake in them is told as theirs, and behind what the other sources
	// say of settings that they do not mention.
	args, err := parser.Parse(r.src.Args)
	if err != nil {
		r.errs = append(r.errs, err)
	}
	if *helped {
		return ErrHelp
	}
	flags := map[string]*kong.Flag{}
	for _, f := range parser.Model.Flags {
		if f.Name != "help" {
			flags[f.Name] = f
		}
	}
	file := own.Config
	if v, ok := r.env[r.src.Prefix+"_CONFIG"]; ok && file == "" {
		file = v
	}
	if file != "" {
		r.readFile(file, flags)
	}
	r.readEnv(flags, r.elsewhere())
	if err := r.failed(); err != nil {
		return err
	}
	for _, p := range args.Path {
		if p.Flag != nil {
			delete(r.set, p.Flag.Name)
		}
	}
	all := make([]string, 0, len(r.set)+len(r.src.Args))
	for _, name := range sortedKeys(r.set) {
		all = append(all, r.set[name])
	}
	if _, err := parser.Parse(append(all, r.src.Args...)); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if c, ok := r.cfg.(Checker); ok {
		if err := c.Check(); err != nil {
			r.errs = append(r.errs, err)
		}
	}
	return r.failed()
}

// parser returns a parser for cfg and a flag that says whether help was asked for.
func (r *reader) parser(cfg any, own *fileFlag) (parser *kong.Kong, helped *bool, err error) {
	helped = new(bool)
	stdout := r.src.Stdout
	if stdout == nil {
		stdout = io.Discard
	}
	parser, err = kong.New(cfg, kong.Name(r.src.Name), kong.Embed(own), kong.Writers(stdout, io.Discard),
		// kong exits after help; a library must not, so it is noted and told.
		kong.Exit(func(int) { *helped = true }),
		kong.ValueFormatter(func(v *kong.Value) string {
			if v.Flag == nil || v.Name == "help" {
				return v.Help
			}
			return strings.TrimSpace(v.Help + " ($" + variable(r.src.Prefix, v.Name) + ")")
		}))
	return parser, helped, err
}

func (r *reader) failed() error {
	if len(r.errs) == 0 {
		return nil
	}
	return fmt.Errorf("configuration: %w", errors.Join(r.errs...))
}

// variable returns the name of a setting's variable.
func variable(prefix, flag string) string {
	return prefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// try reads one setting into a struct of its own, so that each bad one is reported.
func (r *reader) try(from string, f *kong.Flag, value string) {
	arg := "--" + f.Name + "=" + value
	scratch := reflect.New(reflect.TypeOf(r.cfg).Elem()).Interface()
	parser, _, err := r.parser(scratch, &fileFlag{})
	if err == nil {
		_, err = parser.Parse([]string{arg})
	}
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", from, err))
		return
	}
	r.set[f.Name] = arg
}

// elsewhere returns the variables of the programs that share the prefix.
func (r *reader) elsewhere() map[string]bool {
	names := map[string]bool{}
	for _, other := range r.src.Others {
		parser, _, err := r.parser(other, &fileFlag{})
		if err != nil {
			r.errs = append(r.errs, err)
			continue
		}
		for _, f := range parser.Model.Flags {
			names[variable(r.src.Prefix, f.Name)] = true
		}
	}
	return names
}

// readEnv reads the variables. Those of elsewhere are not this program's.
func (r *reader) readEnv(flags map[string]*kong.Flag, elsewhere map[string]bool) {
	names := make(map[string]*kong.Flag, len(flags))
	for _, f := range flags {
		names[variable(r.src.Prefix, f.Name)] = f
	}
	for _, name := range sortedKeys(r.env) {
		value := r.env[name]
		f, known := names[name]
		if bare := strings.TrimSuffix(name, fileSuffix); !known {
			if f, known = names[bare]; known {
				if _, both := r.env[bare]; both {
					r.errs = append(r.errs, fmt.Errorf("%s: %s is set too: only one of them can say it", name, bare))
					continue
				}
				content, err := os.ReadFile(value)
				if err != nil {
					r.errs = append(r.errs, fmt.Errorf("%s: %w", name, err))
					continue
				}
				value = strings.TrimRight(string(content), "\r\n")
			}
		}
		if !known && (elsewhere[name] || elsewhere[strings.TrimSuffix(name, fileSuffix)]) {
			continue
		}
		if !known {
			r.errs = append(r.errs, fmt.Errorf("%s: no such setting%s", name, hint(name, sortedKeys(names))))
			continue
		}
		r.try(name, f, value)
	}
}

func (r *reader) readFile(path string, flags map[string]*kong.Flag) {
	content, err := os.ReadFile(path)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("reading settings: %w", err))
		return
	}
	var settings map[string]any
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber() // as it is written: a float64 would round what is large
	err = dec.Decode(&settings)
	if err == nil && dec.More() {
		err = errors.New("there is more than one JSON object")
	}
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", path, err))
		return
	}
	for _, key := range sortedKeys(settings) {
		f, known := flags[key]
		if !known || key == "config" {
			r.errs = append(r.errs, fmt.Errorf("%s: %q: no such setting%s", path, key, hint(key, sortedKeys(flags))))
			continue
		}
		value, err := text(settings[key])
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("%s: %q: %w", path, key, err))
			continue
		}
		r.try(fmt.Sprintf("%s: %q", path, key), f, value)
	}
}

// text returns a value of JSON as a flag spells it.
func text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		return v.String(), nil
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			s, err := text(e)
			if err != nil {
				return "", err
			}
			parts[i] = s
		}
		return strings.Join(parts, ","), nil
	default:
		return "", errors.New("must be a string, a number, true, false, or a list of them")
	}
}

// serviceLink tells whether a variable, less its prefix, is one that Kubernetes puts into every pod for each Service of the
// namespace: a Service that is called ingest makes INGEST_SERVICE_HOST, INGEST_PORT=tcp://… and more of that kind, which
// nobody means as settings.
func serviceLink(name, value string) bool {
	if name == "SERVICE_HOST" || name == "SERVICE_PORT" || strings.HasPrefix(name, "SERVICE_PORT_") {
		return true
	}
	protocol, _, ok := strings.Cut(value, "://")
	if name == "PORT" {
		return ok && (protocol == "tcp" || protocol == "udp" || protocol == "sctp")
	}
	rest, ok := strings.CutPrefix(name, "PORT_")
	port, _, more := strings.Cut(rest, "_")
	_, err := strconv.ParseUint(port, 10, 16)
	return ok && more && err == nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// hint names the known name that is nearest to a wrong one, if one is near.
func hint(wrong string, known []string) string {
	best, distance := "", 1+len(wrong)/4
	for _, k := range known {
		if d := editDistance(wrong, k); d <= distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// editDistance is Levenshtein's, by the two-row method.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
