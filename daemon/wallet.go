package daemon

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// The owner's on-chain money, and the node's health.

// fault gives every error that leaves the node the form that its owner sees.
func (n *Node) fault(err error) error {
	if err == nil {
		return nil
	}
	var f *channel.Fault
	if errors.As(err, &f) {
		return f
	}
	code := channel.CodeFailure
	switch {
	case errors.Is(err, ledger.ErrInsufficientFunds):
		code = channel.CodeInsufficientFunds
	case errors.Is(err, ledger.ErrUnreachable):
		code = channel.CodeChainUnreachable
	case errors.Is(err, ledger.ErrRejected), errors.Is(err, ledger.ErrConflict):
		code = channel.CodeRejected
	case errors.Is(err, ledger.ErrUnsupported):
		code = channel.CodeUnsupported
	case errors.Is(err, ledger.ErrBadAddress), errors.Is(err, ledger.ErrTooSmall), errors.Is(err, ledger.ErrUneconomic):
		code = channel.CodeBadRequest
	case errors.Is(err, ledger.ErrNotFound):
		code = channel.CodeNotFound
	case errors.Is(err, errCancelled):
		code = channel.CodePeerUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		code = channel.CodePending
	}
	switch channel.KindOf(err) {
	case channel.KindInvalid:
		code = channel.CodeBadRequest
	case channel.KindNotOpen, channel.KindForbidden, channel.KindWrongFunding:
		code = channel.CodeNotOpen
	case channel.KindCapacity:
		code = channel.CodeInsufficient
	case channel.KindCredit:
		code = channel.CodeNoCredit
	case channel.KindBadVoucher:
		code = channel.CodeBadSignature
	case channel.KindConflict:
		code = channel.CodeIDConflict
	case channel.KindUnknown:
		code = channel.CodeNotFound
	case channel.KindUnsupported:
		code = channel.CodeUnsupported
	case channel.KindExpiring:
		code = channel.CodeExpiring
	case channel.KindWindow:
		code = channel.CodePeerUnreachable
	}
	return channel.Faultf(code, "%s", words(err))
}

// words is what an error says without the name of the room that it comes from, which means nothing to an
// owner.
func words(err error) string {
	text := err.Error()
	for _, room := range []string{"ledger: ", "wire: "} {
		text = strings.TrimPrefix(text, room)
	}
	return text
}

// notAddress is the fault for an address that the scheme does not take.
func (n *Node) notAddress(address string, err error) error {
	return channel.Faultf(channel.CodeBadRequest, "%s is not an address of %s: %s", address, n.cfg.Network, cause(err, ledger.ErrBadAddress))
}

// cause is what an error says beyond a known one, where the text around it says that already.
func cause(err, known error) string { return strings.TrimPrefix(err.Error(), known.Error()+": ") }

// NewAddress is a fresh address of the own wallet.
func (n *Node) NewAddress(ctx context.Context) (string, error) {
	a, _, err := n.deps.Wallet.NewAddress(ctx)
	return a, n.fault(err)
}

// Balance is all money of the node.
func (n *Node) Balance(ctx context.Context) (channel.Balance, error) {
	b, err := n.deps.Wallet.Balance(ctx)
	if err != nil {
		return channel.Balance{}, n.fault(err)
	}
	total := channel.Balance{Onchain: b.Confirmed, Pending: b.Pending, Locked: b.Locked}
	for _, d := range n.live() {
		n.read(d, func(d *driver) {
			self, peer := d.w.st.Balances()
			total.ChannelLocal += self
			total.ChannelRemote += peer
		})
	}
	return total, nil
}

// Send pays from the own wallet.
func (n *Node) Send(ctx context.Context, address string, amount channel.Sat, all bool, rate uint64) (channel.Sent, error) {
	return n.sendOut(ctx, address, amount, all, rate, false)
}

// sendOut is Send, also for a request that the owner approved.
func (n *Node) sendOut(ctx context.Context, address string, amount channel.Sat, all bool, rate uint64, approved bool) (channel.Sent, error) {
	if _, err := n.needChain(); err != nil {
		return channel.Sent{}, err
	}
	script, err := n.deps.Scheme.Script(address)
	if err != nil {
		return channel.Sent{}, n.notAddress(address, err)
	}
	if !all && amount < channel.DustSat {
		return channel.Sent{}, channel.Faultf(channel.CodeBadRequest, "%d sat is below the %d sat that nodes relay", amount, channel.DustSat)
	}
	undo, err := n.permitSend(address, amount, all, rate, approved)
	if err != nil {
		return channel.Sent{}, err
	}
	var tx ledger.Tx
	if all {
		tx, err = n.deps.Wallet.SendAll(ctx, script, n.rate(rate))
	} else {
		tx, err = n.deps.Wallet.Send(ctx, script, amount, n.rate(rate))
	}
	if err != nil {
		if !errors.Is(err, ledger.ErrUnreachable) { // then it may have left
			undo()
		}
		return channel.Sent{}, n.fault(err)
	}
	n.keepSent(tx)
	return n.sent(tx, script), nil
}

// sent sums up what a transaction pays to a script.
func (n *Node) sent(tx ledger.Tx, script []byte) channel.Sent {
	s := channel.Sent{TxID: channel.TxIDString(tx.ID), Fee: tx.Fee}
	if _, outs, err := n.deps.Scheme.Parts(tx.Raw); err == nil {
		for _, o := range outs {
			if string(o.Script) == string(script) {
				s.Amount += o.Value
			}
		}
	}
	return s
}

