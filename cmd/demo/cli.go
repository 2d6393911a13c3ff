package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/runnel/runnel/cmd/sandbox"
)

// What the demo reads from the command line program's --json.
type (
	statusView struct {
		PeerID string `json:"peer_id"`
		Addr   string `json:"addr"`
	}
	addressView struct {
		Address string `json:"address"`
	}
	balanceView struct {
		Onchain uint64 `json:"onchain_sat"`
		Pending uint64 `json:"pending_sat"`
	}
	openView struct {
		Channel   string `json:"channel_id"`
		FundingTx string `json:"funding_txid"`
	}
	channelView struct {
		Phase      string `json:"phase"`
		Reason     string `json:"reason"`
		FundingTx  string `json:"funding_txid"`
		Spendable  uint64 `json:"spendable_msat"`
		Receivable uint64 `json:"receivable_msat"`
	}
	streamView struct {
		Count int     `json:"count"`
		Rate  float64 `json:"rate"`
		P50   int64   `json:"p50_us"`
		P99   int64   `json:"p99_us"`
	}
	payView struct {
		Status string `json:"status"`
	}
	paymentView struct {
		ID        string `json:"payment_id"`
		Direction string `json:"direction"`
		Status    string `json:"status"`
		Amount    uint64 `json:"amount_msat"`
		Time      int64  `json:"time"` // unix milliseconds
	}
	closeView struct {
		TxID         string `json:"txid"`
		RefundHeight uint32 `json:"refund_height"`
	}
	sentView struct {
		TxID string `json:"txid"`
	}
)

// show prints a command line, runs it and reads its answer.
func show[T any](ctx context.Context, d *demo, node string, args ...string) (T, error) {
	args = append([]string{"--node", node}, args...)
	d.say.command(append(args, "--json"))
	return read[T](ctx, d.box, args)
}

// quiet is show without the print, for what is asked again and again.
func quiet[T any](ctx context.Context, d *demo, node string, args ...string) (T, error) {
	return read[T](ctx, d.box, append([]string{"--node", node}, args...))
}

func read[T any](ctx context.Context, box *sandbox.Sandbox, args []string) (v T, err error) {
	all, err := readAll[T](ctx, box, args)
	switch {
	case err != nil:
		return v, err
	case len(all) != 1:
		return v, fmt.Errorf("runnel %s answered with %d objects", strings.Join(args, " "), len(all))
	}
	return all[0], nil
}

// readAll runs a command that answers with any number of objects.
func readAll[T any](ctx context.Context, box *sandbox.Sandbox, args []string) (all []T, err error) {
	cmd := exec.CommandContext(ctx, box.Runnel, append(args, "--json")...)
	cmd.Env = append(os.Environ(), "RUNNEL_HOME="+box.Dir)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("runnel %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(bad.Bytes()))
	}
	for lines := json.NewDecoder(&out); ; {
		var v T
		if err := lines.Decode(&v); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("runnel %s: %w", strings.Join(args, " "), err)
		}
		all = append(all, v)
	}
}

// short is enough of a peer's id to type.
func short(peer string) string { return peer[:min(len(peer), 16)] }
