package itest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire"
)

// The documents are held to the programs that they describe.

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func documents(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../docs/*.md")
	if err != nil || len(list) == 0 {
		t.Fatal("no documents", err)
	}
	for i := range list {
		list[i] = filepath.Join("docs", filepath.Base(list[i]))
	}
	return append(list, "README.md")
}

// fences returns the fenced blocks of a language.
func fences(text, language string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestDocumentLinks(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, doc := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, doc), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			path := doc
			if to != "" {
				path = filepath.Join(filepath.Dir(doc), to)
			}
			info, err := os.Stat(filepath.Join("..", path))
			if os.IsNotExist(err) && strings.Contains(makefile, "-write "+path) {
				continue // measured and not yet written down
			}
			if err != nil {
				t.Errorf("%s: the link %s leads nowhere", doc, m[1])
			} else if anchor != "" && (info.IsDir() || !slices.Contains(anchors(read(t, path)), anchor)) {
				t.Errorf("%s: %s has no heading for #%s", doc, path, anchor)
			}
		}
	}
}

// anchors are a document's headings in the form that links use.
func anchors(text string) (list []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, strings.ReplaceAll(name, " ", "-"))
	}
	return list
}

// TestSectionsInComments: a comment that names a section of protocol.md finds it.
func TestSectionsInComments(t *testing.T) {
	text := read(t, "docs/protocol.md")
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`protocol\.md (\d+)`).FindAllStringSubmatch(string(b), -1) {
			if !strings.Contains(text, "\n## "+m[1]+". ") {
				t.Errorf("%s names section %s of protocol.md, which is not there", path, m[1])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadmeNamesTheTargets(t *testing.T) {
	readme, makefile := read(t, "README.md"), read(t, "Makefile")
	for _, target := range []string{"demo", "test", "build", "bench"} {
		if !strings.Contains(readme, "make "+target) || !strings.Contains(makefile, "\n"+target+":") {
			t.Errorf("make %s is not in both README.md and Makefile", target)
		}
	}
}

func TestReadmeGo(t *testing.T) {
	blocks := fences(read(t, "README.md"), "go")
	source := read(t, "itest/readme_test.go")
	_, source, _ = strings.Cut(source, "// readme begins\n")
	source, _, _ = strings.Cut(source, "\t// readme ends")
	source = strings.ReplaceAll("\n"+source, "\n\t", "\n")
	if len(blocks) != 1 || blocks[0] != source[1:] {
		t.Errorf("the README's Go differs from readme_test.go, which compiles:\n%s", blocks)
	}
}

var (
	called = regexp.MustCompile(`\b(?:bin/)?(runneld?) ([^|)#\n]*)`)
	flag   = regexp.MustCompile(`(?:^| )(--?[a-z][a-z.-]*)`)
)

// TestCommands: every command line in the documents is one that the programs know.
func TestCommands(t *testing.T) {
	bin := binaries(t)
	help := map[string]string{}
	for _, doc := range documents(t) {
		for _, block := range fences(read(t, doc), "sh") {
			for _, m := range called.FindAllStringSubmatch(block, -1) {
				verb := verbOf(m[1], strings.Fields(m[2]))
				if _, ok := help[verb]; !ok {
					out, err := exec.Command(filepath.Join(bin, m[1]), append(strings.Fields(verb)[1:], "--help")...).CombinedOutput()
					help[verb] = string(out)
					if err != nil || !strings.Contains(help[verb], verb) {
						t.Errorf("%s: %q is no command: %s", doc, verb, out)
					}
				}
				for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
					if !regexp.MustCompile(`(?m)(^|[ ,])` + regexp.QuoteMeta(f[1]) + `\b`).MatchString(help[verb]) {
						t.Errorf("%s: %s has no flag %s", doc, verb, f[1])
					}
				}
			}
		}
	}
	if len(help) < 10 {
		t.Errorf("only %d commands were found in the documents", len(help))
	}
}

// verbOf is the command without global flags and arguments.
func verbOf(program string, words []string) string {
	if program == "runneld" {
		return program
	}
	for len(words) > 1 && (words[0] == "--node" || words[0] == "--data-dir") {
		words = words[2:]
	}
	if len(words) > 1 && (words[0] == "dev" && words[1] == "mine" || words[0] == "log") {
		return program + " " + words[0] + " " + words[1]
	}
	return program + " " + words[0]
}

func TestSettingsInOperations(t *testing.T) {
	out, err := exec.Command(filepath.Join(binaries(t), "runneld"), "--help").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	same(t, "settings", rows(read(t, "docs/operations.md"), `--[a-z.-]+`), found(string(out), `(?m)^ {2,6}(?:-\w, )?(--[a-z.-]+) `, "--help"))
}

func TestMetricsInOperations(t *testing.T) {
	same(t, "metrics", rows(read(t, "docs/operations.md"), `runnel_[a-z_]+`), found(read(t, "daemon/health.go"), `"(runnel_[a-z_]+)"`))
}

func TestCodesInOperations(t *testing.T) {
	text := read(t, "docs/operations.md")
	exits := map[string]string{"exitFailed": "1", "exitUsage": "2", "exitRefused": "4", "exitPending": "5"}
	names := map[string]string{"codeDeclined": "declined", "codeReceipt": "invalid_receipt"}
	for _, m := range regexp.MustCompile(`(code\w+)\s+channel\.Code = "(\w+)"`).FindAllStringSubmatch(read(t, "cmd/runnel/fetch_error.go"), -1) {
		names[m[1]] = m[2]
	}
	for _, m := range regexp.MustCompile(`(Code\w+)\s+Code = "(\w+)"`).FindAllStringSubmatch(read(t, "channel/report.go"), -1) {
		names["channel."+m[1]] = m[2]
	}
	table := regexp.MustCompile(`((?:channel\.|code)\w+): +\{(exit\w+),`).FindAllStringSubmatch(read(t, "cmd/runnel/errors.go"), -1)
	if len(table) != len(names) {
		t.Errorf("%d codes and %d lines of advice", len(names), len(table))
	}
	for _, m := range table {
		if row := fmt.Sprintf("| `%s` | %s | ", names[m[1]], exits[m[2]]); !strings.Contains(text, row) {
			t.Errorf("operations.md has no row that begins with %s", row)
		}
	}
}

func TestCodesInProtocol(t *testing.T) {
	text := read(t, "docs/protocol.md")
	codes := append(found(read(t, "channel/errors.go"), `Deny\w+ += "(\w+)"`), found(read(t, "wire/errors.go"), `Code\w+ += "(\w+)"`)...)
	for _, code := range codes {
		if !strings.Contains(text, "`"+code+"`") {
			t.Errorf("protocol.md does not explain the code %s", code)
		}
	}
	for _, m := range found(read(t, "wire/wirepb/wire.proto"), `(?m)^    \w+ (\w+) = \d+;`) {
		if !strings.Contains(text, "`"+m+"`") {
			t.Errorf("protocol.md does not name the message %s", m)
		}
	}
}

func TestLimitsInProtocol(t *testing.T) {
	limits := map[string]uint64{
		"channel.ReserveSat": uint64(channel.ReserveSat), "channel.MinDeposit": uint64(channel.MinDeposit), "channel.DustSat": uint64(channel.DustSat), "channel.MinReturn": uint64(channel.MinReturn),
		"channel.MaxMoney": uint64(channel.MaxMoney), "channel.MaxRefBytes": channel.MaxRefBytes, "channel.MaxTextBytes": channel.MaxTextBytes,
		"channel.MaxFramePayments": channel.MaxFramePayments, "channel.DefaultWindow": channel.DefaultWindow, "channel.MaxWindow": channel.MaxWindow,
		"channel.MaxPayoutScript": channel.MaxPayoutScript, "channel.MaxCloseInputs": channel.MaxCloseInputs,
		"channel.DeepConfirmations": channel.DeepConfirmations, "channel.CloseTimeout": channel.CloseTimeout, "channel.AskBlocks": channel.AskBlocks,
		"channel.DrawWindow": channel.DrawWindow, "channel.MaxAway": channel.MaxAway, "channel.MaxOpenDraws": channel.MaxOpenDraws, "channel.MaxReportDraws": channel.MaxReportDraws,
		"wire.MaxMessage": wire.MaxMessage, "wire.MaxHello": wire.MaxHello, "wire.MaxCold": wire.MaxCold, "wire.MaxAckRefused": wire.MaxAckRefused,
		"wire.MaxCloseTx": wire.MaxCloseTx, "wire.MaxVersions": wire.MaxVersions, "wire.MaxFeatures": wire.MaxFeatures,
		"wire.MaxFeatureBit": wire.MaxFeatureBit, "wire.MaxAgentBytes": wire.MaxAgentBytes, "wire.MaxCodeBytes": wire.MaxCodeBytes, "wire.MaxTime": wire.MaxTime,
	}
	text := read(t, "docs/protocol.md")
	var names []string
	for name, value := range limits {
		names = append(names, name)
		if row := regexp.MustCompile("(?m)^\\| `" + name + "` \\| " + commas(value) + "( |$)"); !row.MatchString(text) {
			t.Errorf("protocol.md does not say that %s is %s", name, commas(value))
		}
	}
	var declared []string
	for _, room := range []string{"channel", "wire"} {
		for _, name := range found(read(t, room+"/limits.go"), `(?m)^\t([A-Z]\w+)(?: Sat)? += `) {
			declared = append(declared, room+"."+name)
		}
	}
	same(t, "limits", names, slices.DeleteFunc(declared, func(s string) bool { return strings.HasSuffix(s, "Heights") }))
}

// TestHeightsInProtocol: the table of section 8 has the figures of both kinds of network.
func TestHeightsInProtocol(t *testing.T) {
	text := read(t, "docs/protocol.md")
	real, test := channel.RealHeights, channel.TestHeights
	for _, row := range []string{
		fmt.Sprintf("| life | %s + random 0-%d | %d + random 0-%d |", commas(uint64(real.Life)), real.LifeRandom, test.Life, test.LifeRandom),
		fmt.Sprintf("| shortest, longest life | %d, %s | %d, %s |", real.MinLife, commas(uint64(real.MaxLife)), test.MinLife, commas(uint64(test.MaxLife))),
		fmt.Sprintf("| stop, before expiry | %d | %d |", real.Stop, test.Stop),
		fmt.Sprintf("| payer's stop, before stop | %d | %d |", real.PayerStop, test.PayerStop),
		fmt.Sprintf("| escalate, before expiry | %d | %d |", real.Escalate, test.Escalate),
		fmt.Sprintf("| close stop, before expiry | %d | %d |", real.CloseStop, test.CloseStop),
		fmt.Sprintf("| abandon, after opening | %d | %d |", real.Abandon, test.Abandon),
	} {
		if !strings.Contains(text, row) {
			t.Errorf("protocol.md does not have the row %s", row)
		}
	}
}

func commas(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// rows are the names in the first column of a document's tables.
func rows(text, name string) []string { return found(text, "(?m)^\\| `("+name+")`") }

func found(text, pattern string, except ...string) (list []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(except, m[1]) {
			list = append(list, m[1])
		}
	}
	return list
}

func same(t *testing.T, what string, documented, real []string) {
	t.Helper()
	if len(real) == 0 {
		t.Fatalf("no %s were found in the program", what)
	}
	for _, name := range real {
		if !slices.Contains(documented, name) {
			t.Errorf("%s: %s is not documented", what, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(real, name) {
			t.Errorf("%s: %s is documented and does not exist", what, name)
		}
	}
}

// TestTour types the README's tour into a shell, line by line.
func TestTour(t *testing.T) {
	_, tour, _ := strings.Cut(read(t, "README.md"), "\n## A five-minute tour\n")
	tour, _, _ = strings.Cut(tour, "\n## ")
	blocks := fences(tour, "sh")
	if len(blocks) < 5 || blocks[0] != "make build\nbin/runnel dev\n" {
		t.Fatalf("the tour has changed; this test begins after its first block:\n%s", blocks)
	}
	shell := newShell(t)
	for _, block := range blocks[1:] {
		for line := range strings.Lines(block) {
			shell.line(strings.TrimSuffix(line, "\n"))
		}
	}
	if out := shell.line("runnel --node alice channel $CHANNEL"); !regexp.MustCompile(`(?m)^phase +closed`).MatchString(out) {
		t.Errorf("the tour ends with\n%s", out)
	}
}

// shell is a terminal beside a `runnel dev` of its own.
type shell struct {
	t   *testing.T
	in  *os.File
	out *bufio.Reader
}

func newShell(t *testing.T) *shell {
	root, home := t.TempDir(), t.TempDir()
	if err := os.Symlink(binaries(t), filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), worldTime())
	t.Cleanup(cancel)
	env := append(os.Environ(), "RUNNEL_HOME="+home, "NO_COLOR=1")
	start := func(name string, args ...string) (*exec.Cmd, *bufio.Reader, *os.File) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.Env = root, env
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 20 * time.Second
		inR, inW, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		outR, outW, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, outW
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		inR.Close()
		outW.Close()
		t.Cleanup(func() { inW.Close(); outR.Close() })
		return cmd, bufio.NewReader(outR), inW
	}
	dev, said, _ := start("bin/runnel", "dev")
	t.Cleanup(func() {
		_ = dev.Process.Signal(os.Interrupt)
		if err := dev.Wait(); err != nil {
			t.Errorf("runnel dev ended badly: %v", err)
		}
	})
	for line := ""; !strings.Contains(line, "is gone after Ctrl-C"); {
		var err error
		if line, err = said.ReadString('\n'); err != nil {
			t.Fatalf("runnel dev did not start: %v %s", err, line)
		}
	}
	sh, out, in := start("sh")
	t.Cleanup(func() { in.Close(); _ = sh.Wait() })
	return &shell{t, in, out}
}

// line types one line and returns what it printed. What must wait for the chain, or for a peer that is a
// moment behind, is typed again with a block in between, as a person would do; nothing is paid by a line
// that failed.
func (s *shell) line(text string) string {
	s.t.Helper()
	for try := 0; ; try++ {
		out, ok := s.run(text)
		if ok && !strings.Contains(out, "settling") {
			s.t.Logf("$ %s\n%s", text, out)
			return out
		}
		if try == 60 {
			s.t.Fatalf("$ %s\n%s", text, out)
		}
		time.Sleep(200 * time.Millisecond)
		if _, ok := s.run("runnel dev mine"); !ok {
			s.t.Fatal("no block could be mined")
		}
	}
}

func (s *shell) run(text string) (out string, ok bool) {
	const end = "-- exit "
	if _, err := fmt.Fprintf(s.in, "%s\necho '%s'$?\n", text, end); err != nil {
		s.t.Fatal(err)
	}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("the shell ended: %v\n%s", err, out)
		}
		if code, found := strings.CutPrefix(line, end); found {
			return out, code == "0\n"
		}
		out += line
	}
}
