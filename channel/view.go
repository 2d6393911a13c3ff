package channel

import "encoding/hex"

// TxIDString is a transaction id as people and block explorers write it: bytes reversed.
func TxIDString(id [32]byte) string {
	if id == ([32]byte{}) {
		return ""
	}
	for i, j := 0, 31; i < j; i, j = i+1, j-1 {
		id[i], id[j] = id[j], id[i]
	}
	return hex.EncodeToString(id[:])
}

// Info is the channel as its owner sees it. Times, addresses and the connection are the daemon's to fill.
func (s *State) Info() ChannelInfo {
	t := &s.Terms
	i := ChannelInfo{
		Channel: t.ID, PeerID: t.Peer, Phase: s.Phase, Reason: s.reason(),
		Deposit: t.Out.Deposit, PeerDeposit: t.In.Deposit,
		Sent: s.SpentOut(), Received: s.SpentIn(), Credit: s.Out.Total - min(s.Out.Total, s.SpentOut()),
		Net: int64(s.SpentIn()) - int64(s.SpentOut()), Recoverable: s.recoverable(),
		Expiry: s.earliestExpiry(), Confirmations: s.Confirmations(true), Required: t.OutConfs,
		FundingTxID: TxIDString(s.OutFunding.Claimed.TxID), PeerFundingTx: TxIDString(s.InFunding.Claimed.TxID),
		CloseTxID: s.closeTxID(),
	}
	if !t.Out.Exists() {
		i.Confirmations, i.Required = s.Confirmations(false), t.InConfs
	}
	if s.CanPay() == nil {
		i.Spendable = s.Spendable()
	}
	if s.CanReceive() == nil {
		i.Receivable = s.Receivable()
	}
	return i
}

// reason says why the channel can't pay, or if it was never meant to, why it can't receive; of one that ends,
// what it waits for.
func (s *State) reason() string {
	if s.Phase == PhaseClosing || s.Phase == PhaseSettling {
		return s.awaited()
	}
	err := s.CanPay()
	if !s.Terms.Out.Exists() {
		err = s.CanReceive()
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// awaited is what a channel waits for that is ending.
func (s *State) awaited() string {
	switch {
	case s.GivenUp():
		return "it was ended before its deposit came: what arrives at its address returns after block " + itoa(uint64(s.Terms.Out.Expiry))
	case s.Closing.Tx != nil && s.OutFunding.Spend == nil && s.InFunding.Spend == nil && s.Phase == PhaseClosing:
		return "the closing transaction waits for a block"
	case s.Phase == PhaseClosing && s.CanCloseTogether():
		return "the two agree on a closing transaction"
	case s.Phase == PhaseSettling && s.CanSettle():
		return "the settlement waits for a block"
	case s.CanRefund():
		return "the refund waits for a block"
	case s.Phase == PhaseSettling && len(s.OutFunding.returns()) > 0:
		return "the deposit returns after block " + itoa(uint64(s.Terms.Out.Expiry))
	case s.OutFunding.Spend != nil || s.InFunding.Spend != nil:
		return "its last transaction waits to be " + itoa(DeepConfirmations) + " blocks deep"
	}
	return "the channel is " + s.Phase.String()
}

// recoverable is what returns to the own wallet, before fees, if the channel ended now.
func (s *State) recoverable() (sat Sat) {
	if s.Phase.Final() {
		return 0
	}
	if o, ok := s.OutFunding.Claim(); ok && s.OutFunding.Spend == nil && o.Value >= s.Out.Total.SatCeil() {
		sat += o.Value - s.SpentOut().SatCeil()
	} else if sp := s.OutFunding.Spend; sp != nil && sp.Swept == 0 {
		sat += sp.RefundValue
	}
	if _, ok := s.InFunding.Claim(); ok && s.InFunding.Spend == nil {
		sat += s.SpentIn().SatCeil()
	}
	for _, o := range s.OutFunding.returns() {
		if o.Outpoint != s.OutFunding.Claimed {
			sat += o.Value
		}
	}
	return sat
}

func (s *State) closeTxID() string {
	switch {
	case s.OutFunding.Spend != nil:
		return TxIDString(s.OutFunding.Spend.TxID)
	case s.InFunding.Spend != nil:
		return TxIDString(s.InFunding.Spend.TxID)
	case s.Closing.Tx != nil:
		return TxIDString(s.Closing.Tx.TxID)
	case s.InFunding.Exit != nil:
		return TxIDString(s.InFunding.Exit.TxID)
	}
	return ""
}

// Balances is what each side owns of what is locked in the channel, by what was spent.
func (s *State) Balances() (self, peer Msat) {
	if o, ok := s.OutFunding.Claim(); ok && s.OutFunding.Spend == nil {
		all, _ := o.Value.Msat()
		spent := min(s.SpentOut(), all)
		self, peer = self+all-spent, peer+spent
	}
	if o, ok := s.InFunding.Claim(); ok && s.InFunding.Spend == nil {
		all, _ := o.Value.Msat()
		spent := min(s.SpentIn(), all)
		self, peer = self+spent, peer+all-spent
	}
	return self, peer
}
