package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fatih/color"
	"github.com/schollz/progressbar/v3"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

const (
	width  = 78
	indent = "   "
)

// story prints for a person who reads along, and counts the sums that are right and wrong.
type story struct {
	w            io.Writer
	tty, colour  bool
	chapters     int
	right, wrong int
}

func newStory(w io.Writer, tty, colour bool) *story { return &story{w: w, tty: tty, colour: colour} }

func (s *story) paint(text string, attrs ...color.Attribute) string {
	c := color.New(attrs...)
	c.DisableColor()
	if s.colour {
		c.EnableColor()
	}
	return c.Sprint(text)
}

func (s *story) line(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

func (s *story) title(text string) { s.line("\n%s", s.paint(text, color.Bold)) }

func (s *story) chapter(name string) {
	s.chapters++
	s.line("\n%s", s.paint(fmt.Sprintf("%d. %s", s.chapters, name), color.Bold, color.FgCyan))
}

// text is prose, wrapped.
func (s *story) text(text string) {
	for _, line := range wrap(text, width-len(indent)) {
		s.line("%s%s", indent, line)
	}
}

func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// command shows a command line that runs now.
func (s *story) command(args []string) {
	s.line("%s%s", indent, s.paint("$ runnel "+strings.Join(args, " "), color.Faint))
}

// facts are names with what they stand for.
func (s *story) facts(pairs ...[2]string) {
	left, right := 0, 0
	for _, p := range pairs {
		left, right = max(left, utf8.RuneCountInString(p[0])), max(right, utf8.RuneCountInString(p[1]))
	}
	for _, p := range pairs {
		s.line("%s%s  %s", indent, padRight(p[0], left), padLeft(p[1], right))
	}
}

// sum is an amount as it has to be, and as it is.
type sum struct {
	what         string
	expect, have channel.Sat
}

// sums compares, and remembers what is wrong.
func (s *story) sums(all ...sum) {
	rows := [][3]string{{"", "expected", "on chain"}}
	for _, one := range all {
		rows = append(rows, [3]string{one.what, amount.Sat(one.expect), amount.Sat(one.have)})
	}
	var w [3]int
	for _, r := range rows {
		for i, cell := range r {
			w[i] = max(w[i], utf8.RuneCountInString(cell))
		}
	}
	for i, r := range rows {
		line := fmt.Sprintf("%s%s  %s  %s", indent, padRight(r[0], w[0]), padLeft(r[1], w[1]), padLeft(r[2], w[2]))
		if i == 0 {
			s.line("%s", s.paint(line, color.Faint))
			continue
		}
		s.line("%s  %s", line, s.verdict(all[i-1].expect == all[i-1].have))
	}
}

func (s *story) verdict(ok bool) string {
	if ok {
		s.right++
		return s.paint("✓", color.FgGreen)
	}
	s.wrong++
	return s.paint("✗ wrong", color.FgRed, color.Bold)
}

// check is a statement that has to be true.
func (s *story) check(what string, ok bool) {
	s.line("%s%s  %s", indent, what, s.verdict(ok))
}

// columns prints short cells side by side.
func (s *story) columns(cells []string) {
	widest := 0
	for _, c := range cells {
		widest = max(widest, utf8.RuneCountInString(c))
	}
	each := max(1, (width-len(indent)+2)/(widest+2))
	for i := 0; i < len(cells); i += each {
		line := ""
		for _, c := range cells[i:min(i+each, len(cells))] {
			line += padRight(c, widest+2)
		}
		s.line("%s%s", indent, strings.TrimRight(line, " "))
	}
}

// bar shows progress on a terminal, until it is finished.
func (s *story) bar(count int) *progressbar.ProgressBar {
	return progressbar.NewOptions(count, progressbar.OptionSetWriter(s.w), progressbar.OptionSetVisibility(s.tty),
		progressbar.OptionSetWidth(30), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("payments"),
		progressbar.OptionSetDescription("  "), progressbar.OptionThrottle(50*time.Millisecond), progressbar.OptionClearOnFinish())
}

func padRight(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}
func padLeft(s string, n int) string {
	return strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s))) + s
}
