package gateway_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

func emptySum() [32]byte { return sha256.Sum256(nil) }

// rounds is few in everyday tests and many in soak runs.
func rounds(few, many int) int {
	if os.Getenv("RUNNEL_SOAK") != "" {
		return many
	}
	return few
}

// A hundred uses of one credential at once serve what it pays for: once.
func TestOneCredentialServesOnce(t *testing.T) {
	var served atomic.Int32
	s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		fmt.Fprint(w, "once")
	}), nil)
	c := s.challenge("GET", "/paid")
	for round := range rounds(20, 1000) {
		parallel(t, s, s.paid(ask{target: "/paid", max: 1000, challenge: c}), 100)
		if int(served.Load()) != round+1 || s.spent() != channel.Msat(round+1)*1000 {
			t.Fatalf("round %d: served %d times, spent %d", round, served.Load(), s.spent())
		}
	}
}

// A hundred distinct vouchers all succeed, whatever the order in which they arrive.
func TestVouchersArriveInAnyOrder(t *testing.T) {
	var served atomic.Int32
	s := openCounter(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }), nil)
	c := s.challenge("GET", "/paid")
	var list []*http.Request
	for range 100 {
		list = append(list, s.paid(ask{target: "/paid", max: 1000, challenge: c}))
	}
	slices.Reverse(list[:50])
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	var wg sync.WaitGroup
	for _, r := range list {
		wg.Go(func() {
			if res := s.do(r); res.StatusCode != http.StatusOK || res.receipt == nil {
				t.Errorf("%s: %s", res.Status, res.text)
			}
		})
	}
	wg.Wait()
	if served.Load() != 100 || s.spent() != 100_000 {
		t.Errorf("served %d, spent %d", served.Load(), s.spent())
	}
}

// use is one request with the credential n of a channel; spending is what came of it.
type use struct {
	n     uint64
	total channel.Msat
	max   channel.Msat
}

type spending struct {
	status int
	amount channel.Msat
	spent  channel.Msat // as the receipt says
}

// account is what a naive clerk keeps: the vouchered total, what was spent, and the numbers that were used.
type account struct {
	total, spent channel.Msat
	used         string // one byte for each n
}

// accounting says which answers a clerk could give to a request.
func accounting(price channel.Msat) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return account{used: string(make([]byte, 256))} },
		Step: func(state, input, output any) (bool, any) {
			a, in, out := state.(account), input.(use), output.(spending)
			switch {
			case a.used[in.n] != 0: // the stored answer, or a conflict: nothing changes
				return out.status == http.StatusConflict || out.status == http.StatusOK, a
			case in.max < price:
				return out.status == http.StatusPaymentRequired, a
			case max(a.total, in.total)-a.spent < price:
				return out.status == http.StatusPaymentRequired, a
			}
			next := account{max(a.total, in.total), a.spent + price, a.used[:in.n] + "u" + a.used[in.n+1:]}
			return out.status == http.StatusOK && out.amount == price && out.spent >= next.spent, next
		},
		Equal: func(a, b any) bool { return a == b },
		DescribeOperation: func(in, out any) string {
			return fmt.Sprintf("%+v -> %+v", in, out)
		},
	}
}

// Whatever the order in which requests of one channel are served, a clerk who takes one after the other could have
// given the same answers.
func TestAccountingIsLinearisable(t *testing.T) {
	for round := range rounds(3, 100) {
		s := openCounter(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") }), nil)
		c := s.challenge("GET", "/paid")
		var list []*http.Request
		for i := range 24 {
			most := channel.Msat(1000)
			if i%8 == 7 {
				most = 10 // too little
			}
			list = append(list, s.paid(ask{target: "/paid", max: most, challenge: c}))
		}
		var mu sync.Mutex
		var history []porcupine.Operation
		var wg sync.WaitGroup
		begin := time.Now()
		for client := range 6 {
			random := rand.New(rand.NewPCG(uint64(round), uint64(client)))
			wg.Go(func() {
				for range 8 {
					r := list[random.IntN(len(list))]
					cred, _ := gateway.ParseCredential(r.Header.Get("Authorization"))
					p := must2(cred.SessionPayload())
					op := porcupine.Operation{ClientId: client, Input: use{p.N, p.Total, p.Max}, Call: int64(time.Since(begin))}
					res := s.do(r.Clone(context.Background()))
					out := spending{status: res.StatusCode}
					if res.receipt != nil {
						out.amount, out.spent = res.receipt.Amount, res.receipt.Spent
					}
					op.Output, op.Return = out, int64(time.Since(begin))
					mu.Lock()
					history = append(history, op)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if res := porcupine.CheckOperationsTimeout(accounting(1000), history, time.Minute); res != porcupine.Ok {
			t.Fatalf("round %s: the history is %s", strconv.Itoa(round), res)
		}
	}
}
