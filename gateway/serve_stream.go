package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/runnel/runnel/channel"
)

// stream is the answer to a request that is paid by what it delivers. Before something leaves it is held, so an
// answer never runs ahead of its payment; what is held and not delivered returns to the payer.
type stream struct {
	*sale
	topUps *topUps
	stop   chan struct{} // ends the clock; nil: none runs

	mu        sync.Mutex // of all below: the handler writes, and the clock counts
	status    int
	mode      streamMode
	cut       eventCutter
	tally     tally
	held      channel.Msat
	delivered channel.Msat
	body      []byte // of a whole answer whose usage is read
	err       error  // nothing is delivered after it
	since     time.Time
	active    time.Duration // that counts, up to since
}

type streamMode uint8

const (
	modePlain  streamMode = iota // bytes as they come
	modeEvents                   // server-sent events, one at a time
	modeWhole                    // read to its end, then priced
	modeFree                     // not a success: not charged
	modeDead                     // replaced by a problem
)

// maxWhole bounds an answer that is read whole for its usage.
const maxWhole = 8 << 20

var (
	errPause    = errors.New("no voucher came in time")
	errEncoding = errors.New("the service compresses what has to be counted")
)

func newStream(s *sale) *stream {
	return &stream{sale: s, topUps: s.g.running.add(s.pay.Channel, s.charge.N, s.pay.Max), held: s.charge.Held, tally: tally{unit: s.route.Price.Unit}}
}

func (s *stream) Header() http.Header { return s.w.Header() }

func (s *stream) WriteHeader(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeHeader(status)
}

func (s *stream) writeHeader(status int) {
	if s.status != 0 {
		return
	}
	if status < 200 {
		s.w.WriteHeader(status)
		return
	}
	s.status = status
	h := s.w.Header()
	private(h)
	if !charged(status) {
		s.mode = modeFree
		s.giveBack()
		s.w.WriteHeader(status)
		return
	}
	if s.mode = s.modeOf(h); s.mode == modeDead {
		s.replace(ProblemUpstream.Problem("%v; nothing was charged", errEncoding))
		return
	}
	if s.mode == modeWhole {
		return // its receipt comes before it
	}
	h.Del("Content-Length") // a receipt follows
	if s.mode == modePlain {
		h.Add("Trailer", HeaderReceipt)
	}
	s.since = s.plan.Now()
	s.w.WriteHeader(status)
	_ = s.flush()
	if s.tally.unit == UnitSecond {
		s.stop = make(chan struct{})
		go s.clock(s.stop)
	}
}

func (s *stream) modeOf(h http.Header) streamMode {
	coded := h.Get("Content-Encoding") != "" && h.Get("Content-Encoding") != "identity"
	switch counted := s.tally.unit == UnitEvent || s.tally.unit == UnitToken; {
	case coded && counted:
		return modeDead
	case isEvents(h) && !coded:
		return modeEvents
	case counted:
		return modeWhole
	}
	return modePlain
}

// replace sends a problem in the place of the answer.
func (s *stream) replace(p *Problem) {
	s.mode, s.status = modeDead, p.Status
	s.giveBack()
	if p.Status == http.StatusPaymentRequired {
		s.fail(p)
		return
	}
	writeProblem(s.w, s.r, p)
}

func (s *stream) Write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeHeader(http.StatusOK)
	switch {
	case s.mode == modeDead:
		return len(b), nil
	case s.mode == modeFree:
		return s.w.Write(b)
	case s.err != nil:
		return 0, s.err
	}
	switch s.mode {
	case modeEvents:
		s.err = s.events(b)
	case modeWhole:
		if s.body = append(s.body, b...); len(s.body) > maxWhole {
			s.replace(ProblemUpstream.Problem("an answer whose usage is counted has at most %d bytes; nothing was charged", maxWhole))
		}
	default:
		s.err = s.plainBytes(b)
	}
	if s.err != nil {
		return 0, s.err
	}
	return len(b), nil
}

