package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
)

const (
	answerTimeout = 30 * time.Second
	fundTimeout   = time.Minute
	// fundVSize is a funding transaction of a few inputs with change and recovery output, for quotes.
	fundVSize = 250
)

// Open asks a peer for a channel and funds it. It returns when the funding transaction is on its way,
// or, for external funding, when the address is known.
func (n *Node) Open(ctx context.Context, req channel.OpenRequest) (channel.OpenResult, error) {
	return n.open(ctx, req, false)
}

// open is Open, also for a request that the owner approved.
func (n *Node) open(ctx context.Context, req channel.OpenRequest, approved bool) (channel.OpenResult, error) {
	if err := n.checkOpen(req); err != nil {
		return channel.OpenResult{}, err
	}
	tip, err := n.needChain()
	if err != nil {
		return channel.OpenResult{}, err
	}
	if err := n.diskLow(); err != nil {
		return channel.OpenResult{}, err
	}
	if n.closed.Load() {
		return channel.OpenResult{}, channel.Faultf(channel.CodeStopping, "the daemon is stopping")
	}
	target, err := n.resolveTarget(req.Peer)
	if err != nil {
		return channel.OpenResult{}, err
	}
	quote, err := n.quote(ctx, req, tip)
	if err != nil || req.DryRun {
		quote.PeerID, _ = n.deps.Transport.Parse(target)
		return quote, err
	}
	peer, err := n.deps.Transport.Parse(target)
	if err != nil {
		return channel.OpenResult{}, n.fault(err)
	}
	undo, err := n.permitOpen(peer, req, approved)
	if err != nil {
		return channel.OpenResult{}, err
	}
	s, err := n.connect(ctx, target)
	if err != nil {
		undo()
		return channel.OpenResult{}, err
	}
	d, err := n.propose(ctx, s, req, tip, quote.Expiry)
	if err != nil {
		undo()
		return channel.OpenResult{}, err
	}
	return n.awaitFunding(ctx, d, quote)
}

func (n *Node) checkOpen(req channel.OpenRequest) error {
	if req.Deposit == 0 && req.PeerDeposit == 0 {
		return channel.Faultf(channel.CodeBadRequest, "a channel needs a deposit")
	}
	// What this node wants of peers is no bound for its own deposits.
	for _, d := range []struct{ deposit, least channel.Sat }{{req.Deposit, channel.MinDeposit}, {req.PeerDeposit, n.limits.Load().MinDeposit}} {
		if d.deposit > 0 && d.deposit < d.least {
			return channel.Faultf(channel.CodeBadRequest, "a deposit of %d sat is below the minimum of %d sat", d.deposit, d.least).
				WithHint("smaller deposits would be eaten by the fees of settling them")
		}
		if d.deposit > channel.MaxMoney {
			return channel.Faultf(channel.CodeBadRequest, "a deposit of %d sat is more than all money", d.deposit)
		}
	}
	h := n.cfg.Heights
	if req.Expiry != 0 && (req.Expiry < h.MinLife || req.Expiry > h.MaxLife) {
		return channel.Faultf(channel.CodeBadRequest, "an expiry of %d blocks is outside %d to %d", req.Expiry, h.MinLife, h.MaxLife)
	}
	return nil
}

// quote says what opening would cost and when the deposit would return at the latest.
func (n *Node) quote(ctx context.Context, req channel.OpenRequest, tip uint32) (channel.OpenResult, error) {
	rate := n.rate(req.FeeRate)
	life := req.Expiry
	if life == 0 {
		life = n.cfg.Heights.Life + n.random(n.cfg.Heights.LifeRandom)
	}
	lanes := 1
	if req.PeerDeposit > 0 {
		lanes = 2
	}
	q := channel.OpenResult{Deposit: req.Deposit, PeerDeposit: req.PeerDeposit, Expiry: tip + life,
		ExpiresAt: n.about(int64(life)),
		OpenFee:   rate.Fee(fundVSize), CloseFee: rate.Fee(n.deps.Scheme.CloseVSize(lanes))}
	if req.External {
		q.OpenFee = 0
		return q, nil
	}
	b, err := n.deps.Wallet.Balance(ctx)
	if err != nil {
		return q, n.fault(err)
	}
	if b.Confirmed < req.Deposit+q.OpenFee {
		return q, channel.Faultf(channel.CodeInsufficientFunds, "the deposit of %d sat and about %d sat of fee are more than the %d sat that the wallet can spend",
			req.Deposit, q.OpenFee, b.Confirmed).WithHint("get an address with: runnel address")
	}
	return q, nil
}

