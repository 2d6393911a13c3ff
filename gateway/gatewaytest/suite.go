package gatewaytest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

// Pair is two nodes, and a channel from the payer to the payee that carries at least 10,000 sat.
type Pair struct {
	Payer   gateway.Payer
	Payee   gateway.Payee
	Channel channel.ID
	// Settled returns once both books agree on every draw, or fails the test.
	Settled func(t testing.TB)
}

// Suite holds a pair of nodes to what package gateway promises about one channel that is used in parallel. With
// RUNNEL_SOAK set it runs for long.
func Suite(t *testing.T, open func(t *testing.T) *Pair) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *shop)
	}{
		{"one credential serves once", oneServesOnce},
		{"vouchers arrive in any order", anyOrder},
		{"a failing service takes nothing", failuresAreFree},
		{"accounting is linearisable", linearisable},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openShop(t, open(t))
			c.run(t, s)
			s.Settled(t)
			if got, want := s.spent()-s.before, channel.Msat(s.served.Load())*price; got != want {
				t.Errorf("%d msat were spent for %d answers of %d", got, s.served.Load(), price)
			}
		})
	}
}

// rounds is few in everyday tests and many in soak runs.
func rounds(few, many int) int {
	if os.Getenv("RUNNEL_SOAK") != "" {
		return many
	}
	return few
}

const (
	price     = channel.Msat(1000)
	authority = "shop.example"
)

// shop sells one thing on one channel.
type shop struct {
	*Pair
	t         *testing.T
	sells     http.Handler
	challenge gateway.Challenge
	before    channel.Msat // spent when it opened
	served    atomic.Int32 // answers that are paid for
}

func openShop(t *testing.T, p *Pair) *shop {
	t.Helper()
	s := &shop{Pair: p, t: t}
	gw, err := gateway.New(context.Background(), gateway.Config{Payee: p.Payee, Secret: make([]byte, gateway.MinSecret), Realm: "shop", UnpaidLimit: -1,
		Routes: []gateway.Route{{Pattern: "/", Price: gateway.Price{Amount: price}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.sells = gateway.Middleware(gw)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Fail") != "" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		s.served.Add(1)
		_, _ = io.WriteString(w, "sold")
	}))
	list, err := gateway.ParseChallenges(s.do(request()).Header.Values("WWW-Authenticate")...)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	s.challenge, s.before = list[0], s.spent()
	return s
}

func request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = authority
	return r
}

func (s *shop) do(r *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	s.sells.ServeHTTP(rec, r.Clone(context.Background()))
	return rec.Result()
}

func (s *shop) spent() channel.Msat {
	l, err := s.Payee.LaneStand(context.Background(), s.Channel)
	if err != nil {
		s.t.Fatal(err)
	}
	return l.Spent
}

// paid is a request with a payment of its own.
func (s *shop) paid(most channel.Msat) (*http.Request, channel.Authorisation) {
	res, err := s.Payer.Authorise(context.Background(), channel.AuthoriseRequest{Channel: s.Channel.String(), Max: most, Ref: "suite",
		Binding: channel.Binding{Challenge: s.challenge.ID, Method: http.MethodGet, Authority: authority, Target: "/", Body: sha256.Sum256(nil)}})
	if err != nil {
		s.t.Fatal(err)
	}
	payload, err := gateway.PayloadOf(gateway.ActionVoucher, &res.Authorisation).Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	c := gateway.Credential{Challenge: s.challenge, Payload: payload}
	header, err := c.Header()
	if err != nil {
		s.t.Fatal(err)
	}
	r := request()
	r.Header.Set("Authorization", header)
	return r, res.Authorisation
}

// oneServesOnce: a hundred uses of one credential at once serve what it pays for.
func oneServesOnce(t *testing.T, s *shop) {
	for round := range rounds(20, 1000) {
		r, _ := s.paid(price)
		var all sync.WaitGroup
		var fine atomic.Int32
		for range 100 {
			all.Go(func() {
				switch res := s.do(r); res.StatusCode {
				case http.StatusOK:
					fine.Add(1)
				case http.StatusConflict:
				default:
					t.Errorf("%s", res.Status)
				}
			})
		}
		all.Wait()
		if int(s.served.Load()) != round+1 || fine.Load() == 0 {
			t.Fatalf("round %d: served %d times, %d got an answer", round, s.served.Load(), fine.Load())
		}
	}
}

