package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"
)

// trace is everything that happened, as a hash and its newest lines.
type trace struct {
	start time.Time
	sum   hash.Hash
	lines int
	last  []string // the newest, at most keepLines
	out   io.Writer
}

const keepLines = 400

func newTrace(out io.Writer) *trace {
	return &trace{start: time.Now(), sum: sha256.New(), out: out}
}

func (t *trace) note(format string, args ...any) {
	line := fmt.Sprintf("%d %v "+format+"\n", append([]any{t.lines, time.Since(t.start)}, args...)...)
	t.lines++
	_, _ = io.WriteString(t.sum, line)
	if t.out != nil {
		_, _ = io.WriteString(t.out, line)
	}
	if t.last = append(t.last, line); len(t.last) > 2*keepLines {
		t.last = append([]string(nil), t.last[keepLines:]...)
	}
}

func (t *trace) hash() string { return hex.EncodeToString(t.sum.Sum(nil)) }

// short is a digest of what is too long for a line.
func short(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:4])
}
