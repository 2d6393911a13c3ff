package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
)

// maxEvent bounds one server-sent event: it is held until it is whole.
const maxEvent = 1 << 20

var errEventTooLong = errors.New("an event is too long")

// eventCutter cuts a stream of server-sent events into events without changing a byte.
type eventCutter struct {
	buf  []byte
	scan eventScan
}

// push takes what came.
func (c *eventCutter) push(p []byte) { c.buf = append(c.buf, p...) }

// next returns a whole event, or nil.
func (c *eventCutter) next() ([]byte, error) {
	if c.scan.end(c.buf) {
		return c.take(), nil
	}
	if len(c.buf) > maxEvent {
		return nil, errEventTooLong
	}
	return nil, nil
}

// take hands out what was scanned; of an empty line's CRLF the LF goes with it if it is there.
func (c *eventCutter) take() []byte {
	if at := c.scan.at; c.scan.cr && at < len(c.buf) && c.buf[at] == '\n' {
		c.scan.at, c.scan.cr = at+1, false
	}
	e := bytes.Clone(c.buf[:c.scan.at])
	c.buf = append(c.buf[:0], c.buf[c.scan.at:]...)
	c.scan.at = 0
	return e
}

// rest is what did not end.
func (c *eventCutter) rest() []byte { return c.buf }

// tally counts the units of an answer.
type tally struct {
	unit  Unit
	units uint64
	exact bool // the answer said itself how many tokens it has
}

// event counts a whole event.
func (t *tally) event(e []byte) {
	_, data, ok := eventFields(e)
	switch t.unit {
	case UnitByte:
		t.units += uint64(len(e))
	case UnitEvent:
		if ok {
			t.units++
		}
	case UnitToken:
		if ok {
			t.token(data)
		}
	}
}

// completion is what services that speak like OpenAI's send.
type completion struct {
	Choices []struct {
		Text  string `json:"text"`
		Delta struct {
			Content   string          `json:"content"`
			Reasoning string          `json:"reasoning_content"`
			Refusal   string          `json:"refusal"`
			Tools     json.RawMessage `json:"tool_calls"`
		} `json:"delta"`
	} `json:"choices"`
	Usage *struct {
		Completion uint64 `json:"completion_tokens"`
		Output     uint64 `json:"output_tokens"`
	} `json:"usage"`
}

func (c *completion) tokens() (n uint64, ok bool) {
	if c.Usage == nil {
		return 0, false
	}
	n = max(c.Usage.Completion, c.Usage.Output)
	return n, n > 0
}

// token counts one for each event that carries text; a usage in the answer is exact and counts instead. Fewer
// than were delivered it does not become.
func (t *tally) token(data []byte) {
	if string(data) == "[DONE]" {
		return
	}
	var c completion
	if len(data) > 0 && data[0] == '{' && json.Unmarshal(data, &c) == nil {
		if n, ok := c.tokens(); ok {
			t.units, t.exact = max(t.units, n), true
			return
		}
		if c.Choices != nil && !c.speaks() {
			return
		}
	}
	if !t.exact {
		t.units++
	}
}

func (c *completion) speaks() bool {
	for _, one := range c.Choices {
		if d := one.Delta; one.Text != "" || d.Content != "" || d.Reasoning != "" || d.Refusal != "" || len(d.Tools) > 4 {
			return true
		}
	}
	return false
}

// usage reads the tokens of a whole answer that is JSON: what it says, or one for an answer that says nothing.
func usage(body []byte) uint64 {
	var c completion
	if json.Unmarshal(body, &c) == nil {
		if n, ok := c.tokens(); ok {
			return n
		}
	}
	return 1
}
