package channel

import "slices"

// The payee's side of draws (protocol.md 14).

// DrawOp is one thing that a program which serves asks of the lane that pays it. Who hands a charge in vouches for
// the binding's code; the voucher is checked here.
type DrawOp struct {
	Kind      DrawKind
	N         uint64
	Total     Msat // of a charge: its voucher
	Signature Signature
	Max       Msat   // of a charge: the most that may be drawn for N, or for Raise if that is set
	Raise     uint64 // of a charge: n of a running draw that may take up to Max now
	Amount    Msat   // ChargeDraw: to hold; HoldDraw: to hold beside; EndDraw: used
	Keep      Msat   // HoldDraw: stays charged whatever happens
	Deny      error  // ChargeDraw, HoldDraw: the node's own policy says no to what is new
}

// DrawKind says what a DrawOp does.
type DrawKind uint8

const (
	ChargeDraw DrawKind = iota
	HoldDraw
	EndDraw
)

// DrawResult is what came of a DrawOp.
type DrawResult struct {
	Charge Charge
	Err    error
}

// charging is what waits for the check of a voucher.
type charging struct {
	ops []DrawOp
	at  int    // the op whose voucher is being checked
	bad []bool // ops whose voucher is wrong; nil: none
}

// CanCharge says why nothing can be charged on the lane that pays us now, or nil.
func (s *State) CanCharge() error {
	switch {
	case s.CanReceive() != nil:
		return s.CanReceive()
	case s.Closing.Peers != nil:
		return fail(KindNotOpen, "the peer is closing the channel")
	case s.knows == knowsNone:
		return fail(KindUnsupported, "the peer's node does not know draws: it has to be updated")
	}
	return nil
}

// drawOps carries out what waits, all in one step: the voucher over the most covers those over less.
func (s *State) drawOps(e DrawOps) ([]Effect, error) {
	if s.checking != nil || s.charging != nil {
		return nil, fail(KindForbidden, "a verification is running")
	}
	c := &charging{ops: e.Ops}
	if check := s.newestOf(c); check != nil {
		s.charging = c
		return check, nil
	}
	return s.carryOut(c, nil), nil
}

// newestOf asks for the check of the highest voucher that is new.
func (s *State) newestOf(c *charging) []Effect {
	if s.CanCharge() != nil {
		return nil
	}
	c.at = -1
	most := s.In.Total
	for i := range c.ops {
		op := &c.ops[i]
		if op.Kind == ChargeDraw && op.Total > most && op.Total <= s.Terms.In.Capacity() && (c.bad == nil || !c.bad[i]) {
			c.at, most = i, op.Total
		}
	}
	if c.at < 0 {
		return nil
	}
	return []Effect{CheckDraw{Total: most, Signature: c.ops[c.at].Signature}}
}

func (s *State) drawChecked(e DrawChecked) ([]Effect, error) {
	c := s.charging
	if c == nil {
		return nil, fail(KindForbidden, "no verification is running")
	}
	if !e.OK {
		if c.bad == nil {
			c = &charging{ops: c.ops, at: c.at, bad: make([]bool, len(c.ops))}
		}
		c.bad[c.at] = true
		if check := s.newestOf(c); check != nil {
			s.charging = c
			return check, nil
		}
		s.charging = nil
		return s.carryOut(c, nil), nil
	}
	s.charging = nil
	if s.CanCharge() != nil { // ended meanwhile: what was not taken by then stays the payer's
		return s.carryOut(c, nil), nil
	}
	return s.carryOut(c, &c.ops[c.at]), nil
}

// carryOut applies the ops in their order, after the voucher of newest was taken.
func (s *State) carryOut(c *charging, newest *DrawOp) []Effect {
	count, hash := s.InDraws.count(), [32]byte{}
	if s.InDraws != nil {
		hash = s.InDraws.Hash
	}
	changed := newest != nil
	if newest != nil {
		s.In.Total, s.In.Voucher = newest.Total, newest.Signature
	}
	d := s.InDraws.clone()
	s.InDraws = d
	can := s.CanCharge()
	results := make([]DrawResult, len(c.ops))
	for i := range c.ops {
		r := &results[i]
		did := false
		switch op := &c.ops[i]; {
		case op.Kind == HoldDraw:
			did, r.Err = s.hold(d, op, can)
		case op.Kind == EndDraw:
			did, r.Err = s.endDraw(d, op)
		default:
			r.Charge.Repeated, r.Err = s.charge(d, op, can, c.bad != nil && c.bad[i])
			did = r.Err == nil && !r.Charge.Repeated
		}
		changed = changed || did
		r.Charge.N = c.ops[i].N
	}
	for i := range results {
		d.tell(&results[i].Charge)
		results[i].Charge.Lane = s.Stand(false)
	}
	done := DrawsDone{Results: results}
	if !changed {
		return []Effect{done}
	}
	effects := []Effect{SaveDraws{}, Save{}}
	return append(append(effects, s.told(count, hash)...), done)
}

