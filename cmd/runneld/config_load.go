package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/env"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/cmd/home"
	"github.com/runnel/runnel/policy"
)

const envPrefix = "RUNNEL_"

// Settings are what an owner set, from where, and what it comes to.
type Settings struct {
	Config   Config
	Effect   []Effect // every setting, in the order of the table
	Warnings []string // what looks wrong and does no harm

	flags *pflag.FlagSet
}

// Effect is one setting as it takes effect.
type Effect struct {
	Key    string
	Value  string
	Source string // flag, environment, the file's name, or default
	Reload bool
}

// layer is one source of settings.
type layer struct {
	name string
	at   func(key string) string // for people: where the key stands
	k    *koanf.Koanf
}

// addFlags makes a flag of every setting.
func addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.String("config", "", "TOML `FILE` with any of these settings (environment: RUNNEL_CONFIG)")
	for _, s := range settings() {
		switch s.kind {
		case kindBool:
			f.Bool(s.key, false, s.help)
		case kindList:
			f.StringSlice(s.key, nil, s.help)
		default:
			f.String(s.key, "", s.help)
		}
	}
}

// Load reads flags, then environment, then file, then defaults, the first that has a setting wins. The
// error is Problems: all that is wrong, with what to do.
func Load(flags *pflag.FlagSet) (*Settings, error) {
	out := &Settings{flags: flags}
	layers, problems := out.layers()
	if len(problems) > 0 {
		return nil, problems
	}
	network, source := lookup(layers, setting{key: "network"})
	if p := checkNetwork(network, source); p != nil {
		return nil, Problems{*p}
	}
	w, err := whereIn(network[0])
	if err != nil {
		return nil, Problems{{Text: err.Error()}}
	}
	out.Config.Limits = w.limits
	for _, s := range settings() {
		problems = append(problems, out.apply(s, layers, w)...)
	}
	if out.Config.Socket == "" {
		problems = append(problems, out.defaultSocket()...)
	}
	for _, l := range layers {
		if l.name == "file" {
			var wrong Problems
			out.Config.Gateway, wrong = readGateway(l.k, l.at(gatewayTable))
			problems = append(problems, wrong...)
		}
	}
	out.defaultCookie(w)
	problems = append(problems, out.Config.Validate().named(out.Effect).except(problems)...)
	if len(problems) > 0 {
		return out, problems
	}
	out.warn()
	return out, nil
}

// whereIn finds what defaults depend on.
func whereIn(network string) (where, error) {
	limits, err := policy.Defaults(network)
	if err != nil {
		return where{}, err
	}
	h, err := home.Locate(os.Getenv)
	if err != nil {
		return where{}, err
	}
	user, err := os.UserHomeDir()
	if err != nil {
		user = string(h) // a service without a home: files of other programs are set anyway
	}
	return where{network: network, home: h, user: user, limits: limits}, nil
}

// apply sets one setting from the first layer that has it.
func (s *Settings) apply(one setting, layers []layer, w where) Problems {
	values, source := lookup(layers, one)
	if source == "" && one.def != nil {
		values, source = one.def(w), "default"
	}
	s.Effect = append(s.Effect, Effect{Key: one.key, Value: strings.Join(values, ","), Source: source, Reload: one.reload})
	if len(values) == 0 {
		return nil
	}
	if err := one.set(&s.Config, values); err != nil {
		return Problems{{Key: one.key, Source: source, Text: err.Error(), Hint: hintOf(err)}}
	}
	return nil
}

func hintOf(err error) string {
	var typed *amount.Error
	var where *home.Error
	switch {
	case errors.As(err, &typed):
		return typed.Hint
	case errors.As(err, &where):
		return where.Hint
	}
	return ""
}

// lookup returns a setting's values and where they stand; an empty value is the same as none.
func lookup(layers []layer, s setting) (values []string, source string) {
	for _, l := range layers {
		if !l.k.Exists(s.key) {
			continue
		}
		if values = texts(l.k.Get(s.key), s.kind); len(values) > 0 {
			return values, l.at(s.key)
		}
	}
	return nil, ""
}

// texts brings what flags, environment and TOML give into one form.
func texts(v any, k kind) []string {
	var all []string
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			all = append(all, fmt.Sprint(one))
		}
	case []string:
		all = v
	default:
		text := fmt.Sprint(v)
		if all = []string{text}; k == kindList {
			all = strings.Split(text, ",")
		}
	}
	var out []string
	for _, text := range all {
		if text = strings.TrimSpace(text); text != "" {
			out = append(out, expand(text))
		}
	}
	return out
}

