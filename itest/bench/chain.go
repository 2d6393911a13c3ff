package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
	"github.com/runnel/runnel/ledger/bitcoin"
)

// manyChannels opens channels for real, each with its own funding output, and starts the daemon again.
func manyChannels(ctx context.Context, w *world) ([]row, error) {
	n := w.count(10_000)
	many := strconv.Itoa(n + 10)
	flags := []string{"--max-channels-per-peer", many, "--max-pending-opens-per-peer", many, "--max-pending-opens", many}
	if _, err := w.pair(ctx, 1_000_000, flags...); err != nil {
		w.close()
		return nil, err
	}
	defer w.close()
	alice, bob := w.box.Node("alice"), w.box.Node("bob")
	peer := mustID(ctx, bob)
	for done := 0; done < n; done += manyAtOnce {
		if err := w.openAtOnce(ctx, alice, peer, min(manyAtOnce, n-done)); err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "\r%d channels", min(done+manyAtOnce, n))
	}
	fmt.Fprintln(os.Stderr)
	err := sandbox.Until(ctx, "all channels are open", func() (bool, error) {
		list, err := alice.API.Channels(ctx)
		open := 0
		for _, c := range list {
			if c.Phase == channel.PhaseOpen {
				open++
			}
		}
		return open == n+1, err
	})
	if err != nil {
		return nil, err
	}
	if err := bob.Stop(); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := bob.Restart(ctx); err != nil {
		return nil, err
	}
	ready := time.Since(start)
	time.Sleep(5 * time.Second) // peers, resync of every channel
	return []row{{"T7", fmt.Sprintf("%s open channels: RSS / time from start to ready", thousands(n)), "200 MB / 5 s", "60 MB / 1 s",
		fmt.Sprintf("%d MB / %.1f s", rss(bob.PID())>>20, ready.Seconds()),
		"all with one peer, each opened over libp2p and funded on the simnet; RSS after the resync of every channel"}}, nil
}

// manyAtOnce is how many channels one transaction funds.
const manyAtOnce = 200

func (w *world) openAtOnce(ctx context.Context, from *sandbox.Node, peer channel.PeerID, n int) error {
	if err := w.box.Synced(ctx); err != nil {
		return err
	}
	addrs := make([]string, n)
	for i := range addrs {
		r, err := from.API.Open(ctx, channel.OpenRequest{Peer: string(peer), Deposit: 20_000, External: true})
		if err != nil {
			return err
		}
		addrs[i] = r.FundingAddress
	}
	if _, err := w.box.Chain.FundAll(ctx, addrs, 20_000); err != nil {
		return err
	}
	return w.box.Mine(ctx, 1)
}

func mustID(ctx context.Context, n *sandbox.Node) channel.PeerID {
	s, err := n.API.Status(ctx)
	if err != nil {
		return ""
	}
	return s.PeerID
}

// rss is the memory that a process has resident, in bytes.
func rss(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// sizes closes one channel together and settles another, and weighs the transactions that btcd has.
func sizes(ctx context.Context, w *world) ([]row, error) {
	coop, err := w.closeOne(ctx, false)
	if err != nil {
		return nil, err
	}
	settle, err := w.closeOne(ctx, true)
	if err != nil {
		return nil, err
	}
	scheme, err := bitcoin.NewScheme("simnet")
	if err != nil {
		return nil, err
	}
	return []row{{"T9", "vB: close together / settlement, one lane / settlement of 100 lanes, each", "154 / 205 / 152", "close 101 a lane, many at once",
		fmt.Sprintf("%d / %d / %.1f", coop, settle, float64(scheme.SettleVSize(100))/100),
		"the first two weighed as btcd has them; the third from the construction, whose tests weigh real transactions"}}, nil
}

func (w *world) closeOne(ctx context.Context, force bool) (vsize int, err error) {
	id, err := w.pair(ctx, 1_000_000)
	defer w.close()
	if err != nil {
		return 0, err
	}
	alice, bob := w.box.Node("alice"), w.box.Node("bob")
	if _, err := alice.API.Pay(ctx, channel.PayRequest{Target: id.String(), Amount: 300_000_000}); err != nil {
		return 0, err
	}
	r, err := bob.API.Close(ctx, channel.CloseRequest{Channel: id.String(), Force: force})
	if err != nil {
		return 0, err
	}
	err = sandbox.Until(ctx, "the transaction is in the mempool", func() (bool, error) {
		tx, err := w.box.Tx(ctx, r.TxID)
		if err != nil {
			return false, nil
		}
		vsize = (tx.SerializeSizeStripped()*3 + tx.SerializeSize() + 3) / 4
		return true, nil
	})
	return vsize, err
}