// Bump raises the fee of an unconfirmed transaction.
func (n *Node) Bump(ctx context.Context, txid string, rate uint64) (channel.Sent, error) {
	id, err := parseTxID(txid)
	if err != nil {
		return channel.Sent{}, err
	}
	if _, err := n.needChain(); err != nil {
		return channel.Sent{}, err
	}
	tx, err := n.deps.Wallet.Bump(ctx, id, n.rate(rate))
	if err != nil {
		return channel.Sent{}, n.fault(err)
	}
	n.keepSent(tx)
	return channel.Sent{TxID: channel.TxIDString(tx.ID), Fee: tx.Fee}, nil
}

func parseTxID(s string) (id [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		return id, channel.Faultf(channel.CodeBadRequest, "%q is not a transaction id: it has 64 hex digits", s)
	}
	for i := range id {
		id[i] = b[31-i]
	}
	return id, nil
}

// Transactions is the on-chain history, newest first.
func (n *Node) Transactions(ctx context.Context) ([]channel.WalletTx, error) {
	txs, err := n.deps.Wallet.Transactions(ctx)
	if err != nil {
		return nil, n.fault(err)
	}
	list := make([]channel.WalletTx, len(txs))
	for i, t := range txs {
		list[i] = channel.WalletTx{TxID: channel.TxIDString(t.ID), Amount: t.Amount, Fee: t.Fee, Confirmations: t.Confirmations,
			Height: t.Height, Time: t.Time, Label: t.Label}
	}
	sortBy(list, func(a, b channel.WalletTx) bool { // unconfirmed ones have no height: they are the newest
		if a.Height != b.Height {
			return a.Height == 0 || b.Height != 0 && a.Height > b.Height
		}
		return a.Time > b.Time
	})
	return list, nil
}

// Status is the node's health.
func (n *Node) Status(ctx context.Context) (channel.NodeStatus, error) {
	tip, _ := n.chain.tip()
	rate, source := n.chain.feeRate()
	s := channel.NodeStatus{Version: n.cfg.Version, Network: n.cfg.Network, Backend: n.deps.Chain.Capabilities().Name, PeerID: n.deps.Transport.Self(),
		Height: tip.Height, FeeSource: source, FeeRate: uint64(rate), Channels: len(n.live())}
	if addrs := n.deps.Transport.Addrs(); len(addrs) > 0 {
		s.Addr = addrs[0]
	}
	_, away := n.chain.unreachable()
	_, walletSynced := n.deps.Wallet.Synced(ctx)
	s.Synced = away == nil && n.chain.scanned.Load() && walletSynced
	s.Attention = n.attention()
	if b, err := n.Balance(ctx); err == nil {
		s.Wallet = b
	} else {
		s.Attention = append(s.Attention, fmt.Sprintf("the wallet does not answer: %v", err))
	}
	return s, nil
}

// attention lists what needs the owner, most urgent first.
func (n *Node) attention() (list []string) {
	list = append(list, n.deps.Notices...)
	if since, err := n.chain.unreachable(); err != nil {
		list = append(list, fmt.Sprintf("the chain backend does not answer since %s: %s", n.deps.Now().Sub(since).Round(time.Second), cause(err, ledger.ErrUnreachable)))
	}
	if free := n.guard.free.Load(); free >= 0 && free < n.limits.Load().MinFreeDisk {
		list = append(list, n.diskText(free))
	}
	if text := n.replicaText(); text != "" {
		list = append(list, text)
	}
	list = append(list, n.stopNotes()...)
	if seeking := n.seeking.Load(); seeking != nil {
		list = append(list, *seeking)
	}
	tip, _ := n.chain.tip()
	for _, d := range n.live() {
		var info channel.ChannelInfo
		var frozen, asking bool
		var force uint32
		var end string
		n.read(d, func(d *driver) {
			info, end = d.w.st.Info(), cmp.Or(d.endNote(tip.Height), d.returnNote())
			force, asking = d.w.st.MayForce()
			frozen = d.w.st.Out.Frozen != channel.NotFrozen || d.w.st.In.Frozen != channel.NotFrozen
		})
		id := d.id.String()[:8]
		switch {
		case d.peer == "":
			list = append(list, n.foundText(id, info, tip.Height))
		case asking:
			list = append(list, fmt.Sprintf("channel %s was restored from a copy: its peer is asked what came after that; without an answer it can be settled "+
				"from block %d on with: runnel close %s --force", id, force, id))
		case info.Phase == channel.PhaseRecovering:
			list = append(list, fmt.Sprintf("channel %s is recovering: close it with: runnel close %s", id, id))
		case frozen:
			list = append(list, fmt.Sprintf("channel %s is frozen: %s; close it with: runnel close %s", id, info.Reason, id))
		case end != "":
			list = append(list, "channel "+id+" "+end)
		}
	}
	return list
}

// foundText is about a deposit that was found with the seed.
func (n *Node) foundText(id string, info channel.ChannelInfo, tip uint32) string {
	if tip < info.Expiry {
		return fmt.Sprintf("a deposit of %d sat was found with the seed (channel %s): it returns by itself after block %d, in %d blocks",
			info.Deposit, id, info.Expiry, info.Expiry-tip)
	}
	return fmt.Sprintf("a deposit of %d sat was found with the seed (channel %s): what is left of it is being taken back", info.Deposit, id)
}
