package channel

import "slices"

// The payer's side of draws (protocol.md 14).

// Wish is an authorisation that is wanted.
type Wish struct {
	Max     Msat   // the most that may be drawn for it
	Raise   uint64 // n of an open authorisation that grows by RaiseBy; Max is 0 then
	RaiseBy Msat
}

// Grant is an authorisation that was given.
type Grant struct {
	N     uint64
	Max   Msat   // the most that may be drawn for N, or for Raise if that is set
	Raise uint64 // n of the draw that was raised, or 0
}

// authorising is what waits for a signature.
type authorising struct {
	draws  *OutDraws
	grants []Grant
	total  Msat
}

// CanAuthorise says why the payee can't be authorised to draw now, or nil.
func (s *State) CanAuthorise() error {
	switch {
	case s.CanPay() != nil:
		return s.CanPay()
	case !s.Synced && !s.proved:
		return fail(KindWindow, "the peer is not connected")
	case s.knows != knowsDraws:
		return fail(KindUnsupported, "the peer's node does not know draws: it has to be updated")
	}
	return nil
}

func (s *State) authorise(e Authorise) ([]Effect, error) {
	if s.signing != nil || s.authorising != nil {
		return nil, fail(KindForbidden, "a signature is awaited")
	}
	if err := s.CanAuthorise(); err != nil {
		return nil, err
	}
	a := &authorising{draws: s.OutDraws.clone()}
	for i, ask := range e.Wishes {
		g, err := s.grant(a.draws, ask)
		if err != nil {
			if i == 0 {
				return nil, err
			}
			break
		}
		a.grants = append(a.grants, g)
	}
	if len(a.grants) == 0 {
		return nil, fail(KindInvalid, "nothing to authorise")
	}
	a.total = max(s.Out.Total, s.Out.Spent+s.UnackedSum()+a.draws.taken())
	s.authorising = a
	if a.total == s.Out.Total { // all from credit
		return s.authorised(Signed{Signature: s.Out.Voucher})
	}
	return []Effect{Sign{Total: a.total}}, nil
}

// grant adds an authorisation to d if the lane carries it beside all others.
func (s *State) grant(d *OutDraws, ask Wish) (Grant, error) {
	i := d.find(ask.Raise)
	switch {
	case (ask.Raise == 0) != (ask.RaiseBy == 0) || ask.Raise != 0 && ask.Max != 0:
		return Grant{}, fail(KindInvalid, "an authorisation is for a new draw, or raises one that runs")
	case ask.Raise != 0 && i < 0:
		return Grant{}, fail(KindUnknown, "draw %d does not run: it was not authorised, or has ended", ask.Raise)
	case len(d.Open) >= MaxOpenDraws:
		return Grant{}, fail(KindWindow, "%d authorisations wait for the payee's report", len(d.Open))
	case ask.Max == 0 && ask.RaiseBy == 0 && s.Out.Total == 0:
		return Grant{}, fail(KindInvalid, "nothing is vouchered yet, so there is nothing that an empty authorisation could show")
	}
	more := ask.Max + ask.RaiseBy
	capacity, used := s.Terms.Out.Capacity(), s.Out.Spent+s.UnackedSum()+d.taken()
	if more > maxMsat || used > capacity || more > capacity-used {
		return Grant{}, fail(KindCapacity, "%d msat is more than the %d msat that the channel can still pay", more, capacity-min(capacity, used))
	}
	// One draw larger than the bound goes alone: whoever authorises such a sum at once means to.
	risk := s.UnackedSum() + d.risk()
	if ask.Raise != 0 {
		risk -= d.Open[i].Max - d.Open[i].Before
	}
	if alone := len(d.Open) == 0 || len(d.Open) == 1 && i >= 0; !alone && (more > s.Terms.MaxUnacked || risk > s.Terms.MaxUnacked-more) {
		return Grant{}, fail(KindWindow, "%d msat wait for an answer", risk)
	}
	g := Grant{N: d.Next, Max: ask.Max, Raise: ask.Raise}
	if ask.Raise != 0 {
		o := &d.Open[i]
		o.Before, o.Max = o.Max, o.Max+ask.RaiseBy
		g.Max = o.Max
	}
	d.Next++
	d.Open = append(d.Open, OpenDraw{N: g.N, Max: ask.Max})
	return g, nil
}

// Authorising is how many authorisations wait for a signature.
func (s *State) Authorising() int {
	if s.authorising == nil {
		return 0
	}
	return len(s.authorising.grants)
}

func (s *State) authorised(e Signed) ([]Effect, error) {
	a := s.authorising
	s.authorising = nil
	if e.Err != nil || a.total < s.Out.Total || s.CanAuthorise() != nil {
		return nil, nil // what was signed after the lane stopped never leaves
	}
	// What the payee told meanwhile is not in the copy that waited.
	a.draws.catchUp(s.OutDraws)
	s.Out.Total, s.Out.Voucher, s.OutDraws = a.total, e.Signature, a.draws
	return []Effect{SaveDraws{Out: true}, Save{}, Authorised{Grants: a.grants, Total: a.total, Signature: e.Signature}}, nil
}

// catchUp takes over which draws ended since d was copied.
func (d *OutDraws) catchUp(now *OutDraws) {
	if now == nil || now.Count == d.Count {
		return
	}
	d.Open = slices.DeleteFunc(d.Open, func(o OpenDraw) bool { return o.N < now.Next && now.find(o.N) < 0 })
	d.Count, d.Drawn, d.Hash = now.Count, now.Drawn, now.Hash
}

