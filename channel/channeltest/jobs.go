package channeltest

import (
	"encoding/binary"

	"github.com/runnel/runnel/channel"
)

// Jobs are the effects whose result comes back as an event.

// Do carries out one waiting job.
func (s *Side) Do(i int) bool {
	if s.Gone || len(s.jobs) == 0 {
		return false
	}
	i %= len(s.jobs)
	e := s.jobs[i]
	s.jobs = append(append([]channel.Effect(nil), s.jobs[:i]...), s.jobs[i+1:]...)
	s.do(e)
	s.w.tick(s)
	return true
}

func (s *Side) do(e channel.Effect) {
	switch e := e.(type) {
	case channel.Sign:
		s.sign(e)
	case channel.Verify:
		s.verify(e)
	case channel.FindFrame:
		s.find(e)
	case channel.CheckProof:
		ok := Valid(s.State.Terms.Out.ID(), e.Report.Total, e.Report.Signature)
		_ = s.feed(channel.ProofChecked{OK: ok, Report: e.Report})
	case channel.CheckNewest:
		ok := Valid(s.State.Terms.In.ID(), e.Report.Total, e.Report.Signature)
		_ = s.feed(channel.NewestChecked{OK: ok, Report: e.Report})
	case channel.CheckDraw:
		_ = s.feed(channel.DrawChecked{OK: Valid(s.State.Terms.In.ID(), e.Total, e.Signature)})
	case channel.Fund:
		s.fund()
	case channel.AskPayout:
		_ = s.feed(channel.CloseTogether{Payout: []byte(WalletScript(s.Name))})
	case channel.OfferClose:
		s.offer()
	case channel.AnswerClose:
		s.answerClose(e.Msg)
	case channel.Settle:
		s.settle()
	case channel.Refund:
		s.refund()
	}
}

func (s *Side) sign(e channel.Sign) {
	if s.Mute {
		_ = s.feed(channel.Signed{Err: channel.KindInvalid})
		return
	}
	_ = s.feed(channel.Signed{Signature: Sign(s.State.Terms.Out.ID(), e.Total)})
}

func (s *Side) verify(e channel.Verify) {
	v := channel.Verified{OK: e.Known || Valid(s.State.Terms.In.ID(), e.Total, e.Signature)}
	if e.Known && !Valid(s.State.Terms.In.ID(), e.Total, e.Signature) {
		s.w.fail("%s knows a voucher that is not valid", s.Name)
	}
	for _, f := range e.Frames {
		for i, p := range f.Payments {
			if s.Refuse == nil {
				break
			}
			if r := s.Refuse(p); r != channel.Accepted {
				v.Refused = append(v.Refused, channel.Refusal{Seq: f.FirstSeq + uint64(i), Reason: r})
			}
		}
	}
	s.checking = false
	_ = s.feed(v)
}

// find looks at what is durable and at what is on its way to the disk.
func (s *Side) find(e channel.FindFrame) {
	found := s.disk.Taken[e.Frame.FirstSeq]
	for _, t := range s.turns {
		for _, f := range t.saves {
			if !f.Out && f.Frame.FirstSeq == e.Frame.FirstSeq {
				found = channel.FrameFound{Stored: f.Frame, Ack: f.Ack}
			}
		}
	}
	found.Got = e.Frame
	_ = s.feed(found)
}

func (s *Side) fund() {
	if s.Poor {
		_ = s.feed(channel.FundingFailed{})
		return
	}
	terms := s.State.Terms.Out
	tx := &Tx{Kind: "fund", Outs: []TxOut{{FundScript(terms.ID()), terms.Deposit}}, Salt: s.w.salt()}
	_ = s.feed(channel.FundingBuilt{Outpoint: channel.Outpoint{TxID: tx.ID()}, Tx: tx.Own(s.State.Tip)})
}

