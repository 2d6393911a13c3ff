package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
)

// receiptFile is a receipt of a payment of 5 msat on simnet, refused.
const receiptFile = "../../ledger/receipt/testdata/receipt.json"

func TestReceiptIsAFile(t *testing.T) {
	s := newSession(t)
	want, err := os.ReadFile(receiptFile)
	if err != nil {
		t.Fatal(err)
	}
	o := s.line("receipt " + payID + " --channel 3fa9")
	if o.code != 0 || o.out != string(want) || o.err != "" {
		t.Errorf("exit %d, %s\n%s", o.code, o.err, o.out)
	}
	if r := s.node.receipt; r.ID.String() != payID || r.Channel != "3fa9" {
		t.Errorf("asked for %+v", r)
	}
	o = s.line("receipt --json " + payID)
	if strings.Count(o.out, "\n") != 1 {
		t.Errorf("--json is not one line: %s", o.out)
	}
	s.in = o.out // and what it prints, it takes
	if o := s.line("receipt verify -"); o.code != 0 || !strings.Contains(o.out, "valid") {
		t.Errorf("exit %d, %s%s", o.code, o.out, o.err)
	}
	s.terminal = true
	if o := s.line("receipt " + payID); !strings.Contains(o.err, "runnel receipt verify FILE") {
		t.Errorf("a person is not told what to do with it: %s", o.err)
	}
}

func TestReceiptErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		exit int
		code string
	}{
		{channel.Faultf(channel.CodeNotFound, "no payment"), exitRefused, "not_found"},
		{channel.Faultf(channel.CodePending, "not yet"), exitPending, "pending"},
		{channel.Faultf(channel.CodePeerUnreachable, "away"), exitFailed, "peer_unreachable"},
		{channel.Faultf(channel.CodeUnsupported, "old"), exitRefused, "unsupported"},
		{context.DeadlineExceeded, exitPending, "pending"},
	} {
		s := newSession(t)
		s.node.err = c.err
		line := "receipt --json " + payID
		if c.err == context.DeadlineExceeded {
			line += " --timeout 1ns"
		}
		if o := s.line(line); o.code != c.exit || !strings.Contains(o.err, `"code":"`+c.code+`"`) || o.out != "" {
			t.Errorf("%v: exit %d, %s%s", c.err, o.code, o.out, o.err)
		}
	}
}

// Whatever is altered in the file, verify says so and exits with 1; it never needs a daemon.
func TestVerifyRefusesWhatWasAltered(t *testing.T) {
	file, err := os.ReadFile(receiptFile)
	if err != nil {
		t.Fatal(err)
	}
	good := string(file)
	path := filepath.Join(t.TempDir(), "receipt.json")
	for name, c := range map[string]struct {
		file string
		exit int
		says string
	}{
		"as it is":          {good, exitOK, ""},
		"another amount":    {strings.Replace(good, `"amount_msat": 5`, `"amount_msat": 500`, 1), exitFailed, "not in the log that was signed"},
		"another reference": {strings.Replace(good, `"ref": "ref`, `"ref": "Ref`, 1), exitFailed, "not in the log that was signed"},
		"accepted":          {strings.Replace(good, `"result": 1,`, `"result": 0,`, 1), exitFailed, "written in another way"},
		"another network":   {strings.Replace(good, `"simnet"`, `"regtest"`, 1), exitFailed, "not on regtest"},
		"unknown network":   {strings.Replace(good, `"simnet"`, `"moon"`, 1), exitFailed, `no network "moon"`},
		"cut off":           {good[:len(good)/2], exitFailed, "not a receipt"},
		"empty":             {"", exitFailed, "not a receipt"},
		"something else":    {`{"format":"invoice"}`, exitFailed, `format is "invoice"`},
		"newer":             {strings.Replace(good, `"version": 1`, `"version": 9`, 1), exitFailed, "version 9, this program knows 1"},
	} {
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSession(t)
		s.env = map[string]string{} // no daemon is to be found
		o := s.line("receipt verify --json " + path)
		var v receiptView
		_ = json.Unmarshal([]byte(o.out), &v)
		if o.code != c.exit || v.Valid != (c.exit == 0) || !strings.Contains(o.err, strings.ReplaceAll(c.says, `"`, `\"`)) || c.exit != 0 && !strings.Contains(o.err, `"invalid_receipt"`) {
			t.Errorf("%s: exit %d, %s%s", name, o.code, o.out, o.err)
		}
	}
	if o := newSession(t).line("receipt verify /does/not/exist"); o.code != exitUsage {
		t.Errorf("no file: exit %d, %s", o.code, o.err)
	}
	if o := newSession(t).line("receipt verify"); o.code != exitUsage || !strings.Contains(o.err, "FILE") {
		t.Errorf("no argument: exit %d, %s", o.code, o.err)
	}
}