// drawsTold takes the payee's report of draws that ended.
func (s *State) drawsTold(m *Draws) ([]Effect, error) {
	if m.Lane != s.Terms.Out.ID() || !s.Terms.Out.Exists() {
		return nil, fail(KindInvalid, "draws on another lane")
	}
	if sp := s.OutFunding.Spend; s.Phase.Final() || sp != nil && s.deep(sp.Height) {
		return nil, nil // the chain has told
	}
	count := s.OutDraws.count()
	if m.FirstSeq > count+1 {
		return s.askDraws(), nil
	}
	if skip := count + 1 - m.FirstSeq; skip >= uint64(len(m.Draws)) {
		return []Effect{Send{&DrawsAck{Lane: m.Lane, Count: count}}}, nil // told again
	}
	fresh := m.Draws[count+1-m.FirstSeq:]
	next := s.OutDraws.clone()
	most := make([]Msat, len(fresh))
	for i, d := range fresh {
		if at := next.find(d.N); at >= 0 {
			most[i] = next.Open[at].Max
		}
		if err := s.acceptDraw(next, m.Lane, d); err != nil {
			return s.freezeDraws(err), nil
		}
	}
	if next.Hash != m.Hash {
		return s.freezeOut(FrozenHash), nil
	}
	s.OutDraws, s.askedDraws = next, 0
	effects := []Effect{SaveDraws{Out: true}, Save{}, Drew{Out: true, First: count + 1, Draws: fresh, Max: most}, Send{&DrawsAck{Lane: m.Lane, Count: next.Count}}}
	if early := s.early; early != nil { // its stop came before them
		s.early = nil
		s.own()
		more, err := s.stopped(early)
		if err == nil {
			effects = append(effects, more...)
		}
	}
	return effects, nil
}

// acceptDraw takes a draw into the book: the payee may draw once for each n, and at most what was authorised.
// A record that is too old to know what was authorised takes what the vouchers cover.
func (s *State) acceptDraw(d *OutDraws, lane LaneID, e Draw) error {
	i := d.find(e.N)
	if s.Out.Frozen != FrozenUnproven {
		switch {
		case i < 0:
			return fail(KindConflict, "the peer drew %d msat for %d, which was not authorised or was drawn before", e.Amount, e.N)
		case e.Amount > d.Open[i].Max:
			return fail(KindConflict, "the peer drew %d msat for %d, and %d msat were authorised", e.Amount, e.N, d.Open[i].Max)
		}
	}
	if room := s.Out.Total - min(s.Out.Total, s.Out.Spent+d.Drawn); e.Amount > room {
		return fail(KindConflict, "the peer drew %d msat for %d, which no voucher covers", e.Amount, e.N)
	}
	if i >= 0 {
		d.Open = slices.Delete(d.Open, i, i+1)
	}
	d.Count++
	d.Drawn += e.Amount
	d.Hash = DrawHash(d.Hash, lane, d.Count, e)
	return nil
}

func (s *State) freezeDraws(cause error) []Effect {
	effects := s.freezeOut(FrozenDraw)
	if len(effects) > 0 {
		effects = append(effects, Misbehaved{Text: cause.Error()})
	}
	return effects
}

// askDraws tells the payee which draws we know, once for each gap.
func (s *State) askDraws() []Effect {
	if count := s.OutDraws.count() + 1; s.askedDraws != count {
		s.askedDraws = count
		return []Effect{Send{s.resync()}}
	}
	return nil
}

// void asks the payee about authorisations that perhaps never reached it: those that it does not know end with
// nothing.
func (s *State) void(e VoidDraws) []Effect {
	if s.Phase.Final() || s.Out.Frozen != NotFrozen || s.knows != knowsDraws {
		return nil
	}
	var effects []Effect
	var list []uint64
	for _, n := range e.N {
		if s.OutDraws.find(n) >= 0 {
			list = append(list, n)
		}
		if len(list) == MaxReportDraws {
			effects = append(effects, Send{&DrawsVoid{Lane: s.Terms.Out.ID(), N: list}})
			list = nil
		}
	}
	if len(list) > 0 {
		effects = append(effects, Send{&DrawsVoid{Lane: s.Terms.Out.ID(), N: list}})
	}
	return effects
}

// resolveDraws ends authorisations of which nobody will tell any more, now that the chain proved what was taken.
func (s *State) resolveDraws() []Effect {
	if s.OutDraws == nil || len(s.OutDraws.Open) == 0 {
		return nil
	}
	open := s.OutDraws.Open
	d := s.OutDraws.clone()
	d.Open = nil
	s.OutDraws = d
	sp := s.OutFunding.Spend
	return []Effect{SaveDraws{Out: true}, Save{}, DrawsOver{Open: open, Taken: sp != nil && sp.Kind == SpentSettled}}
}

// DrawFate is what came of an authorisation that no report told of. It stays pending where nobody can know.
func (s *State) DrawFate(n uint64) PayStatus {
	sp := s.OutFunding.Spend
	switch {
	case s.OutDraws.find(n) >= 0 || sp == nil || !s.deep(sp.Height):
		return PayPending
	case sp.Kind == SpentSettled: // with all that was vouchered
		return PayAcknowledged
	case sp.Kind != SpentRefunded && s.Out.Frozen == FrozenUnproven: // what it took is only known in all
		return PayPending
	}
	return PayRefused
}
