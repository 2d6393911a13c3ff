package daemon

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
)

// A store that was made new for a seed that had been used, or filled from an older copy, does not know all
// deposits that the seed can have back. Funding transactions of the own wallet carry what is needed, sealed
// under a key from the seed: they are searched for once the wallet has read the chain, and each deposit
// becomes a channel again that waits for its expiry.

// search is the record that the search is still to be done.
type search struct {
	From uint32 `json:",omitempty"` // deposits in blocks below are known
}

func (s search) encode() []byte {
	b, _ := json.Marshal(s) // a number
	return b
}

// LookForDeposits is what a new store of a used seed begins with.
func LookForDeposits() *store.Batch { return new(store.Batch).Put(keySearch, search{}.encode()) }

// seeker carries the search out, a portion in each round of the chain follower, which alone touches it.
type seeker struct {
	record  search
	listed  bool
	traced  map[*driver]bool // channels whose later spends are looked for in the blocks
	deposit channel.Sat      // found in all
	next    uint32           // block to look into
}

// tracePortion is how many blocks are looked into before the chain is followed again.
const tracePortion = 100

func (n *Node) loadSearch() error {
	b, err := n.deps.Store.Get(keySearch)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s := &seeker{traced: map[*driver]bool{}}
	if err := json.Unmarshal(b, &s.record); err != nil {
		return fmt.Errorf("daemon: the record of the search for deposits is damaged: %w", err)
	}
	n.seeker = s
	n.seeking.Store(new("the own wallet is read from the chain, to find deposits of this seed"))
	n.log.Warn("this database knows nothing of deposits that this seed may have made before: they are looked for on the chain")
	return nil
}

// seek does a portion of the search. An error ends it for this round.
func (n *Node) seek() {
	s := n.seeker
	if s == nil {
		return
	}
	tip, ok := n.chain.tip()
	if _, synced := n.deps.Wallet.Synced(n.ctx); !ok || !synced {
		return
	}
	var err error
	if !s.listed {
		err = n.listDeposits(s, tip.Height)
	}
	if err == nil {
		err = n.trace(s, tip.Height)
	}
	if err == nil && (len(s.traced) == 0 || s.next > tip.Height) {
		err = n.endSearch(s, tip.Height)
	}
	if err != nil && n.ctx.Err() == nil {
		n.log.Warn("the search for deposits is interrupted; it goes on by itself", "err", err)
	}
}

// deposit is an own lane's funding as the chain has it.
type deposit struct {
	terms  channel.LaneTerms
	index  uint32
	at     channel.Outpoint
	height uint32 // 0 while not in a block
}

// listDeposits makes channels of all sealed deposits that may still have something for us.
func (n *Node) listDeposits(s *seeker, tip uint32) error {
	found, err := n.sealedDeposits(s.record.From, tip)
	if err != nil {
		return err
	}
	s.next, s.deposit = tip+1, 0
	var last uint32
	for _, f := range found {
		d, err := n.remake(f, tip)
		if err != nil {
			return err
		}
		if d == nil {
			continue
		}
		last = max(last, f.index)
		s.deposit += f.terms.Deposit
		whole, err := n.unspent(d, f)
		if err != nil {
			return err
		}
		if !whole {
			n.read(d, func(d *driver) { d.held = true })
			s.traced[d] = true
			s.next = min(s.next, f.height)
		}
	}
	s.listed = true
	return n.skipKeys(last + 2) // the peer's lane had the next index
}

// sealedDeposits reads the wallet's history for deposits of this seed that no transaction of our own has
// spent for good.
func (n *Node) sealedDeposits(from, tip uint32) (found []deposit, err error) {
	ended := map[channel.Outpoint]bool{}
	err = n.deps.Wallet.History(n.ctx, func(raw []byte, height uint32) error {
		ins, outs, err := n.deps.Scheme.Parts(raw)
		if err != nil || len(ins) == 0 {
			return err
		}
		if height > 0 && height+channel.DeepConfirmations <= tip+1 {
			for _, in := range ins {
				ended[in] = true
			}
		}
		if height > 0 && height < from {
			return nil
		}
		d, ok, err := n.unseal(ins[0], outs)
		if ok {
			if d.at.TxID, err = n.deps.Scheme.TxID(raw); err == nil {
				d.height = height
				found = append(found, d)
			}
		}
		return err
	})
	kept := found[:0]
	for _, d := range found {
		if !ended[d.at] {
			kept = append(kept, d)
		}
	}
	return kept, err
}

// unseal finds in a transaction's outputs the lane that its sealed output describes.
func (n *Node) unseal(anchor channel.Outpoint, outs []ledger.Output) (d deposit, ok bool, err error) {
	for _, o := range outs {
		r, err := n.deps.Signer.OpenRecovery(o.Script, anchor)
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		if err != nil {
			return d, false, err
		}
		d.index = r.Index
		d.terms = channel.LaneTerms{Genesis: n.deps.Scheme.Genesis(), Payee: r.Payee, Expiry: r.Expiry}
		if d.terms.Payer, d.terms.Refund, err = n.payerKeys(r.Index); err != nil {
			return d, false, err
		}
		return n.fundedBy(d, outs)
	}
	return d, false, nil
}

