package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
)

const freezeHelp = `Stop everything that pays out, at once: on a channel, to a peer, or at all. No
voucher is signed, no channel opened and, with all, nothing sent on the chain;
what was signed before stays signed. What brings money home goes on: closes,
settlements, refunds, and payments of peers to you.

It holds over restarts, until ` + "`runnel unfreeze`" + `. Without a target it lists what
is frozen.`

func freezeCommand(a *app) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "freeze [CHANNEL|PEER|all]",
		Short: "Stop everything that pays out, at once",
		Long:  freezeHelp,
		Example: `  runnel freeze all --why "laptop stolen"
  runnel freeze 3fa9c1d2
  runnel freeze`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeTargets,
		RunE: a.verb(func(c *call) error {
			if len(c.args) == 0 {
				return c.listFreezes()
			}
			f, err := c.node.Freeze(c.ctx, c.args[0], why)
			if err != nil {
				return err
			}
			return c.show(viewFreeze(f), func(u *ui) {
				u.line("%s: %s; end it with: runnel unfreeze %s", u.yellow("frozen"), frozenName(f), c.args[0])
			})
		}),
	}
	cmd.Flags().StringVar(&why, "why", "", "a note for later, `TEXT`")
	cmd.RegisterFlagCompletionFunc("why", noCompletion)
	return cmd
}

func unfreezeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "unfreeze CHANNEL|PEER|all",
		Short:             "End a freeze",
		Long:              "Ends a freeze. Frozen channels and peers stay so when only `all` ends.",
		Example:           "  runnel unfreeze all",
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeTargets,
		RunE: a.verb(func(c *call) error {
			f, err := c.node.Unfreeze(c.ctx, c.args[0])
			if err != nil {
				return err
			}
			return c.show(viewFreeze(f), func(u *ui) { u.line("not frozen any more: %s", frozenName(f)) })
		}),
	}
}

func (c *call) listFreezes() error {
	list, err := c.node.Freezes(c.ctx)
	if err != nil {
		return err
	}
	return showAll(c.app, each(list, viewFreeze), func(u *ui) {
		if len(list) == 0 {
			u.line("nothing is frozen")
			return
		}
		t := table{head: []string{"FROZEN", "SINCE", "BY", "WHY"}}
		for _, f := range list {
			t.add("", frozenName(f), time.UnixMilli(f.Since).UTC().Format("2 Jan 15:04"), f.By, printable(f.Why))
		}
		t.print(u)
	})
}

func frozenName(f channel.Freeze) string {
	switch f.Kind {
	case "all":
		return "everything that pays out"
	case "channel":
		return "channel " + cut(f.ID, 8)
	}
	return "peer " + shortPeer(channel.PeerID(f.ID))
}

type freezeView struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	By   string `json:"by"`
	Why  string `json:"why"`
	Time int64  `json:"time"`
}

func viewFreeze(f channel.Freeze) freezeView { return freezeView{f.Kind, f.ID, f.By, f.Why, f.Since} }
