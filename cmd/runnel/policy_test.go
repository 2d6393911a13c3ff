package main

import (
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
)

func TestRules(t *testing.T) {
	for line, asked := range map[string]string{
		"limits":                                 "limits",
		"limits set budget-per-day 50_000sat":    "set budget-per-day 50000000",
		"limits set budget-per-day none":         "set budget-per-day 2100000000000000000",
		"limits set approve-sends-above 0sat":    "set approve-sends-above 0",
		"limits set max-channels-per-peer 3":     "set max-channels-per-peer 3",
		"limits set min-free-disk 1GB":           "set min-free-disk 1073741824",
		"limits reset max-payment":               "reset max-payment",
		"limits reset":                           "reset ",
		"limits preset strict":                   "preset strict",
		"approvals":                              "approvals",
		"approve aa01":                           "approve aa01",
		"deny aa01":                              "deny aa01",
		"freeze":                                 "freezes",
		"freeze all --why laptop":                "freeze all",
		"unfreeze 3fa9":                          "unfreeze 3fa9",
		"limits set tiny-payment 10sat --json":   "set tiny-payment 10000",
		"approvals --all --json":                 "approvals",
		"freeze 3fa9 --json":                     "freeze 3fa9",
		"limits set new-peer-blocks 1008 --json": "set new-peer-blocks 1008",
	} {
		s := newSession(t)
		o := s.line(line)
		if o.code != 0 || !strings.Contains(strings.Join(s.node.asked, "\n")+"\n", asked+"\n") {
			t.Errorf("%s: exit %d, %q, asked %q", line, o.code, o.err, s.node.asked)
		}
	}
	for line, says := range map[string]string{
		"limits set budget 5sat":                    "there is no limit",
		"limits set budget-per-day 5":               "runnel",
		"limits set max-channels-per-peer many":     "not a whole number",
		"limits set max-channels-per-peer none":     "not a whole number",
		"limits set min-free-disk 256":              "not a size",
		"limits set budget-per-day":                 "",
		"approve":                                   "",
		"limits set min-free-disk 99999999999999GB": "not a size",
	} {
		s := newSession(t)
		if o := s.line(line); o.code != exitUsage || len(s.node.asked) > 0 || says != "runnel" && !strings.Contains(o.err, says) {
			t.Errorf("%s: exit %d, %q, asked %q", line, o.code, o.err, s.node.asked)
		}
	}
}

// A yes to a payment that the payee refused is no success.
func TestApproveTellsTheFate(t *testing.T) {
	s := newSession(t)
	s.node.payRes.Status, s.node.payRes.Reason = channel.PayRefused, channel.RefusedDisk
	if o := s.line("approve aa01"); o.code != exitFailed || !strings.Contains(o.err, "disk_full") {
		t.Errorf("exit %d, %s", o.code, o.err)
	}
}