// anyOrder: a hundred distinct vouchers all succeed, whatever the order in which they arrive.
func anyOrder(t *testing.T, s *shop) {
	for range rounds(1, 50) {
		list := make([]*http.Request, 100)
		for i := range list {
			list[i], _ = s.paid(price)
		}
		slices.Reverse(list[:50])
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		before := s.served.Load()
		var all sync.WaitGroup
		for _, r := range list {
			all.Go(func() {
				res := s.do(r)
				if receipt, err := gateway.ParseReceipt(res.Header.Get(gateway.HeaderReceipt)); res.StatusCode != http.StatusOK || err != nil || receipt.Amount != price {
					t.Errorf("%s: %+v, %v", res.Status, receipt, err)
				}
			})
		}
		all.Wait()
		if got := s.served.Load() - before; got != 100 {
			t.Errorf("served %d", got)
		}
	}
}

// failuresAreFree: answers that are no success, between others, give back what was held for them.
func failuresAreFree(t *testing.T, s *shop) {
	for range rounds(1, 50) {
		var all sync.WaitGroup
		for i := range 40 {
			r, _ := s.paid(price)
			want := http.StatusOK
			if i%2 == 0 {
				r.Header.Set("Fail", "yes")
				want = http.StatusBadGateway
			}
			all.Go(func() {
				if res := s.do(r); res.StatusCode != want || (res.Header.Get(gateway.HeaderReceipt) != "") != (want == http.StatusOK) {
					t.Errorf("%s instead of %d, receipt %q", res.Status, want, res.Header.Get(gateway.HeaderReceipt))
				}
			})
		}
		all.Wait()
	}
}

// use is one request with a credential; spending is what came of it.
type use struct {
	which int // of the round's credentials
	total channel.Msat
	max   channel.Msat
}

type spending struct {
	status int
	amount channel.Msat
	spent  channel.Msat // as the receipt says
}

// account is what a naive clerk keeps: the vouchered total, what was spent, and which credentials were used.
type account struct {
	total, spent channel.Msat
	used         string // one byte for each
}

// clerk says which answers one who takes requests one after another could give.
func clerk(total, spent channel.Msat, credentials int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return account{total, spent, strings.Repeat("-", credentials)} },
		Step: func(state, input, output any) (bool, any) {
			a, in, out := state.(account), input.(use), output.(spending)
			switch {
			case a.used[in.which] != '-': // the stored answer, or a conflict: nothing changes
				return out.status == http.StatusConflict || out.status == http.StatusOK, a
			case in.max < price, max(a.total, in.total)-a.spent < price:
				return out.status == http.StatusPaymentRequired, a
			}
			next := account{max(a.total, in.total), a.spent + price, a.used[:in.which] + "u" + a.used[in.which+1:]}
			return out.status == http.StatusOK && out.amount == price && out.spent >= next.spent, next
		},
		Equal:             func(a, b any) bool { return a == b },
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
	}
}

// linearisable: whatever the order in which requests of one channel are served, a clerk who takes one after the
// other could have given the same answers.
func linearisable(t *testing.T, s *shop) {
	for round := range rounds(3, 100) {
		s.Settled(t)
		stand, err := s.Payee.LaneStand(context.Background(), s.Channel)
		if err != nil {
			t.Fatal(err)
		}
		const credentials = 24
		history := s.history(round, credentials)
		if res := porcupine.CheckOperationsTimeout(clerk(stand.Total, stand.Spent, credentials), history, time.Minute); res != porcupine.Ok {
			t.Fatalf("round %d: the history is %s", round, res)
		}
	}
}

// history is what six clients saw who used credentials at random, and some of them more than once.
func (s *shop) history(round, credentials int) (history []porcupine.Operation) {
	type credential struct {
		r *http.Request
		use
	}
	list := make([]credential, credentials)
	for i := range list {
		most := price
		if i%8 == 7 {
			most = 10 // too little
		}
		r, auth := s.paid(most)
		list[i] = credential{r, use{i, auth.Total, auth.Binding.Max}}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	begin := time.Now()
	for client := range 6 {
		random := rand.New(rand.NewPCG(uint64(round), uint64(client)))
		all.Go(func() {
			for range 8 {
				c := list[random.IntN(len(list))]
				op := porcupine.Operation{ClientId: client, Input: c.use, Call: int64(time.Since(begin))}
				res := s.do(c.r)
				out := spending{status: res.StatusCode}
				if receipt, err := gateway.ParseReceipt(res.Header.Get(gateway.HeaderReceipt)); err == nil {
					out.amount, out.spent = receipt.Amount, receipt.Spent
				}
				op.Output, op.Return = out, int64(time.Since(begin))
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return history
}