func (n *Node) random(most uint32) uint32 {
	if most == 0 {
		return 0
	}
	var b [4]byte
	n.deps.Rand(b[:])
	return binary.BigEndian.Uint32(b[:]) % (most + 1)
}

// rate is what the owner asked for, or the estimate.
func (n *Node) rate(asked uint64) ledger.FeeRate {
	estimate, _ := n.chain.feeRate()
	return ledger.FeeRate(policy.FeeRate(asked, uint64(estimate)))
}

// needChain refuses what must not be decided without seeing the chain.
func (n *Node) needChain() (tip uint32, err error) {
	if _, away := n.chain.unreachable(); away != nil {
		return 0, channel.Faultf(channel.CodeChainUnreachable, "the chain backend does not answer: %s", cause(away, ledger.ErrUnreachable)).
			WithHint("the daemon keeps trying; existing channels go on meanwhile")
	}
	b, ok := n.chain.tip()
	if !ok || !n.chain.scanned.Load() {
		return 0, channel.Faultf(channel.CodeNotReady, "the chain is being scanned; try again in a moment")
	}
	return b.Height, nil
}

// keyIndexes takes fresh key indexes. They are spent as soon as they were given, whatever comes of it.
func (n *Node) keyIndexes(count uint32) (first uint32, err error) {
	n.keys.take(n)
	defer n.keys.leave()
	var next uint32
	b, err := n.deps.Store.Get(keyNextIndex)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return 0, err
	case len(b) != 4:
		return 0, errors.New("daemon: the key index record is damaged")
	default:
		next = binary.BigEndian.Uint32(b)
	}
	if next > 1<<31-1-count {
		return 0, errors.New("daemon: all key indexes are used")
	}
	record := binary.BigEndian.AppendUint32(nil, next+count)
	if planted("key used twice") {
		return next, nil
	}
	return next, n.deps.Committer.Commit(new(store.Batch).Put(keyNextIndex, record).Expect(keyNextIndex, b))
}

// propose sends the Open, checks the answer and makes the terms durable.
func (n *Node) propose(ctx context.Context, s *session, req channel.OpenRequest, tip, expiry uint32) (*driver, error) {
	index, err := n.keyIndexes(2)
	if err != nil {
		return nil, n.fault(err)
	}
	out, in := index, index+1
	open := &channel.Open{Deposit: req.Deposit, PeerDeposit: req.PeerDeposit, Expiry: expiry, PeerExpiry: expiry, Tip: tip,
		MaxUnacked: n.cfg.MaxUnacked, Window: channel.DefaultWindow,
		Confirmations: n.limits.Load().Confirmations(req.PeerDeposit)}
	n.deps.Rand(open.Nonce[:])
	if open.Payer, open.Refund, err = n.payerKeys(out); err != nil {
		return nil, n.fault(err)
	}
	if open.Payee, err = n.deps.Signer.PayeeKey(in); err != nil {
		return nil, n.fault(err)
	}
	accept, o, done, err := n.ask(ctx, s, open)
	defer done()
	if err != nil {
		return nil, err
	}
	if accept.PeerDeposit != open.PeerDeposit {
		return nil, channel.Faultf(channel.CodePeerRefused, "the peer would add %d sat where %d sat were asked for", accept.PeerDeposit, open.PeerDeposit).
			WithHint("ask for another deposit of the peer's, or for none; nothing was funded")
	}
	terms := n.terms(s.peer, open, accept, true)
	terms.OutKey, terms.InKey, terms.External = out, in, req.External
	if err := errors.Join(n.checkTerms(terms), ownKeys(open, accept)); err != nil {
		return nil, channel.Faultf(channel.CodePeerRefused, "the peer's answer is not usable: %v", err)
	}
	d, err := n.create(ctx, terms)
	done()
	if errors.Is(err, errAddress) {
		return nil, channel.Faultf(channel.CodePeerRefused, "the peer's answer is not usable: %v", err)
	}
	if err != nil {
		return nil, n.fault(err)
	}
	n.read(d, func(d *driver) { d.exits.fundRate = ledger.FeeRate(req.FeeRate) })
	if s := n.session(d.peer); s != nil { // it may be another one by now
		d.post(met{s})
	}
	if o.resync != nil {
		d.post(*o.resync)
	}
	d.post(channel.Height{Tip: tip})
	return d, nil
}

