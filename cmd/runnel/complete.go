package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/cmd/home"
)

// completionTimeout bounds how long a Tab may wait for the daemon.
const completionTimeout = time.Second

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

func noCompletion(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// ask makes a completion of the first argument from what the daemon knows; it stays silent on errors.
func (a *app) ask(find func(ctx context.Context, node api.Node) []string) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		node, err := a.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(contextOf(cmd), completionTimeout)
		defer cancel()
		return startingWith(find(ctx, node), typed), cobra.ShellCompDirectiveNoFileComp
	}
}

func contextOf(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

func startingWith(words []string, typed string) []string {
	var out []string
	for _, w := range words {
		if strings.HasPrefix(w, typed) {
			out = append(out, w)
		}
	}
	return out
}

func (a *app) completePeers(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.ask(peerWords)(cmd, args, typed)
}

func peerWords(ctx context.Context, node api.Node) []string {
	peers, _ := node.Peers(ctx)
	var words []string
	for _, p := range peers {
		state := "away"
		if p.Connected {
			state = "connected"
		}
		words = append(words, fmt.Sprintf("%s\t%s, %s", p.PeerID, state, plural(p.Channels, "channel", "channels")))
	}
	return words
}

func (a *app) completeChannels(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.ask(channelWords)(cmd, args, typed)
}

func channelWords(ctx context.Context, node api.Node) []string {
	channels, _ := node.Channels(ctx)
	var words []string
	for _, c := range channels {
		if !c.Phase.Final() {
			words = append(words, fmt.Sprintf("%s\t%s, spendable %s", c.Channel, c.Phase, amount.Msat(c.Spendable)))
		}
	}
	return words
}

// completeTargets offers channels that can pay, and the peers behind them.
func (a *app) completeTargets(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.ask(func(ctx context.Context, node api.Node) []string {
		channels, _ := node.Channels(ctx)
		var words []string
		seen := map[channel.PeerID]bool{}
		for _, c := range channels {
			if c.Phase != channel.PhaseOpen {
				continue
			}
			if !seen[c.PeerID] {
				seen[c.PeerID] = true
				words = append(words, string(c.PeerID)+"\tpeer")
			}
			words = append(words, fmt.Sprintf("%s\tspendable %s", c.Channel, amount.Msat(c.Spendable)))
		}
		return words
	})(cmd, args, typed)
}

func (a *app) completeTxs(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.ask(func(ctx context.Context, node api.Node) []string {
		txs, _ := node.Transactions(ctx)
		var words []string
		for _, t := range txs {
			if t.Confirmations == 0 {
				words = append(words, t.TxID+"\t"+amount.SignedSat(t.Amount))
			}
		}
		return words
	})(cmd, args, typed)
}

// completeNodes lists the daemons on this machine.
func (a *app) completeNodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	h, err := home.Locate(a.getenv)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, n := range h.List() {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
