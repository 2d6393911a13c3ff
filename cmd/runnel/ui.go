package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/fatih/color"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
)

const blockTime = amount.BlockTime

// ui prints for people: aligned, and in colour when it may.
type ui struct {
	w      io.Writer
	colour bool
	now    time.Time
	failed error // of writing: a full disk or a closed pipe is not success
}

func newUI(w io.Writer, colour bool, now time.Time) *ui { return &ui{w: w, colour: colour, now: now} }

func (u *ui) line(format string, args ...any) {
	if _, err := fmt.Fprintf(u.w, format+"\n", args...); err != nil && u.failed == nil {
		u.failed = err
	}
}

func (u *ui) paint(s string, attrs ...color.Attribute) string {
	if !u.colour || s == "" {
		return s
	}
	c := color.New(attrs...)
	c.EnableColor()
	return c.Sprint(s)
}

func (u *ui) bold(s string) string   { return u.paint(s, color.Bold) }
func (u *ui) dim(s string) string    { return u.paint(s, color.Faint) }
func (u *ui) red(s string) string    { return u.paint(s, color.FgRed, color.Bold) }
func (u *ui) green(s string) string  { return u.paint(s, color.FgGreen) }
func (u *ui) yellow(s string) string { return u.paint(s, color.FgYellow) }

// word colours a phase or the fate of a payment.
func (u *ui) word(s string) string {
	switch strings.TrimSpace(s) {
	case "open", "acknowledged", "connected":
		return u.green(s)
	case "recovering", "refused", "alert":
		return u.red(s)
	case "agreed", "closing", "settling", "pending":
		return u.yellow(s)
	case "closed", "abandoned", "none":
		return u.dim(s)
	}
	return s
}

// fields prints name and value a line. Empty values are left away.
func (u *ui) fields(pairs ...[2]string) {
	width := 0
	for _, p := range pairs {
		if p[1] != "" {
			width = max(width, utf8.RuneCountInString(p[0]))
		}
	}
	for _, p := range pairs {
		if p[1] != "" {
			u.line("%s  %s", u.dim(pad(p[0], width, false)), p[1])
		}
	}
}

// table is rows below a head. A column whose head starts with > is aligned to the right.
type table struct {
	head  []string
	rows  [][]string
	notes []string // a line below a row; may be empty
	style func(u *ui, column int, padded string) string
}

func (t *table) add(note string, cells ...string) {
	t.rows = append(t.rows, cells)
	t.notes = append(t.notes, note)
}

func (t *table) print(u *ui) {
	widths := make([]int, len(t.head))
	for i, h := range t.head {
		widths[i] = utf8.RuneCountInString(strings.TrimPrefix(h, ">"))
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	head := make([]string, len(t.head))
	for i, h := range t.head {
		head[i] = pad(strings.TrimPrefix(h, ">"), widths[i], strings.HasPrefix(h, ">"))
	}
	u.line("%s", u.dim(strings.TrimRight(strings.Join(head, "  "), " ")))
	for r, row := range t.rows {
		cells := make([]string, len(row))
		for i, s := range row {
			if cells[i] = pad(s, widths[i], strings.HasPrefix(t.head[i], ">")); t.style != nil {
				cells[i] = t.style(u, i, cells[i])
			}
		}
		u.line("%s", strings.TrimRight(strings.Join(cells, "  "), " "))
		if t.notes[r] != "" {
			u.line("  %s", u.yellow(t.notes[r]))
		}
	}
}

func pad(s string, width int, right bool) string {
	space := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
	if right {
		return space + s
	}
	return s + space
}

// printable makes text that others chose harmless: no control codes reach the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
}

// shortPeer is enough of a peer id to tell peers apart and to type: ids of one key type all start alike.
func shortPeer(p channel.PeerID) string { return cut(string(p), 14) }

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// shortIDs returns prefixes of the ids, of one length, at least 8, that tell them apart.
func shortIDs(ids []channel.ID) map[channel.ID]string {
	for n := 8; ; n += 4 {
		seen, short := map[string]channel.ID{}, map[channel.ID]string{}
		clash := false
		for _, id := range ids {
			s := cut(id.String(), n)
			other, ok := seen[s]
			clash = clash || ok && other != id
			seen[s], short[id] = id, s
		}
		if !clash || n >= 64 {
			return short
		}
	}
}

// count shows an integer with separators.
func count[T ~int | ~uint32 | ~uint64 | ~int64](n T) string { return humanize.Comma(int64(n)) }

// ago tells how long ago t was; dates when it was long ago.
func (u *ui) ago(t time.Time) string {
	switch d := u.now.Sub(t); {
	case d < 2*time.Second:
		return "now"
	case d < 14*24*time.Hour:
		return span(d) + " ago"
	}
	return t.Local().Format("2006-01-02")
}

// until tells how far away t is.
func (u *ui) until(t time.Time) string {
	if d := t.Sub(u.now); d > 0 {
		return "in " + span(d)
	}
	return "passed"
}

// span is a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}
