package gateway

import (
	"maps"
	"net/http"
	"strings"

	"github.com/runnel/runnel/channel"
)

// fixed is the answer to a request that has one price. The draw ends, and the receipt is written, before the first
// byte leaves.
type fixed struct {
	*sale
	status int
	dead   bool // the answer was replaced by a problem
	amount channel.Msat
	kept   []byte // of the answer, for repeats
	whole  bool   // kept is all of it so far
}

func (f *fixed) Header() http.Header { return f.w.Header() }

func (f *fixed) WriteHeader(status int) {
	if f.status != 0 {
		return
	}
	if status < 200 {
		f.w.WriteHeader(status)
		return
	}
	f.status = status
	h := f.w.Header()
	private(h)
	if !charged(status) {
		h.Del(HeaderReceipt)
		f.giveBack()
		f.w.WriteHeader(status)
		return
	}
	f.amount = f.price(status, h)
	if !f.route.GiveBackBroken {
		if err := f.end(f.amount); err != nil {
			f.replace(problemOf(err))
			return
		}
	}
	receipt, err := f.receipt(f.amount, 1).Header()
	if err != nil {
		f.replace(ProblemUnavailable.Problem("no receipt could be made"))
		return
	}
	h.Set(HeaderReceipt, receipt)
	f.whole = true
	f.w.WriteHeader(status)
}

// price is what the answer costs: what it says itself, and at most what was offered.
func (f *fixed) price(status int, h http.Header) channel.Msat {
	p := &f.route.Price
	said, err := p.Amount, error(nil)
	switch {
	case p.Ask != nil:
		said, err = p.Ask(status, h)
	case p.Header != "":
		if text := h.Get(p.Header); text != "" {
			said, err = ParseMsat(strings.TrimSpace(text))
		}
		h.Del(p.Header)
	}
	if err != nil || said > p.Amount {
		f.plan.Log.Warn("the service's price is not taken: the offered one is", "route", f.route.Pattern, "offered", uint64(p.Amount), "err", err)
		return p.Amount
	}
	return said
}

// replace sends a problem in the place of the answer.
func (f *fixed) replace(p *Problem) {
	f.dead = true
	f.giveBack()
	f.status = p.Status
	writeProblem(f.w, f.r, p)
}

func (f *fixed) Write(b []byte) (int, error) {
	if f.status == 0 {
		f.WriteHeader(http.StatusOK)
	}
	if f.dead {
		return len(b), nil
	}
	if f.whole {
		if f.whole = len(f.kept)+len(b) <= f.plan.StoredAnswer; f.whole {
			f.kept = append(f.kept, b...)
		} else {
			f.kept = nil
		}
	}
	return f.w.Write(b)
}

func (f *fixed) FlushError() error {
	if f.status == 0 {
		f.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(f.w).Flush()
}

func (f *fixed) Flush() { _ = f.FlushError() }

func (f *fixed) finish(broken bool) {
	if f.status == 0 && !broken {
		f.WriteHeader(http.StatusOK)
	}
	if f.status != 0 && charged(f.status) && !(broken && f.route.GiveBackBroken) {
		_ = f.end(f.amount)
	}
	f.giveBack() // if nothing else ended it
	o := Outcome{Kind: OutcomePaid, Status: f.status, Amount: f.charge.Used, Units: 1}
	if !charged(f.status) || broken && f.charge.Used == 0 {
		o.Kind, o.Units = OutcomeGivenBack, 0
	}
	f.observe(o)
	f.remember(broken)
}

// remember keeps a whole answer for repeats.
func (f *fixed) remember(broken bool) {
	if broken || !f.whole || !charged(f.status) {
		f.unkept()
		return
	}
	h := maps.Clone(f.w.Header())
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") || name == "Date" || name == "Connection" {
			delete(h, name)
		}
	}
	for _, key := range append(f.keys, f.numbered()) {
		f.g.answers.end(key, &stored{key: key, print: f.print, status: f.status, header: h, body: f.kept})
	}
}