// expand replaces ~/ as a shell would.
func expand(text string) string {
	if rest, ok := strings.CutPrefix(text, "~/"); ok {
		if user, err := os.UserHomeDir(); err == nil {
			return filepath.Join(user, rest)
		}
	}
	return text
}

// layers reads all sources, the strongest first.
func (s *Settings) layers() ([]layer, Problems) {
	flags := koanf.New(".")
	given := posflag.ProviderWithFlag(s.flags, ".", nil, func(f *pflag.Flag) (string, any) {
		if !f.Changed {
			return "", nil
		}
		return f.Name, posflag.FlagVal(s.flags, f)
	})
	if err := flags.Load(given, nil); err != nil {
		return nil, Problems{{Text: err.Error()}}
	}
	environment, err := s.environment()
	if err != nil {
		return nil, Problems{{Text: err.Error()}}
	}
	out := []layer{
		{"flag", func(k string) string { return "flag" }, flags},
		{"environment", envName, environment},
	}
	path := flags.String("config")
	if path == "" {
		path = os.Getenv(envName("config"))
	}
	if path == "" {
		return out, nil
	}
	k, problems := readFile(path)
	return append(out, layer{"file", func(string) string { return path }, k}), problems
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// environment reads RUNNEL_ variables. Unknown ones are warned of: they may be another program's.
func (s *Settings) environment() (*koanf.Koanf, error) {
	known := map[string]string{}
	for _, one := range settings() {
		known[envName(one.key)] = one.key
	}
	others := []string{"RUNNEL_CONFIG", "RUNNEL_HOME", "RUNNEL_NODE"}
	k := koanf.New(".")
	err := k.Load(env.ProviderWithValue(envPrefix, ".", func(name, value string) (string, any) {
		key, ok := known[name]
		if !ok && !slices.Contains(others, name) {
			s.Warnings = append(s.Warnings, fmt.Sprintf("environment variable %s is no setting; the closest is %s", name, closest(name, keysOf(known))))
		}
		return key, value
	}), nil)
	slices.Sort(s.Warnings)
	return k, err
}

func keysOf[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// readFile reads TOML and refuses keys that are no settings.
func readFile(path string) (*koanf.Koanf, Problems) {
	path = expand(path)
	k := koanf.New(".")
	err := k.Load(file.Provider(path), toml.Parser())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, Problems{{Key: "config", Text: path + " does not exist", Hint: "write it, or leave --config away"}}
	case err != nil:
		return k, Problems{{Key: "config", Source: path, Text: err.Error(), Hint: "it has to be TOML, such as network = \"simnet\""}}
	}
	var known []string
	for _, s := range settings() {
		known = append(known, s.key)
	}
	var problems Problems
	for _, key := range k.Keys() {
		if !slices.Contains(known, key) && key != gatewayTable && !strings.HasPrefix(key, gatewayTable+".") {
			problems = append(problems, Problem{Key: key, Source: path, Text: "there is no such setting",
				Hint: "did you mean " + closest(key, known) + "? `runneld --help` lists all"})
		}
	}
	return k, problems
}

// closest returns the word that takes the fewest changes to become; one that only goes on is closest.
func closest(word string, words []string) string {
	best, least := "", 1<<30
	for _, w := range words {
		d := distance(word, w)
		if strings.HasPrefix(w, word) {
			d = 0
		}
		if d < least {
			best, least = w, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// defaultSocket puts the API's socket into the data directory.
func (s *Settings) defaultSocket() Problems {
	if s.Config.DataDir == "" {
		return nil
	}
	path, err := home.ParseAPI("unix:" + home.Socket(s.Config.DataDir))
	s.Config.Socket = path
	s.effect("api", "unix:"+home.Socket(s.Config.DataDir))
	if err != nil {
		return Problems{{Key: "api", Source: "default", Text: err.Error(), Hint: hintOf(err)}}
	}
	return nil
}

// defaultCookie takes bitcoind's cookie where no other credential was given.
func (s *Settings) defaultCookie(w where) {
	if b := &s.Config.Bitcoind; b.Cookie == "" && b.User == "" && b.PassFile == "" {
		b.Cookie = bitcoindCookie(w.user, w.network)
		s.effect("bitcoind.cookie", b.Cookie)
	}
}

func (s *Settings) effect(key, value string) {
	for i := range s.Effect {
		if e := &s.Effect[i]; e.Key == key && e.Source == "" {
			e.Value, e.Source = value, "default"
		}
	}
}

// warn notes what works and is still better known.
func (s *Settings) warn() {
	c := s.Config
	if c.Chain == "bitcoind" && !loopback(c.Bitcoind.Host) {
		s.Warnings = append(s.Warnings, "bitcoind.rpc-host is on another machine: its RPC has no TLS, so anybody on the way reads the password; use a tunnel")
	}
}
