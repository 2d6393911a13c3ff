package gateway

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/runnel/runnel/channel"
)

// serve charges for the request, serves it, and ends the charge with what it came to.
func (s *sale) serve() {
	if !s.affordable() {
		return
	}
	amount := s.hold()
	key := s.idempotency()
	if key != "" && s.g.answers.get(key) != nil {
		amount = 0 // only the proof: the answer is there, or comes
	}
	if !s.draw(amount) {
		return
	}
	if s.charge.Repeated {
		s.repeated()
		return
	}
	if amount == 0 {
		s.replay(s.g.answers.get(key))
		return
	}
	if key != "" && !s.reserve(key) {
		return
	}
	s.forward()
}

// affordable reports whether the authorisation reaches for the least that can be asked; it answers if not, and tells
// nothing of the channel: nobody has shown yet that it is theirs.
func (s *sale) affordable() bool {
	least := s.route.Price.Amount
	if s.pay.Max >= least && s.pay.Raise == 0 {
		return true
	}
	p := ProblemBalance.Problem("%d msat are authorised and this costs %s", s.pay.Max, s.route.Price.String())
	if s.pay.Raise != 0 {
		p = ProblemVerification.Problem("what raises a stream is sent with HEAD")
	} else {
		p.RequiredMax = least
	}
	s.fail(p)
	return false
}

// Units that are held at once of a stream: each hold is a durable write, and what is held ahead is what a payer has
// bound while the stream is silent.
func chunkUnits(u Unit) uint64 {
	switch u {
	case UnitByte:
		return 1 << 20
	case UnitSecond:
		return 10
	}
	return 32
}

// hold is what is charged before the request is served.
func (s *sale) hold() channel.Msat {
	p := &s.route.Price
	if p.Unit == UnitRequest {
		return p.Amount
	}
	return min(s.pay.Max, p.cost(chunkUnits(p.Unit)))
}

// idempotency is the place of the request's answer, or empty when it has no key. Keys belong to a channel.
func (s *sale) idempotency() string {
	key := s.r.Header.Get(HeaderIdempotency)
	if key == "" {
		return ""
	}
	return "k" + string(s.pay.Channel[:]) + key
}

// numbered is the place of the answer to this very credential.
func (s *sale) numbered() string {
	return "n" + string(s.pay.Channel[:]) + string(s.pay.MAC[:]) + strconv.FormatUint(s.pay.N, 10)
}

// reserve takes the place for the answer, or answers with what is there.
func (s *sale) reserve(key string) bool {
	there, mine := s.g.answers.begin(key, s.print)
	if mine {
		s.keys = append(s.keys, key)
		return true
	}
	s.giveBack()
	s.replay(there)
	return false
}

// replay answers a repeat. Nothing is charged for it.
func (s *sale) replay(there *stored) {
	switch {
	case there == nil:
		s.conflict(ProblemIdempotencyRunning.Problem("it has just ended without an answer to keep: send the request again"))
	case there.print != s.print:
		s.conflict(ProblemIdempotencyReused.Problem("the key was used with another method, target or body; nothing was charged"))
	case there.gone:
		s.conflict(ProblemIdempotencyGone.Problem("it was paid, and was a stream, too long or broken off; nothing was charged for this one: to pay for it again take another key"))
	case there.running:
		s.conflict(ProblemIdempotencyRunning.Problem("nothing was charged for this one: ask again when it is over"))
	default:
		s.tell(there)
	}
}

func (s *sale) conflict(p *Problem) {
	s.observe(Outcome{Kind: OutcomeRepeated, Status: p.Status})
	writeProblem(s.w, s.r, p)
}

// repeated answers a credential that was used before.
func (s *sale) repeated() {
	if there := s.g.answers.get(s.numbered()); there != nil && there.print == s.print && !there.running {
		s.tell(there)
		return
	}
	p := ProblemRepeated.Problem("draw %d has ended with %d msat: pay with a new one", s.charge.N, s.charge.Used)
	if s.charge.Status == channel.DrawHeld {
		p = ProblemRepeated.Problem("draw %d is being served: pay with a new one", s.charge.N)
	}
	s.conflict(p)
}

// unkept frees the places of an answer that is not kept. Of one that was paid they remember that it was.
func (s *sale) unkept() {
	for _, key := range s.keys {
		var left *stored
		if s.charge.Used > 0 {
			left = &stored{key: key, print: s.print, gone: true}
		}
		s.g.answers.end(key, left)
	}
}

func (s *sale) tell(there *stored) {
	s.observe(Outcome{Kind: OutcomeRepeated, Status: there.status})
	h := s.w.Header()
	for name, values := range there.header {
		h[name] = values
	}
	h.Set("Idempotent-Replayed", "true")
	s.w.WriteHeader(there.status)
	_, _ = s.w.Write(there.body)
}

// forward hands the request on and sees to it that the draw ends, however that ends.
func (s *sale) forward() {
	strip(s.r.Header)
	s.r.Header.Set(HeaderPayer, string(s.charge.Lane.Peer))
	s.r.Header.Set(HeaderChannel, FormatChannel(s.pay.Channel))
	a := s.answer()
	defer func() {
		problem := recover()
		a.finish(problem != nil)
		if problem != nil {
			panic(problem) // http.ErrAbortHandler, or the handler's own
		}
	}()
	s.service().ServeHTTP(a, s.r)
}

// answering is an http.ResponseWriter that charges for what goes through it.
type answering interface {
	http.ResponseWriter
	// finish ends the draw; broken says that the handler did not come to its end.
	finish(broken bool)
}

func (s *sale) answer() answering {
	if s.route.Price.Unit == UnitRequest {
		return &fixed{sale: s}
	}
	s.r.Header.Del("Range") // what is counted is whole
	if s.route.Price.Unit != UnitByte && s.route.Price.Unit != UnitSecond {
		s.r.Header.Set("Accept-Encoding", "identity") // usage has to be read
	}
	return newStream(s)
}

// charged reports whether an answer of this status is paid for: receipts and charges go with success alone.
func charged(status int) bool { return status >= 200 && status < 300 }

// private keeps paid answers out of shared caches.
func private(h http.Header) {
	if c := strings.ToLower(h.Get("Cache-Control")); !strings.Contains(c, "no-store") {
		h.Set("Cache-Control", "private")
	}
}
