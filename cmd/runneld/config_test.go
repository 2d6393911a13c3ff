package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/policy"
)

// clean gives a test a home of its own and no settings from outside.
func clean(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, envPrefix) {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", dir)
	t.Setenv("RUNNEL_HOME", filepath.Join(dir, "r"))
	put(t, filepath.Join(dir, "pass"), "sesame\n", 0o600)
	put(t, filepath.Join(dir, "rpc.cert"), "cert\n", 0o644)
	return dir
}

func put(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// btcdArgs are the least that a daemon needs.
func btcdArgs(dir string, more ...string) []string {
	return append([]string{"--network", "simnet", "--btcd.rpc-user", "u", "--btcd.rpc-pass-file", filepath.Join(dir, "pass"),
		"--btcd.rpc-cert", filepath.Join(dir, "rpc.cert")}, more...)
}

func load(t *testing.T, args ...string) (*Settings, error) {
	t.Helper()
	f := pflag.NewFlagSet("runneld", pflag.ContinueOnError)
	addFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(f)
}

func mustLoad(t *testing.T, args ...string) *Settings {
	t.Helper()
	s, err := load(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustRefuse(t *testing.T, err error, says ...string) {
	t.Helper()
	var p Problems
	if !errors.As(err, &p) {
		t.Fatalf("%v, want Problems", err)
	}
	var all strings.Builder
	for _, one := range p {
		fmt.Fprintf(&all, "%s | %s\n", one, one.Hint)
	}
	for _, say := range says {
		if !strings.Contains(all.String(), say) {
			t.Errorf("%q is not among\n%s", say, all.String())
		}
	}
}

func TestDefaults(t *testing.T) {
	dir := clean(t)
	c := mustLoad(t, btcdArgs(dir)...).Config
	if c.DataDir != filepath.Join(dir, "r", "simnet") || c.Socket != filepath.Join(c.DataDir, "runneld.sock") {
		t.Errorf("%s, %s", c.DataDir, c.Socket)
	}
	if c.Chain != "btcd" || c.Btcd.Host != "127.0.0.1:18556" || !c.NAT || c.MDNS || c.Metrics != "" || c.LogLevel != slog.LevelInfo || c.LogFormat != "text" {
		t.Errorf("%+v", c)
	}
	if want := []string{"/ip4/127.0.0.1/tcp/59745", "/ip4/127.0.0.1/udp/59745/quic-v1"}; !slices.Equal(c.Listen, want) {
		t.Errorf("%v", c.Listen)
	}
	for _, network := range policy.Networks() {
		want, _ := policy.Defaults(network)
		args := btcdArgs(dir)
		args[1] = network
		if got := mustLoad(t, args...).Config.Limits; !slices.Equal(got.Tiers, want.Tiers) || got.Budget != want.Budget || got.MaxPayment != want.MaxPayment ||
			got.BlindCap != want.BlindCap || got.MinDeposit != want.MinDeposit || got.AcceptPeerDeposit != want.AcceptPeerDeposit {
			t.Errorf("%s: %+v, want %+v", network, got, want)
		}
	}
}

func TestNoNetwork(t *testing.T) {
	clean(t)
	_, err := load(t)
	mustRefuse(t, err, "no network is chosen", "simnet|regtest|signet|testnet3|testnet4|mainnet")
	_, err = load(t, "--network", "testnet")
	mustRefuse(t, err, `there is no network "testnet"`, "testnet3|testnet4")
}

// samples has a value for every setting, and the same one as TOML.
func samples(dir string) map[string][2]string {
	in := func(name string) string { return filepath.Join(dir, name) }
	quoted := func(s string) [2]string { return [2]string{s, `"` + s + `"`} }
	return map[string][2]string{
		"network": quoted("regtest"), "data-dir": quoted(in("data")), "replica": quoted(in("replica")), "api": quoted("unix:/run/r.sock"), "chain": quoted("btcd"),
		"btcd.rpc-host": quoted("10.0.0.1:1"), "btcd.rpc-user": quoted("u"), "btcd.rpc-pass-file": quoted(in("pass")), "btcd.rpc-cert": quoted(in("rpc.cert")),
		"bitcoind.rpc-host": quoted("10.0.0.1:2"), "bitcoind.cookie": quoted(in("cookie")), "bitcoind.rpc-user": quoted("v"), "bitcoind.rpc-pass-file": quoted(in("pass2")),
		"neutrino.peer": {"10.0.0.1:3,10.0.0.2:3", `["10.0.0.1:3", "10.0.0.2:3"]`}, "fee-url": quoted("https://fees.example.com/v1"),
		"listen":        {"/ip4/10.0.0.1/tcp/1,/ip4/10.0.0.1/udp/1/quic-v1", `["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/udp/1/quic-v1"]`},
		"external-addr": quoted("/dns4/node.example.com/tcp/1"), "mdns": {"true", "true"}, "no-nat": {"true", "true"},
		"max-payment": quoted("7sat"), "budget-per-day": quoted("none"), "accept-peer-deposit": quoted("1_000_000sat"), "min-peer-deposit": quoted("50_000sat"),
		"max-channels-per-peer": {"3", "3"}, "max-pending-opens-per-peer": {"4", "4"}, "max-pending-opens": {"5", "5"},
		"coalesce": {"false", "false"}, "confirmations": {"1_000sat=2,8", `["1_000sat=2", "8"]`}, "blind-cap": quoted("9sat"), "min-free-disk": quoted("512MB"),
		"log-level": quoted("debug"), "log-format": quoted("json"), "metrics": quoted("127.0.0.1:9"), "journal-max": quoted("512"),
	}
}

// TestOneSettingThreeWays: flag, environment and file mean the same, for every setting there is.
func TestOneSettingThreeWays(t *testing.T) {
	dir := clean(t)
	all := samples(dir)
	var args, lines []string
	for _, s := range settings() {
		v, ok := all[s.key]
		if !ok {
			t.Fatalf("no sample for %s", s.key)
		}
		args = append(args, "--"+s.key+"="+v[0])
		lines = append(lines, s.key+" = "+v[1])
	}
	slices.Sort(lines)
	var b strings.Builder
	for _, section := range []string{"", "btcd", "bitcoind", "neutrino"} {
		if section != "" {
			fmt.Fprintf(&b, "[%s]\n", section)
		}
		for _, line := range lines {
			key, _, _ := strings.Cut(line, " ")
			if before, after, dotted := strings.Cut(line, "."); strings.Contains(key, ".") && dotted && before == section {
				fmt.Fprintln(&b, after)
			} else if section == "" && !strings.Contains(key, ".") {
				fmt.Fprintln(&b, line)
			}
		}
	}
	byFlag := mustLoad(t, args...)
	byFile := mustLoad(t, "--config", put(t, filepath.Join(dir, "all.toml"), b.String(), 0o644))
	for _, s := range settings() {
		t.Setenv(envName(s.key), all[s.key][0])
	}
	byEnv := mustLoad(t)
	if !reflect.DeepEqual(byFlag.Config, byFile.Config) || !reflect.DeepEqual(byFlag.Config, byEnv.Config) {
		t.Errorf("flags\n%+v\nfile\n%+v\nenvironment\n%+v", byFlag.Config, byFile.Config, byEnv.Config)
	}
	c := byFlag.Config
	if c.Limits.Budget != policy.NoLimit || c.Limits.MaxPayment != 7_000 || c.Limits.AcceptPeerDeposit != 1_000_000 || !c.MDNS || c.NAT ||
		!slices.Equal(c.Limits.Tiers, []policy.Tier{{UpTo: 1000, Confirmations: 2}, {UpTo: channel.MaxMoney, Confirmations: 8}}) ||
		c.Socket != "/run/r.sock" || len(c.Neutrino.Peers) != 2 || c.LogLevel != slog.LevelDebug || c.Metrics != "127.0.0.1:9" {
		t.Errorf("%+v", c)
	}
}

func TestPrecedence(t *testing.T) {
	dir := clean(t)
	file := put(t, filepath.Join(dir, "c.toml"), "log-level = \"error\"\nlog-format = \"json\"\nmdns = true\nmax-payment = \"1sat\"\n", 0o644)
	t.Setenv("RUNNEL_CONFIG", file)
	t.Setenv("RUNNEL_LOG_LEVEL", "warn")
	t.Setenv("RUNNEL_MAX_PAYMENT", "2sat")
	s := mustLoad(t, btcdArgs(dir, "--max-payment", "3sat", "--mdns=false")...)
	want := map[string][2]string{
		"max-payment": {"3sat", "flag"}, "mdns": {"false", "flag"}, "log-level": {"warn", "RUNNEL_LOG_LEVEL"},
		"log-format": {"json", file}, "chain": {"btcd", "default"}, "api": {"unix:" + s.Config.Socket, "default"},
	}
	for _, e := range s.Effect {
		if w, ok := want[e.Key]; ok && (e.Value != w[0] || e.Source != w[1]) {
			t.Errorf("%+v, want %v", e, w)
		}
	}
	if s.Config.Limits.MaxPayment != 3000 || s.Config.MDNS || s.Config.LogLevel != slog.LevelWarn || s.Config.LogFormat != "json" {
		t.Errorf("%+v", s.Config)
	}
}

func TestUnknownKeys(t *testing.T) {
	dir := clean(t)
	for content, says := range map[string]string{
		"netwrok = \"signet\"":          "netwrok: there is no such setting (in FILE) | did you mean network?",
		"[btcd]\nrpcuser = \"x\"":       "btcd.rpcuser: there is no such setting (in FILE) | did you mean btcd.rpc-user?",
		"[btcd]\nrpc-pass = \"sesame\"": "did you mean btcd.rpc-pass-file?",
		"config = \"other.toml\"":       "config: there is no such setting",
		"network = [":                   "has to be TOML",
	} {
		path := put(t, filepath.Join(dir, "c.toml"), content, 0o644)
		_, err := load(t, "--network", "simnet", "--config", path)
		mustRefuse(t, err, strings.ReplaceAll(says, "FILE", path))
		if strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error shows a value: %v", err)
		}
	}
	_, err := load(t, "--config", filepath.Join(dir, "none.toml"))
	mustRefuse(t, err, "does not exist")
	t.Setenv("RUNNEL_LOG_LEVLE", "debug")
	s := mustLoad(t, btcdArgs(dir)...)
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "RUNNEL_LOG_LEVEL") {
		t.Errorf("%v", s.Warnings)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	dir := clean(t)
	_, err := load(t, "--network", "simnet", "--api", "tcp:127.0.0.1:80", "--metrics", "0.0.0.0:9100", "--max-payment", "100",
		"--listen", "/ip4/1.2.3.4", "--listen", "1.2.3.4:5", "--log-level", "loud", "--log-format", "xml", "--accept-peer-deposit", "5sat",
		"--confirmations", "1sat=2", "--external-addr", "here", "--btcd.rpc-host", "localhost", "--btcd.rpc-cert", filepath.Join(dir, "none"))
	mustRefuse(t, err,
		"api: tcp:127.0.0.1:80: the API is not served over TCP, since that needs tokens and TLS",
		"metrics: 0.0.0.0:9100 can be reached from other machines",
		"max-payment: 100 has no unit | 100sat or 100msat?",
		"listen: /ip4/1.2.3.4 is neither TCP nor QUIC",
		`listen: "1.2.3.4:5"`,
		`log-level: "loud" is not a level`,
		`log-format: there is no format "xml"`,
		"accept-peer-deposit: 5 sat",
		"confirmations: the last tier",
		`external-addr: "here"`,
		`btcd.rpc-host: "localhost" is not a host and port`,
		"btcd.rpc-user: is not set",
		"btcd.rpc-pass-file: is not set",
		"btcd.rpc-cert: ")
}

func TestBackends(t *testing.T) {
	dir := clean(t)
	cookie := put(t, filepath.Join(dir, "cookie"), "__cookie__:1\n", 0o600)
	pass := filepath.Join(dir, "pass")
	for _, c := range []struct {
		args string
		says string // empty: right
	}{
		{"--network regtest --chain bitcoind --bitcoind.cookie " + cookie, ""},
		{"--network regtest --chain bitcoind --bitcoind.rpc-user u --bitcoind.rpc-pass-file " + pass, ""},
		{"--network regtest --chain bitcoind --bitcoind.rpc-user u", "rpc-pass-file: is not set"},
		{"--network regtest --chain bitcoind --bitcoind.rpc-pass-file " + pass, "rpc-user: is not set"},
		{"--network regtest --chain bitcoind --bitcoind.rpc-user u --bitcoind.cookie " + cookie, "together with"},
		{"--network regtest --chain bitcoind", filepath.Join(".bitcoin", "regtest", ".cookie")},
		{"--network simnet --chain bitcoind", "bitcoind has no simnet"},
		{"--network signet --chain neutrino", ""},
		{"--network simnet --chain neutrino", "no public nodes"},
		{"--network simnet --chain neutrino --neutrino.peer 127.0.0.1:18555", ""},
		{"--network simnet --chain neutrino --neutrino.peer here", "host and port"},
		{"--network simnet --chain lnd", "btcd, bitcoind, neutrino"},
		{"--network simnet --chain neutrino --neutrino.peer 127.0.0.1:1 --fee-url http://127.0.0.1:3000/fees", ""},
		{"--network simnet --chain neutrino --neutrino.peer 127.0.0.1:1 --fee-url http://example.com/fees", "only https"},
		{"--network simnet --chain neutrino --neutrino.peer 127.0.0.1:1 --fee-url file:///etc/passwd", "not an address"},
	} {
		_, err := load(t, strings.Fields(c.args)...)
		if c.says == "" && err != nil {
			t.Errorf("%s: %v", c.args, err)
		} else if c.says != "" {
			mustRefuse(t, err, c.says)
		}
	}
	s := mustLoad(t, "--network", "regtest", "--chain", "bitcoind", "--bitcoind.cookie", cookie, "--bitcoind.rpc-host", "10.0.0.1:8332")
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "TLS") {
		t.Errorf("%v", s.Warnings)
	}
}

func TestSecrets(t *testing.T) {
	dir := clean(t)
	if s, err := ReadSecret(filepath.Join(dir, "pass")); err != nil || s != "sesame" {
		t.Errorf("%q, %v", s, err)
	}
	if _, err := ReadSecret(put(t, filepath.Join(dir, "g"), "x", 0o640)); err != nil {
		t.Errorf("readable by the group: %v", err)
	}
	for name, err := range map[string]error{
		"read by others":    read(t, dir, "rosebud", 0o604),
		"changed by group":  read(t, dir, "rosebud", 0o620),
		"empty":             read(t, dir, "\n", 0o600),
		"two lines":         read(t, dir, "rosebud\nb\n", 0o600),
		"huge":              read(t, dir, strings.Repeat("rosebud", 1000), 0o600),
		"a directory":       func() error { _, err := ReadSecret(dir); return err }(),
		"which isn't there": func() error { _, err := ReadSecret(filepath.Join(dir, "none")); return err }(),
	} {
		if err == nil {
			t.Errorf("a secret %s is accepted", name)
		} else if strings.Contains(err.Error(), "rosebud") {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
	put(t, filepath.Join(dir, "pass"), "sesame\n", 0o644)
	_, err := load(t, btcdArgs(dir)...)
	mustRefuse(t, err, "btcd.rpc-pass-file: other users can read", "chmod 600")
}

func read(t *testing.T, dir, content string, mode os.FileMode) error {
	t.Helper()
	_, err := ReadSecret(put(t, filepath.Join(dir, "s"), content, mode))
	return err
}

func TestDataDirOfOthers(t *testing.T) {
	dir := clean(t)
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := load(t, btcdArgs(dir, "--data-dir", open)...)
	mustRefuse(t, err, "chmod 700")
	_, err = load(t, btcdArgs(dir, "--data-dir", filepath.Join(dir, "pass"))...)
	mustRefuse(t, err, "is a file")
	_, err = load(t, btcdArgs(dir, "--data-dir", filepath.Join(dir, strings.Repeat("long", 40)))...)
	mustRefuse(t, err, "socket path", "shorter")
}

func TestReload(t *testing.T) {
	dir := clean(t)
	file := filepath.Join(dir, "c.toml")
	write := func(content string) { put(t, file, content, 0o644) }
	write("log-level = \"info\"\nmax-payment = \"5sat\"\n")
	s := mustLoad(t, btcdArgs(dir, "--config", file, "--blind-cap", "3sat")...)

	write("log-level = \"debug\"\nmax-payment = \"6sat\"\nblind-cap = \"9sat\"\nlisten = \"/ip4/127.0.0.1/tcp/1\"\n")
	r, err := s.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if want := []Change{{"max-payment", "5sat", "6sat"}, {"log-level", "info", "debug"}}; !slices.Equal(r.Applied, want) {
		t.Errorf("applied %v", r.Applied)
	}
	if len(r.NeedRestart) != 1 || r.NeedRestart[0].Key != "listen" {
		t.Errorf("need a restart: %v", r.NeedRestart)
	}
	c := r.Settings.Config
	if c.LogLevel != slog.LevelDebug || c.Limits.MaxPayment != 6000 || c.Limits.BlindCap != 3000 || !slices.Equal(c.Listen, s.Config.Listen) {
		t.Errorf("%+v", c)
	}
	if s.Config.LogLevel != slog.LevelInfo || s.Config.Limits.MaxPayment != 5000 {
		t.Error("the settings before the reload have changed")
	}

	write("max-payment = \"6\"\n")
	if _, err = r.Settings.Reload(); err == nil {
		t.Error("a wrong file was accepted")
	}
	write("max-payment = \"6sat\"\nlog-level = \"debug\"\nlisten = \"/ip4/127.0.0.1/tcp/1\"\n")
	if r, err = r.Settings.Reload(); err != nil || len(r.Applied) != 0 || len(r.NeedRestart) != 1 {
		t.Errorf("nothing changed since, but %+v, %v", r, err)
	}
}

func command(t *testing.T, args ...string) (out, errs string, got *Settings, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := newCommand(func(_ context.Context, s *Settings) error { got = s; return nil })
	root.SetArgs(args)
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err = root.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), got, err
}

func TestCommand(t *testing.T) {
	dir := clean(t)
	if _, errs, s, err := command(t, btcdArgs(dir)...); err != nil || s == nil || s.Config.Network != "simnet" {
		t.Errorf("%v %s", err, errs)
	}
	for _, args := range [][]string{nil, {"--nope"}, {"start"}, {"--network", "simnet", "--max-payment", "5"}, {"check-config"}} {
		out, errs, s, err := command(t, args...)
		if !errors.Is(err, errUsage) || s != nil || !strings.HasPrefix(errs, "error: ") || !strings.Contains(errs, "\nhint: ") {
			t.Errorf("%v: %v, %q, %q", args, err, out, errs)
		}
	}
}

func TestCheckConfig(t *testing.T) {
	dir := clean(t)
	t.Setenv("RUNNEL_BTCD_RPC_USER", "v")
	args := slices.Concat([]string{"check-config"}, btcdArgs(dir)[:2], btcdArgs(dir)[4:])
	out, errs, s, err := command(t, args...)
	if err != nil || s != nil || errs != "" {
		t.Fatalf("%v, %s", err, errs)
	}
	for _, part := range []string{"SETTING", "simnet", "environment", "default", "127.0.0.1:18556", "These settings are right."} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in\n%s", part, out)
		}
	}
	if strings.Contains(out, "sesame") {
		t.Error("the password is shown")
	}
	out, errs, _, err = command(t, append(args, "--log-level", "loud")...)
	if !errors.Is(err, errUsage) || !strings.Contains(out, "SETTING") || !strings.Contains(errs, "loud") {
		t.Errorf("%v\n%s\n%s", err, out, errs)
	}
}

func TestHelp(t *testing.T) {
	clean(t)
	for _, args := range [][]string{{"--help"}, {"check-config", "--help"}} {
		out, _, _, err := command(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(out, "\n") {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
			}
		}
		for _, s := range settings() {
			if !strings.Contains(out, "--"+s.key) {
				t.Errorf("%v does not tell of --%s", args, s.key)
			}
		}
	}
}
