package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/cmd/home"
	usageText "github.com/runnel/runnel/cmd/usage"
)

const rootHelp = `Runnel opens payment channels between two nodes and sends tiny payments
through them. This command talks to a running daemon, runneld.

Which daemon: --node NAME (or RUNNEL_NODE) picks one by name, --network the
one of a network, --data-dir and --api (unix:PATH) one that lives elsewhere.
Without any of them the only daemon that runs here is used. Data lives in
~/.runnel/NETWORK/; a second daemon of a network in ~/.runnel/NETWORK/NAME/ is
called NAME. RUNNEL_HOME replaces ~/.runnel. Flags come before RUNNEL_API,
RUNNEL_DATA_DIR, RUNNEL_NODE and RUNNEL_NETWORK.

Amounts carry their unit: 25msat, 5sat, 0.001btc; 1 sat is 1,000 msat;
1_000sat reads better. Fee rates are in sat/vB. Peers are named by id or
multiaddr, channels by id; the first characters of an id are enough, four or
more, if no other id begins like that.

--json prints one object, one a line for lists and streams. Errors go to
standard error, with --json as
{"error":{"code","message","hint","retryable"}}.

Exit codes: 0 done, 1 failed, 2 usage, 3 daemon unreachable, 4 refused and
nothing signed, 5 pending: it may still happen, 130 interrupted.`

const (
	groupMoney    = "money"
	groupWeb      = "web"
	groupChannels = "channels"
	groupWallet   = "wallet"
	groupNode     = "node"
)

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "runnel",
		Short: "Payment channels for tiny payments",
		Long:  rootHelp,
		Example: `  runnel status
  runnel connect /ip4/203.0.113.7/tcp/9745/p2p/16Uiu2HAm9x...
  runnel open 16Uiu2HAm9x --deposit 1_000_000sat --wait
  runnel pay 16Uiu2HAm9x 25sat --ref coffee`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var (
			typed *amount.Error
			bad   *usageError
		)
		switch {
		case errors.As(err, &typed):
			return err
		case errors.As(err, &bad):
			return usage(bad.hint, "%s", err)
		}
		return usage("`"+cmd.CommandPath()+" --help` lists the flags", "%s", err)
	})
	root.SuggestionsMinimumDistance = 2
	root.SetUsageFunc(usageText.Print)
	globalFlags(a, root)
	root.AddGroup(
		&cobra.Group{ID: groupMoney, Title: "Payments:"},
		&cobra.Group{ID: groupWeb, Title: "Paying over HTTP:"},
		&cobra.Group{ID: groupChannels, Title: "Channels and peers:"},
		&cobra.Group{ID: groupWallet, Title: "On-chain wallet:"},
		&cobra.Group{ID: groupNode, Title: "Node:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupMoney, payCommand(a), streamCommand(a), paymentsCommand(a), receiptCommand(a), watchCommand(a),
		approvalsCommand(a), approveCommand(a), denyCommand(a))
	add(groupWeb, fetchCommand(a), proxyCommand(a))
	add(groupChannels, openCommand(a), channelsCommand(a), channelCommand(a), closeCommand(a), settleCommand(a),
		connectCommand(a), disconnectCommand(a), peersCommand(a))
	add(groupWallet, addressCommand(a), balanceCommand(a), sendCommand(a), txsCommand(a), bumpCommand(a))
	add(groupNode, statusCommand(a), limitsCommand(a), freezeCommand(a), unfreezeCommand(a), logCommand(a), backupCommand(a), restoreCommand(a), stopCommand(a), versionCommand(a), devCommand(a))
	return root
}

func globalFlags(a *app, root *cobra.Command) {
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print JSON for programs")
	f.StringVar(&a.sel.Node, "node", "", "talk to the daemon with this `NAME`")
	f.StringVar(&a.sel.Network, "network", "", "talk to the daemon of this `NETWORK`")
	f.StringVar(&a.sel.DataDir, "data-dir", "", "talk to the daemon with this data `DIR`")
	f.StringVar(&a.sel.API, "api", "", "talk to the daemon at `unix:PATH`")
	root.MarkFlagDirname("data-dir")
	root.RegisterFlagCompletionFunc("network", cobra.FixedCompletions(home.Networks(), cobra.ShellCompDirectiveNoFileComp))
	root.RegisterFlagCompletionFunc("node", a.completeNodes)
	root.RegisterFlagCompletionFunc("api", cobra.FixedCompletions([]string{"unix:"}, cobra.ShellCompDirectiveNoSpace))
}

func unknownCommand(root *cobra.Command, name string) error {
	hint := "`runnel --help` lists the commands"
	if near := root.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean `runnel " + strings.Join(near, "` or `runnel ") + "`?"
	}
	return usage(hint, "there is no command %q", name)
}