func (n *Node) payerKeys(index uint32) (payer, refund channel.Key, err error) {
	if payer, err = n.deps.Signer.PayerKey(index); err != nil {
		return payer, refund, err
	}
	refund, err = n.deps.Signer.RefundKey(index)
	return payer, refund, err
}

// opening is an Open without a channel so far.
type opening struct {
	answer chan channel.Message
	// The peer has its channel first, and greets when a connection begins meanwhile or its scan of the chain ends.
	// It greets once for each connection: what is missed here is never said again.
	resync *said
}

// ask sends an Open and waits for the answer. Until done is called the peer is not told that its channel is
// unknown here.
func (n *Node) ask(ctx context.Context, s *session, open *channel.Open) (a *channel.Accept, o *opening, done func(), err error) {
	id := channel.NewID(n.deps.Transport.Self(), s.peer, open.Nonce)
	o = &opening{answer: make(chan channel.Message, 1)}
	n.mu.Lock()
	n.opening[id] = o
	n.mu.Unlock()
	done = func() {
		n.mu.Lock()
		delete(n.opening, id)
		n.mu.Unlock()
	}
	n.send(s.peer, open)
	select {
	case m := <-o.answer:
		n.woke()
		if a, ok := m.(*channel.Accept); ok {
			return a, o, done, nil
		}
		r := m.(*channel.Refuse)
		return nil, o, done, channel.Faultf(channel.CodePeerRefused, "the peer refused: %s", r.Text)
	case <-s.conn.Done():
		n.woke()
		return nil, o, done, channel.Faultf(channel.CodePeerUnreachable, "the peer disconnected before it answered")
	case <-time.After(answerTimeout):
		n.woke()
		return nil, o, done, channel.Faultf(channel.CodePeerUnreachable, "the peer did not answer in %v", answerTimeout)
	case <-ctx.Done():
		n.woke()
		return nil, o, done, ctx.Err()
	}
}

// answered gives a peer's answer to the Open that waits for it.
func (n *Node) answered(id channel.ID, m channel.Message) bool {
	n.mu.Lock()
	waiting := n.opening[id]
	n.mu.Unlock()
	if waiting == nil {
		return false
	}
	select {
	case waiting.answer <- m:
	default: // one answer is enough
	}
	return true
}

// terms puts an Open and its Accept together, as one of the two sees them.
func (n *Node) terms(peer channel.PeerID, o *channel.Open, a *channel.Accept, opener bool) channel.Terms {
	self := n.deps.Transport.Self()
	genesis := n.deps.Scheme.Genesis()
	first := channel.LaneTerms{Genesis: genesis, Payer: o.Payer, Payee: a.Payee, Refund: o.Refund, Expiry: o.Expiry, Deposit: o.Deposit}
	second := channel.LaneTerms{Genesis: genesis, Payer: a.Payer, Payee: o.Payee, Refund: a.Refund, Expiry: o.PeerExpiry, Deposit: a.PeerDeposit}
	for _, l := range []*channel.LaneTerms{&first, &second} {
		if l.Deposit == 0 {
			*l = channel.LaneTerms{}
		}
	}
	t := channel.Terms{ID: channel.NewID(self, peer, o.Nonce), Nonce: o.Nonce, Self: self, Peer: peer, Opener: opener,
		Out: first, In: second, OutConfs: a.Confirmations, InConfs: o.Confirmations, Heights: n.cfg.Heights,
		MaxUnacked: min(o.MaxUnacked, a.MaxUnacked), Window: min(o.Window, a.Window), OpenedAt: o.Tip}
	if !opener {
		t.Out, t.In, t.OutConfs, t.InConfs = t.In, t.Out, t.InConfs, t.OutConfs
	}
	return t
}

func (n *Node) checkTerms(t channel.Terms) error {
	if t.MaxUnacked == 0 || t.Window == 0 || t.Window > channel.MaxWindow {
		return errors.New("the window is not usable")
	}
	if t.OutConfs > policy.MaxConfirmations || t.InConfs > policy.MaxConfirmations {
		return errors.New("too many confirmations are asked for")
	}
	for _, l := range []channel.LaneTerms{t.Out, t.In} {
		if !l.Exists() {
			continue
		}
		if err := n.deps.Scheme.CheckTerms(l); err != nil {
			return err
		}
	}
	if !t.Out.Exists() && !t.In.Exists() {
		return errors.New("neither side pays anything in")
	}
	return nil
}