// events delivers the whole events that b completes.
func (s *stream) events(b []byte) error {
	s.cut.push(b)
	for {
		e, err := s.cut.next()
		if e == nil || err != nil {
			return err
		}
		t := s.tally
		t.event(e)
		if err := s.deliver(t, e); err != nil {
			return err
		}
	}
}

// plainBytes delivers bytes in pieces, so that what is held for one is soon used.
func (s *stream) plainBytes(b []byte) error {
	const piece = 32 << 10
	for len(b) > 0 {
		n := min(len(b), piece)
		t := s.tally
		if t.unit == UnitByte {
			t.units += uint64(n)
		}
		if err := s.deliver(t, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// deliver sends b when what it brings the count to is held.
func (s *stream) deliver(t tally, b []byte) error {
	if err := s.cover(&t); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.tally, s.delivered = t, s.cost(&t)
	return nil
}

func (s *stream) flush() error { return http.NewResponseController(s.w).Flush() }

// cost is what a count comes to. Seconds count from the first byte on, and not while the stream waits for a voucher.
func (s *stream) cost(t *tally) channel.Msat {
	if t.unit == UnitSecond {
		t.units = uint64((s.active + s.plan.Now().Sub(s.since) + time.Second - 1) / time.Second)
	}
	if t.units == 0 {
		return 0
	}
	return s.route.Price.cost(t.units)
}

// cover makes sure that what the count comes to is held, and waits for a voucher if it has to.
func (s *stream) cover(t *tally) error {
	var pause *time.Timer
	for {
		cost := s.cost(t)
		if cost <= s.held {
			return nil
		}
		if s.more(cost) {
			continue
		}
		if pause == nil {
			s.halt()
			defer s.resume()
			pause = time.NewTimer(s.plan.Pause)
			defer pause.Stop()
			if err := s.needVoucher(cost); err != nil {
				return err
			}
		}
		select {
		case <-s.topUps.wake:
		case <-time.After(time.Second): // credit can come from another request too
		case <-pause.C:
			return errPause
		case <-s.r.Context().Done():
			return s.r.Context().Err()
		}
	}
}

func (s *stream) halt() {
	s.active += s.plan.Now().Sub(s.since)
	s.since = s.plan.Now()
}

// resume leaves the time of the pause out.
func (s *stream) resume() { s.since = s.plan.Now() }

// more holds what is missing to cost: a chunk if there is room for it, else just that.
func (s *stream) more(cost channel.Msat) bool {
	missing := cost - s.held
	room := s.topUps.limit() - min(s.held, s.topUps.limit())
	chunk := min(room, max(missing, s.route.Price.cost(chunkUnits(s.tally.unit))))
	if missing > room {
		return false
	}
	if s.holdMore(chunk) {
		return true
	}
	return chunk > missing && s.holdMore(missing)
}

func (s *stream) holdMore(more channel.Msat) bool {
	ctx, cancel := context.WithTimeout(s.r.Context(), endTime)
	defer cancel()
	c, err := s.plan.Payee.HoldMore(ctx, s.pay.Channel, s.charge.N, more, s.delivered)
	if err != nil {
		return false
	}
	s.held, s.charge = c.Held, c
	return true
}

// needVoucher tells the client that the stream waits.
func (s *stream) needVoucher(cost channel.Msat) error {
	stand, err := s.plan.Payee.LaneStand(s.r.Context(), s.pay.Channel)
	if err != nil {
		return err
	}
	if s.mode != modeEvents {
		return nil // there is no place for it: the client counts itself
	}
	missing := cost - s.held
	n := NeedVoucher{Channel: s.pay.Channel, N: s.charge.N, Max: cost, Required: stand.Spent + missing, Accepted: stand.Total, Deposit: stand.Capacity}
	data, err := n.Encode()
	if err != nil {
		return err
	}
	return s.say(EventNeedVoucher, data)
}

// say puts an event of ours between those of the stream.
func (s *stream) say(name string, data []byte) error {
	if _, err := s.w.Write([]byte("event: " + name + "\ndata: " + string(data) + "\n\n")); err != nil {
		return err
	}
	return s.flush()
}

// clock counts seconds while nothing is delivered.
func (s *stream) clock(stop chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		t := s.tally
		if s.err == nil {
			if s.err = s.cover(&t); s.err == nil {
				s.delivered = s.cost(&t)
			}
		}
		ended := s.err != nil
		s.mu.Unlock()
		if ended {
			return
		}
	}
}

func (s *stream) FlushError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeHeader(http.StatusOK)
	if s.mode == modeWhole || s.mode == modeDead {
		return nil
	}
	return s.flush()
}

func (s *stream) Flush() { _ = s.FlushError() }

func (s *stream) finish(broken bool) {
	if s.stop != nil {
		close(s.stop)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.g.running.remove(s.pay.Channel, s.charge.N)
	defer s.unkept()
	if s.status == 0 && !broken {
		s.writeHeader(http.StatusOK)
	}
	if s.mode == modeWhole && !broken && s.status != 0 {
		s.sendWhole()
	} else if s.status != 0 && s.mode != modeFree && s.mode != modeDead {
		broken = s.close(broken)
	}
	s.giveBack() // if nothing else ended it
	o := Outcome{Kind: OutcomePaid, Status: s.status, Amount: s.charge.Used, Units: s.tally.units}
	if s.charge.Used == 0 {
		o.Kind, o.Units = OutcomeGivenBack, 0
	}
	s.observe(o)
	if broken && s.status != 0 && s.mode != modeFree && s.mode != modeDead {
		panic(http.ErrAbortHandler) // an answer that broke off must not look whole
	}
}

// close ends a stream with what was delivered, and says so to a client that is still there.
func (s *stream) close(broken bool) (abort bool) {
	if s.err == nil && !broken && s.mode == modeEvents && len(s.cut.rest()) > 0 {
		t := s.tally
		t.event(s.cut.rest())
		s.err = s.deliver(t, append(s.cut.rest(), "\n\n"...)) // an end that the service left away: the receipt is an event of its own
	}
	if s.tally.unit == UnitSecond && s.err == nil {
		s.delivered = min(s.cost(&s.tally), s.held)
	}
	if err := s.end(s.delivered); err != nil && !s.ended {
		return true
	}
	receipt := s.sale.receipt(s.charge.Used, s.tally.units)
	if s.mode == modeEvents && (s.err == nil || errors.Is(s.err, errPause)) && !broken {
		if data, err := Canonical(receipt.json()); err == nil {
			_ = s.say(EventReceipt, data)
		}
		return false
	}
	if s.err != nil || broken {
		return true
	}
	if header, err := receipt.Header(); err == nil {
		s.w.Header().Set(HeaderReceipt, header)
	}
	return false
}

// sendWhole prices an answer that was read to its end, and sends it.
func (s *stream) sendWhole() {
	s.tally.units = 1
	if s.tally.unit == UnitToken {
		s.tally.units = usage(s.body)
	}
	cost := s.route.Price.cost(s.tally.units)
	if cost > s.held && !s.more(cost) {
		p := ProblemBalance.Problem("the answer costs %d msat, and %d are authorised or covered: it was not sent and nothing was charged", cost, s.held)
		p.RequiredMax = cost
		s.replace(p)
		return
	}
	if err := s.end(cost); err != nil {
		s.replace(problemOf(err))
		return
	}
	if header, err := s.sale.receipt(cost, s.tally.units).Header(); err == nil {
		s.w.Header().Set(HeaderReceipt, header)
	}
	s.w.WriteHeader(s.status)
	_, _ = s.w.Write(s.body)
}