func (s *Side) settle() {
	lane, in := s.State.Terms.In, s.State.In
	if !Valid(lane.ID(), in.Total, in.Voucher) {
		s.w.fail("%s settles with a voucher that is not valid", s.Name)
	}
	taken := in.Total.SatCeil()
	tx := &Tx{Kind: "settle", Spends: []channel.Outpoint{s.State.InFunding.Claimed}, Lane: lane.ID(), Total: in.Total,
		Outs: []TxOut{{RefundScript(lane.ID()), lane.Deposit - taken}, {WalletScript(s.Name), taken}}}
	_ = s.feed(channel.ExitBuilt{Tx: tx.Own(s.State.Tip)})
}

func (s *Side) refund() {
	tx := &Tx{Kind: "refund", Lock: s.State.Terms.Out.Expiry}
	sweep, outputs := s.State.Refunds()
	if sweep {
		tx.Kind, tx.Lock = "sweep", 0
	}
	var sum channel.Sat
	for _, o := range outputs {
		tx.Spends, sum = append(tx.Spends, o.Outpoint), sum+o.Value
	}
	tx.Outs = []TxOut{{WalletScript(s.Name), sum}}
	_ = s.feed(channel.ExitBuilt{Out: true, Tx: tx.Own(s.State.Tip)})
}

// CloseFee is what a close together costs its proposer.
const CloseFee = 200

// closeTx is the close that proposer pays for, as this side sees the lanes; nil when there is none.
func (s *Side) closeTx(proposer *Side) *Tx {
	self, peer, err := s.State.Payouts()
	if err != nil {
		return nil
	}
	pay := map[*Side]channel.Sat{s: self, s.peer: peer}
	if pay[proposer] < CloseFee {
		return nil
	}
	pay[proposer] -= CloseFee
	tx := &Tx{Kind: "close", Fee: CloseFee}
	for _, side := range s.w.Sides {
		f := &s.State.InFunding
		if side == s {
			f = &s.State.OutFunding
		}
		if o, ok := f.Claim(); ok {
			tx.Spends = append(tx.Spends, o.Outpoint)
		}
		if pay[side] > 0 {
			tx.Outs = append(tx.Outs, TxOut{WalletScript(side.Name), pay[side]})
		}
	}
	if len(tx.Spends) == 0 {
		return nil
	}
	return tx
}

func (s *Side) offer() {
	tx := s.closeTx(s)
	if tx == nil || !s.w.Connected || !s.State.CanCloseTogether() {
		return
	}
	var attempt [16]byte
	binary.BigEndian.PutUint64(attempt[:], s.w.salt())
	s.closes[attempt] = tx
	s.say(&channel.CloseOffer{Channel: s.State.Terms.ID, Attempt: attempt, Fee: CloseFee})
}

// say sends what is not an effect of the machine behind what is.
func (s *Side) say(m channel.Message) { s.turns = append(s.turns, &turn{sends: []channel.Message{m}}) }

func (s *Side) answerClose(m channel.Message) {
	switch m := m.(type) {
	case *channel.CloseOffer:
		tx := s.closeTx(s.peer)
		if tx == nil || m.Fee != CloseFee || !s.State.CanCloseTogether() {
			return
		}
		s.closes[m.Attempt] = tx
		s.say(&channel.CloseSign{Channel: m.Channel, Attempt: m.Attempt, Partials: [][32]byte{tx.ID()}})
	case *channel.CloseSign:
		tx := s.closes[m.Attempt]
		if tx == nil || len(m.Partials) != 1 || m.Partials[0] != tx.ID() {
			return
		}
		if s.feed(channel.CloseBuilt{Tx: tx.Own(s.State.Tip)}) == nil {
			s.say(&channel.CloseDone{Channel: m.Channel, Tx: tx.Raw()})
		}
	case *channel.CloseDone:
		tx, err := ParseTx(m.Tx)
		if err != nil {
			return
		}
		for _, signed := range s.closes {
			if signed.ID() == tx.ID() {
				_ = s.feed(channel.CloseBuilt{Tx: tx.Own(s.State.Tip)})
				return
			}
		}
	}
}