// tell fills in how a draw stands.
func (d *InDraws) tell(c *Charge) {
	if i := d.running(c.N); i >= 0 {
		c.Status, c.Held = DrawHeld, d.Running[i].Held
	} else if used, ok := d.used(c.N); ok {
		c.Status, c.Used = DrawEnded, used
	} else if i := slices.IndexFunc(d.Untold, func(e Draw) bool { return e.N == c.N }); i >= 0 {
		c.Status, c.Used = DrawEnded, d.Untold[i].Amount // below the window
	}
}

// told reports the draws after count, at which the chain was at hash: to the payer and to the owner.
func (s *State) told(count uint64, hash [32]byte) (effects []Effect) {
	d := s.InDraws
	if d.Count == count {
		return nil
	}
	fresh := slices.Clone(d.Untold[count-d.Told:])
	effects = []Effect{Drew{First: count + 1, Draws: fresh}}
	if s.knows == knowsNone { // repeated when its program knows them again
		return effects
	}
	return append(effects, s.reports(count, hash, fresh)...)
}

// reports are messages about draws that ended after count.
func (s *State) reports(count uint64, hash [32]byte, list []Draw) (effects []Effect) {
	lane := s.Terms.In.ID()
	for len(list) > 0 {
		n := min(len(list), MaxReportDraws)
		for i, e := range list[:n] {
			hash = DrawHash(hash, lane, count+1+uint64(i), e)
		}
		effects = append(effects, Send{&Draws{Lane: lane, FirstSeq: count + 1, Draws: list[:n:n], Hash: hash}})
		count, list = count+uint64(n), list[n:]
	}
	return effects
}

// retell repeats what the payer has not accepted.
func (s *State) retell() []Effect {
	if s.InDraws == nil || s.knows != knowsDraws {
		return nil
	}
	return s.reports(s.InDraws.Told, s.InDraws.ToldHash, s.InDraws.Untold)
}

// charge begins a draw. It reports whether n was used before.
func (s *State) charge(d *InDraws, op *DrawOp, can error, bad bool) (repeated bool, err error) {
	_, used := d.used(op.N)
	switch {
	case op.N == 0:
		return false, fail(KindInvalid, "a draw's number is at least 1")
	case used || d.running(op.N) >= 0:
		return true, nil
	case d.past(op.N):
		return false, fail(KindConflict, "draw %d is too old: %d newer ones were made since", op.N, d.High-op.N)
	case can != nil:
		return false, can
	case op.Deny != nil:
		return false, op.Deny
	case bad:
		return false, fail(KindBadVoucher, "the signature over %d msat is wrong", op.Total)
	case op.Total > s.Terms.In.Capacity():
		return false, fail(KindCapacity, "a voucher over %d msat is above the lane's %d", op.Total, s.Terms.In.Capacity())
	case op.Raise != 0 && op.Amount > 0:
		return false, fail(KindInvalid, "what raises draw %d draws nothing itself", op.Raise)
	case op.Amount > op.Max:
		return false, fail(KindCredit, "%d msat are asked for and %d msat were authorised", op.Amount, op.Max)
	case op.Amount > s.credit(d):
		return false, fail(KindCredit, "%d msat are asked for and the credit is %d msat", op.Amount, s.credit(d))
	case len(d.Running)+len(d.Untold) >= MaxOpenDraws:
		return false, fail(KindWindow, "%d draws run or wait until the payer's node has accepted them", len(d.Running)+len(d.Untold))
	}
	d.use(op.N)
	if i := d.running(op.Raise); i >= 0 && op.Raise != 0 {
		d.Running[i].Max = max(d.Running[i].Max, op.Max)
	}
	if op.Amount == 0 {
		d.end(s.Terms.In.ID(), Draw{N: op.N})
	} else {
		d.Running = append(d.Running, RunningDraw{N: op.N, Max: op.Max, Held: op.Amount})
	}
	return false, nil
}

// credit is what can be drawn still.
func (s *State) credit(d *InDraws) Msat {
	return s.In.Total - min(s.In.Total, s.In.Spent+d.Drawn+d.held())
}

