package api

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/runnel/runnel/channel"
)

// httpStatus is what Connect makes of its codes.
var httpStatus = map[string]int{
	"invalid_argument": 400, "not_found": 404, "unavailable": 503, "failed_precondition": 400, "already_exists": 409,
	"resource_exhausted": 429, "aborted": 409, "deadline_exceeded": 504, "unimplemented": 501, "internal": 500,
}

// TestCodesAreComplete: every code of the channel package has a Connect code and a row in the docs.
func TestCodesAreComplete(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "channel", "report.go"))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile(filepath.Join("..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)`[^|]*\\| `(\\w+)` \\| (\\d+) \\| (yes)? ?\\|$").FindAllStringSubmatch(string(docs), -1) {
		rows[row[1]] = fmt.Sprint(row[2], row[3], row[4])
	}
	codes := regexp.MustCompile(`(?m)^\tCode\w+ +(?:Code )?= "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) != len(connectCodes) || len(rows) != len(connectCodes) {
		t.Errorf("%d codes, %d of them known here, %d in docs/api.md", len(codes), len(connectCodes), len(rows))
	}
	for _, m := range codes {
		code := channel.Code(m[1])
		wire, ok := connectCodes[code]
		if !ok {
			t.Errorf("%s has no Connect code", code)
			continue
		}
		want := wire.String() + strconv.Itoa(httpStatus[wire.String()]) + map[bool]string{true: "yes"}[code.Retryable()]
		if rows[string(code)] != want {
			t.Errorf("docs/api.md has %q for %s, want %q", rows[string(code)], code, want)
		}
	}
}