// fundedBy looks for the output that pays the deposit's lane.
func (n *Node) fundedBy(d deposit, outs []ledger.Output) (deposit, bool, error) {
	for i, o := range outs {
		if o.Value < channel.MinDeposit {
			continue
		}
		d.terms.Deposit = o.Value
		script, err := n.deps.Scheme.FundingScript(d.terms)
		if err != nil {
			return d, false, err
		}
		if string(script) == string(o.Script) {
			d.at.Index = uint32(i)
			return d, true, nil
		}
	}
	n.log.Warn("a sealed output of our own describes a deposit that is not beside it", "index", d.index)
	return d, false, nil
}

// remake makes a channel of a deposit, unless there is one. It returns nil when nothing is to be looked for.
func (n *Node) remake(f deposit, tip uint32) (*driver, error) {
	lane := f.terms.ID()
	n.mu.Lock()
	ref, known := n.lanes[keyOf(lane)]
	n.mu.Unlock()
	if known { // from before, or from a search that a stop interrupted
		var made bool
		n.read(ref.d, func(d *driver) { made = d.w.st.Terms.ID == channel.FoundID(lane) && !d.w.st.Phase.Final() })
		if !made {
			return nil, nil
		}
		return ref.d, nil
	}
	opened := f.height
	if opened == 0 {
		opened = tip
	}
	t := channel.Terms{ID: channel.FoundID(lane), Self: n.deps.Transport.Self(), Opener: true, Out: f.terms, OutKey: f.index,
		Heights: n.cfg.Heights, MaxUnacked: n.cfg.MaxUnacked, Window: channel.DefaultWindow, OpenedAt: opened}
	n.log.Warn("a deposit of this seed was found", "channel", t.ID, "deposit_sat", f.terms.Deposit, "txid", channel.TxIDString(f.at.TxID),
		"returns_after_block", f.terms.Expiry)
	return n.install(n.ctx, channel.Found(t, f.at), fmt.Sprintf("a deposit of %d sat was found with the seed; it returns after block %d", f.terms.Deposit, f.terms.Expiry))
}

// unspent asks the backend whether a deposit is there as it was funded, so that the blocks since need not
// be looked through.
func (n *Node) unspent(d *driver, f deposit) (bool, error) {
	if f.height == 0 {
		return true, nil // it is seen when it confirms
	}
	if !n.deps.Chain.Capabilities().Unspent {
		return false, nil
	}
	_, confirmations, err := n.deps.Chain.Unspent(n.ctx, f.at)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && confirmations == 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = d.apply(n.ctx, channel.OutputSeen{Out: true, Output: channel.Output{Outpoint: f.at, Value: f.terms.Deposit, Height: f.height}})
	n.rewatch(d)
	return err == nil, err
}

// trace looks through a portion of blocks for what became of deposits.
func (n *Node) trace(s *seeker, tip uint32) error {
	for range tracePortion {
		if len(s.traced) == 0 || s.next > tip {
			return nil
		}
		n.seeking.Store(new(fmt.Sprintf("deposits of this seed are followed through the chain: block %d of %d", s.next, tip)))
		b, err := n.deps.Chain.BlockAt(n.ctx, s.next)
		if err != nil {
			return err
		}
		n.mu.Lock()
		query := n.watch.query(s.traced)
		n.mu.Unlock()
		matches, err := n.deps.Chain.Matches(n.ctx, b.Hash, query)
		if err != nil {
			return err
		}
		for _, m := range matches {
			if err := n.match(n.ctx, b, m); err != nil {
				return err
			}
		}
		if len(matches) > 0 {
			n.settled(s)
		}
		s.next++
	}
	return nil
}

// settled takes out of the trace what needs no more looking: a deposit whose fate is known.
func (n *Node) settled(s *seeker) {
	for d := range s.traced {
		known := false
		n.read(d, func(d *driver) {
			sp := d.w.st.OutFunding.Spend
			known = sp != nil && (sp.Kind != channel.SpentSettled || sp.RefundValue < channel.DustSat || sp.Swept > 0)
		})
		if known {
			n.letGo(s, d)
		}
	}
}

func (n *Node) letGo(s *seeker, d *driver) {
	delete(s.traced, d)
	n.read(d, func(d *driver) { d.held = false })
}

// skipKeys leaves key indexes behind that the seed has used, with room for those that nothing tells of.
func (n *Node) skipKeys(used uint32) error {
	n.keys.take(n)
	defer n.keys.leave()
	b, err := n.deps.Store.Get(keyNextIndex)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if len(b) == 4 && binary.BigEndian.Uint32(b) >= max(used, keyGap) {
		return nil
	}
	next := used + keyGap + n.random(keySpan)
	if next >= 1<<31 {
		return errors.New("daemon: all key indexes are used")
	}
	record := binary.BigEndian.AppendUint32(nil, next)
	return n.deps.Committer.Commit(new(store.Batch).Put(keyNextIndex, record).Expect(keyNextIndex, b))
}

// endSearch lets go of what was held back, and forgets the search.
func (n *Node) endSearch(s *seeker, tip uint32) error {
	if err := n.deps.Committer.Commit(new(store.Batch).Delete(keySearch)); err != nil {
		return err
	}
	for d := range s.traced {
		n.letGo(s, d)
	}
	n.seeker = nil
	n.seeking.Store(nil)
	n.log.Info("the search for deposits is done", "found_sat", s.deposit)
	n.tellHeight(channel.Height{Tip: tip})
	return nil
}