func (s *State) hold(d *InDraws, op *DrawOp, can error) (changed bool, err error) {
	i := d.running(op.N)
	if i < 0 {
		return false, d.gone(op.N)
	}
	r := &d.Running[i]
	if op.Amount > maxMsat || op.Keep > r.Held+op.Amount {
		return false, fail(KindInvalid, "%d msat can't be kept of %d msat", op.Keep, r.Held+op.Amount)
	}
	if keep := min(op.Keep, r.Held); keep > r.Keep { // delivered, also if there is no more
		r.Keep, changed = keep, true
	}
	switch {
	case op.Amount == 0:
		return changed, nil
	case can != nil:
		return changed, can
	case op.Deny != nil:
		return changed, op.Deny
	case op.Amount > r.Max-r.Held:
		return changed, fail(KindCredit, "%d msat beside %d msat are asked for and %d msat were authorised", op.Amount, r.Held, r.Max)
	case op.Amount > s.credit(d):
		return changed, fail(KindCredit, "%d msat more are asked for and the credit is %d msat", op.Amount, s.credit(d))
	}
	r.Held += op.Amount
	r.Keep = max(r.Keep, op.Keep)
	return true, nil
}

// gone says why a draw does not run.
func (d *InDraws) gone(n uint64) error {
	if used, ok := d.used(n); ok {
		return fail(KindForbidden, "draw %d has ended with %d msat", n, used)
	}
	return fail(KindUnknown, "no draw %d runs", n)
}

// endDraw ends a draw with what was used, and at least with what was kept. One that has ended stays as it is.
func (s *State) endDraw(d *InDraws, op *DrawOp) (changed bool, err error) {
	i := d.running(op.N)
	if i < 0 {
		if _, ok := d.used(op.N); ok {
			return false, nil
		}
		return false, d.gone(op.N)
	}
	r := d.Running[i]
	if op.Amount > r.Held {
		return false, fail(KindInvalid, "%d msat can't be used of the %d msat that draw %d holds", op.Amount, r.Held, op.N)
	}
	d.Running = slices.Delete(d.Running, i, i+1)
	d.end(s.Terms.In.ID(), Draw{N: op.N, Amount: max(op.Amount, r.Keep)})
	return true, nil
}

// endAll ends what runs with what was kept: whoever served it is gone, or the channel ends. On a record that is
// not proven nothing is added to the chain, which has perhaps gone on.
func (s *State) endAll() []Effect {
	if s.InDraws == nil || len(s.InDraws.Running) == 0 || s.In.Frozen == FrozenUnproven {
		return nil
	}
	count, hash := s.InDraws.Count, s.InDraws.Hash
	d := s.InDraws.clone()
	s.InDraws = d
	for _, r := range d.Running {
		d.end(s.Terms.In.ID(), Draw{N: r.N, Amount: r.Keep})
	}
	d.Running = nil
	return append([]Effect{SaveDraws{}, Save{}}, s.told(count, hash)...)
}

// drawsAcked notes which draws the payer has accepted.
func (s *State) drawsAcked(m *DrawsAck) ([]Effect, error) {
	if m.Lane != s.Terms.In.ID() || !s.Terms.In.Exists() || m.Count > s.InDraws.count() {
		return nil, fail(KindInvalid, "an answer to draws that were not made")
	}
	return s.accepted(m.Count), nil
}

func (s *State) accepted(count uint64) []Effect {
	if s.InDraws == nil || count <= s.InDraws.Told {
		return nil
	}
	d := s.InDraws.clone()
	n := count - d.Told
	for i, e := range d.Untold[:n] {
		d.ToldHash = DrawHash(d.ToldHash, s.Terms.In.ID(), d.Told+1+uint64(i), e)
	}
	d.Told, d.Untold = count, slices.Clip(d.Untold[n:])
	s.InDraws = d
	return []Effect{SaveDraws{}, Save{}}
}

// voided ends what the payer authorised and what never came here.
func (s *State) voided(m *DrawsVoid) ([]Effect, error) {
	if m.Lane != s.Terms.In.ID() || !s.Terms.In.Exists() {
		return nil, fail(KindInvalid, "draws on another lane")
	}
	if s.Phase > PhaseOpen || s.In.Frozen != NotFrozen {
		return nil, nil
	}
	count, hash := s.InDraws.count(), [32]byte{}
	if s.InDraws != nil {
		hash = s.InDraws.Hash
	}
	d := s.InDraws.clone()
	for _, n := range m.N {
		_, used := d.used(n)
		if n == 0 || used || d.running(n) >= 0 || slices.ContainsFunc(d.Untold, func(e Draw) bool { return e.N == n }) ||
			len(d.Running)+len(d.Untold) >= MaxOpenDraws {
			continue
		}
		if !d.past(n) {
			d.use(n)
		}
		d.end(s.Terms.In.ID(), Draw{N: n})
	}
	if d.Count == count {
		return nil, nil
	}
	s.InDraws = d
	return append([]Effect{SaveDraws{}, Save{}}, s.told(count, hash)...), nil
}