// create makes agreed terms durable, and only then watches and knows the channel.
func (n *Node) create(ctx context.Context, t channel.Terms) (*driver, error) {
	scripts, err := deriveScripts(n.deps.Scheme, &t)
	if err != nil {
		return nil, err
	}
	return n.store(ctx, channel.New(t), scripts, entry{Kind: channel.EventPhase, Channel: t.ID, Phase: channel.PhaseAgreed, Text: "terms agreed"})
}

// install is create for a channel that is made again.
func (n *Node) install(ctx context.Context, st channel.State, text string) (*driver, error) {
	scripts, err := deriveScripts(n.deps.Scheme, &st.Terms)
	if err != nil {
		return nil, err
	}
	return n.store(ctx, st, scripts, entry{Kind: channel.EventPhase, Channel: st.Terms.ID, Phase: st.Phase, Text: text})
}

// store makes a new channel durable.
func (n *Node) store(ctx context.Context, st channel.State, scripts laneScripts, e entry) (*driver, error) {
	d, err := n.adopt(st, nil, scripts)
	if err != nil {
		return nil, err
	}
	stored := make(chan error, 1)
	d.post(inspect{func(d *driver) {
		box := &outbox{cold: true, after: []func(error){func(err error) { stored <- err }}}
		if st.Terms.Opener { // a peer's wish is nothing to remember: it can have as many as it likes
			box.entries = append(box.entries, e)
		}
		box.batch.Put(scriptsKey(d.id), scripts.encode(&st.Terms))
		d.flush(box)
	}})
	select {
	case err = <-stored:
	case <-ctx.Done():
		err = ctx.Err()
	}
	n.woke()
	if err != nil {
		n.forgetDriver(d)
		return nil, err
	}
	return d, nil
}

// awaitFunding waits until the funding transaction is durable and published, or given up.
func (n *Node) awaitFunding(ctx context.Context, d *driver, q channel.OpenResult) (channel.OpenResult, error) {
	ctx, cancel := context.WithTimeout(ctx, fundTimeout)
	defer cancel()
	q.Channel, q.PeerID = d.id, d.peer
	var failure error
	err := d.until(ctx, func(d *driver) bool {
		st := &d.w.st
		q.Phase, q.Confirmations, q.PeerDeposit = st.Phase, st.Terms.OutConfs, st.Terms.In.Deposit
		if st.Terms.Out.Exists() {
			q.FundingAddress, _ = n.deps.Scheme.Address(d.scripts.of(true))
		}
		failure = d.exits.fundErr
		if tx := st.OutFunding.Tx; tx != nil {
			q.FundingTxID, q.OpenFee = channel.TxIDString(tx.TxID), tx.Fee
		}
		return st.OutFunding.Tx != nil || st.Terms.External || !st.Terms.Out.Exists() || st.Phase.Final()
	})
	if err != nil {
		return q, channel.Faultf(channel.CodePending, "the channel %s is agreed and its funding is not done yet", d.id)
	}
	if q.Phase == channel.PhaseAbandoned {
		if failure == nil {
			failure = errors.New("the funding failed")
		}
		return q, n.fault(failure)
	}
	return q, nil
}

// until waits for a condition on the channel's state, looking again after each of its events.
func (d *driver) until(ctx context.Context, cond func(*driver) bool) error {
	for {
		changed := make(chan struct{})
		met := false
		d.n.read(d, func(d *driver) {
			if met = cond(d); !met {
				d.watchers = append(d.watchers, changed)
			}
		})
		if met {
			return nil
		}
		select {
		case <-changed:
			d.n.woke()
		case <-ctx.Done():
			d.n.woke()
			return ctx.Err()
		}
	}
}

// receiveOpen has a peer's Open answered beside what else it says.
func (n *Node) receiveOpen(s *session, o *channel.Open) {
	id := channel.NewID(n.deps.Transport.Self(), s.peer, o.Nonce)
	if !n.mayAnswer(s.peer) {
		s.refuse(&channel.Refuse{Channel: id, Code: channel.DenyBusy, Text: "too many opens at once"})
		return
	}
	n.spawn(func() {
		defer n.answeredOpen(s.peer)
		n.answerOpen(s, o, func(code, text string) {
			n.log.Debug("a channel was refused", "peer", s.peer, "reason", text)
			n.send(s.peer, &channel.Refuse{Channel: id, Code: code, Text: text}) // waits for nobody: others want to open too
		})
	})
}

