package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/runnel/runnel/channel"
)

// expiryMargin is how long before its end a challenge is not used any more.
const expiryMargin = 2 * time.Second

// session is what is known of a route that costs.
type session struct {
	offer *offer
	until time.Time // by the own clock: so long its challenge is used again
}

// authority is the host as the server sees it.
func authority(req *http.Request) string {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	return authorityOf(host, req.URL.Scheme == "https")
}

// origin is where a request really goes, and what it calls that.
func origin(req *http.Request) string {
	return strings.ToLower(req.URL.Scheme+"://"+req.URL.Host) + " " + authority(req)
}

// route is what shares a price and a challenge.
func (t *Transport) route(req *http.Request) string {
	path := req.URL.EscapedPath()
	if t.Route != nil {
		path = t.Route(req)
	}
	return origin(req) + " " + methodOf(req) + " " + path
}

// sibling is the price of a folder in which every route that was asked cost the same, as those of a pattern with a
// number in it do. After two of them the others need not be asked one by one: a credential names the price that is
// agreed to, so a guess that is wrong is refused and never dearer.
type sibling struct {
	session
	seen  int
	mixed bool
}

// known returns the offer of a route whose next request need not ask, or nil. guess is the folder whose price it is.
func (t *Transport) known(route string) (o *offer, guess string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if s := t.sessions[route]; s != nil {
		if now.Before(s.until) {
			return s.offer, ""
		}
		return nil, ""
	}
	folder := folderOf(route)
	if f := t.siblings[folder]; f != nil && f.seen >= 2 && !f.mixed && now.Before(f.until) {
		return f.offer, folder
	}
	return nil, ""
}

func folderOf(route string) string { return route[:strings.LastIndexByte(route, '/')+1] }

// differs notes that a folder has routes of other prices.
func (t *Transport) differs(folder string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.siblings[folder]; f != nil {
		f.mixed = true
	}
}

// learn counts a route that was asked for the first time. It is called under mu.
func (t *Transport) learn(route string, s session) {
	folder := folderOf(route)
	f := t.siblings[folder]
	if f == nil {
		evict(t.siblings, maxSessions)
		f = &sibling{session: s}
		t.siblings[folder] = f
	}
	if f.offer.challenge.Request != s.offer.challenge.Request || f.offer.challenge.Realm != s.offer.challenge.Realm {
		f.mixed = true
	}
	f.session = s
	f.seen++
}

// forget uses up the challenge of a route. Its price and payee stay known.
func (t *Transport) forget(route string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.sessions[route]; s != nil {
		s.until = time.Time{}
	}
}

// admit holds an offer against what is known of its route, and remembers it. date is the server's clock.
func (t *Transport) admit(req *http.Request, route string, o *offer, date string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions == nil {
		t.sessions, t.payees, t.siblings = map[string]*session{}, map[string]channel.PeerID{}, map[string]*sibling{}
	}
	if why := t.distrust[origin(req)]; why != "" {
		return &Unpaid{Why: WhyDistrust, Text: "this server is paid nothing more: " + why}
	}
	place := origin(req) + " " + o.challenge.Realm
	if known := t.payees[place]; known != "" && known != o.Recipient {
		return otherPayee(known, o)
	}
	if s := t.sessions[route]; s != nil {
		if err := t.same(s.offer, o); err != nil {
			return err
		}
	}
	evict(t.sessions, maxSessions)
	evict(t.payees, maxSessions)
	kept := *o
	details := *o.Request
	details.Details.Snapshot = nil // it was for one request
	kept.Request, kept.least = &details, 0
	s := session{&kept, expiry(o.challenge, date)}
	if t.sessions[route] == nil && t.Route == nil {
		t.learn(route, s)
	}
	t.sessions[route], t.payees[place] = &s, o.Recipient
	return nil
}

func otherPayee(known channel.PeerID, o *offer) error {
	return &Unpaid{Why: WhyRecipient, Text: fmt.Sprintf("the server wants another payee than before: %s, not %s", o.Recipient, known)}
}

// same compares an offer with the one before.
func (t *Transport) same(old, o *offer) error {
	switch {
	case old.Recipient != o.Recipient:
		return otherPayee(old.Recipient, o)
	case t.AllowRise:
	case old.Unit != o.Unit || o.dearer(old):
		return &Unpaid{Why: WhyRise, Text: fmt.Sprintf("the price rose from %s to %s", old.price(), o.price())}
	}
	return nil
}

// evict makes room for one more.
func evict[K comparable, V any](m map[K]V, limit int) {
	for key := range m {
		if len(m) < limit {
			return
		}
		delete(m, key)
	}
}

// expiry is when a challenge ends by the own clock, which need not agree with the server's. One without an end, or
// bound to a body, is good for the request that asked.
func expiry(ch Challenge, date string) time.Time {
	end, err := time.Parse(time.RFC3339, ch.Expires)
	if err != nil || ch.Digest != "" {
		return time.Time{}
	}
	now := time.Now()
	if server, err := http.ParseTime(date); err == nil {
		return now.Add(min(end.Sub(server), 24*time.Hour) - expiryMargin)
	}
	return end.Add(-expiryMargin)
}

// stop pays nothing more to the origin of a request.
func (t *Transport) stop(req *http.Request, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.distrust == nil {
		t.distrust = map[string]string{}
	}
	evict(t.distrust, maxSessions)
	t.distrust[origin(req)] = why
	clear(t.siblings)
	for route, s := range t.sessions {
		if strings.HasPrefix(route, origin(req)+" ") {
			s.until = time.Time{}
		}
	}
}

// stand is the newest voucher of a channel that this transport has seen.
type stand struct {
	total channel.Msat
	sig   channel.Signature
}

// saw remembers the newest voucher of a channel.
func (t *Transport) saw(r *channel.AuthoriseResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stands == nil {
		t.stands = map[channel.ID]stand{}
	}
	if r.Total >= t.stands[r.Channel].total {
		t.stands[r.Channel] = stand{r.Total, r.Signature}
	}
}

// newest is the highest total that this transport has seen vouchered on a channel.
func (t *Transport) newest(id channel.ID) (stand, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.stands[id]
	return s, ok
}