// answerOpen is the other side of propose: terms are durable here before the peer hears of them.
func (n *Node) answerOpen(s *session, o *channel.Open, refuse func(code, text string)) {
	n.opens.take(n)
	defer n.opens.leave()
	tip, err := n.needChain()
	if err != nil || n.closed.Load() {
		refuse(channel.DenyNotReady, "this node can't see the chain now")
		return
	}
	if n.diskLow() != nil {
		refuse(channel.DenyNotReady, "this node's disk is nearly full")
		return
	}
	deposit, err := n.judgeOpen(s.peer, o, tip)
	if err != nil {
		refuse(channel.DenyPolicy, err.Error())
		return
	}
	if !n.mayAgree(s.peer) {
		refuse(channel.DenyBusy, "too many channels were opened and not used; try again later")
		return
	}
	accept, terms, err := n.acceptance(s.peer, o, deposit, tip)
	if err != nil {
		refuse(channel.DenyInvalid, err.Error())
		return
	}
	d, err := n.create(n.ctx, terms)
	if err != nil {
		n.log.Error("a channel could not be stored", "peer", s.peer, "err", err)
		refuse(channel.DenyInternal, "internal error")
		return
	}
	n.log.Info("channel agreed", "channel", d.id, "peer", s.peer, "peer_deposit_sat", o.Deposit, "deposit_sat", deposit)
	n.send(s.peer, accept)
	d.post(channel.Height{Tip: tip})
}

func (n *Node) mayAnswer(peer channel.PeerID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending[peer] >= maxPendingOpens {
		return false
	}
	n.pending[peer]++
	return true
}

const maxPendingOpens = 2

func (n *Node) mayAgree(peer channel.PeerID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.openings.take(string(peer), n.deps.Now(), n.limits.Load())
}

// unwanted reports whether the channel was a peer's wish of which nothing came.
func (d *driver) unwanted() bool {
	st := &d.w.st
	return !st.Terms.Opener && st.Phase == channel.PhaseAbandoned && len(st.OutFunding.Seen)+len(st.InFunding.Seen) == 0 && st.OutFunding.Tx == nil
}

// discard forgets a channel that a peer asked for and never funded, so that asking costs this node no
// memory and no disk.
func (d *driver) discard() {
	if !d.unwanted() {
		return
	}
	d.n.forgetDriver(d)
	gone := new(store.Batch).Delete(channelKey(d.id)).Delete(laneRecordKey(d.id, true)).Delete(laneRecordKey(d.id, false)).Delete(scriptsKey(d.id))
	d.n.deps.Committer.Submit(gone, func(err error) {
		if err != nil {
			d.n.log.Warn("a channel that was never funded stays in the store", "channel", d.id, "err", err)
		}
	})
}

func (n *Node) answeredOpen(peer channel.PeerID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending[peer]--; n.pending[peer] <= 0 {
		delete(n.pending, peer)
	}
}

// acceptance makes our half of the terms.
func (n *Node) acceptance(peer channel.PeerID, o *channel.Open, deposit channel.Sat, tip uint32) (*channel.Accept, channel.Terms, error) {
	index, err := n.keyIndexes(2)
	if err != nil {
		return nil, channel.Terms{}, err
	}
	out, in := index, index+1
	a := &channel.Accept{Channel: channel.NewID(n.deps.Transport.Self(), peer, o.Nonce), PeerDeposit: deposit,
		Confirmations: n.limits.Load().Confirmations(o.Deposit), MaxUnacked: n.cfg.MaxUnacked, Window: channel.DefaultWindow}
	if a.Payee, err = n.deps.Signer.PayeeKey(in); err != nil {
		return nil, channel.Terms{}, err
	}
	if deposit > 0 {
		if a.Payer, a.Refund, err = n.payerKeys(out); err != nil {
			return nil, channel.Terms{}, err
		}
	}
	t := n.terms(peer, o, a, false)
	t.OutKey, t.InKey, t.OpenedAt = out, in, tip
	return a, t, n.checkTerms(t)
}
