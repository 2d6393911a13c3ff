package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

const shop channel.PeerID = "16Uiu2HAmShopShopShopShopShopShopShopShopShopShop"

var lane = channel.ID{0x5a}

// purse is a node that signs all it is asked for, and remembers it.
type purse struct {
	mu     sync.Mutex
	n      uint64
	total  channel.Msat
	max    map[uint64]channel.Msat // of each n
	asked  []channel.AuthoriseRequest
	fail   func(channel.AuthoriseRequest) error // before anything is signed
	late   error                                // after it was signed
	closed bool                                 // there is no channel
	opens  []channel.OpenRequest
	dialed []string
	looks  int // until a channel that was opened can pay
}

func newPurse() *purse { return &purse{max: map[uint64]channel.Msat{}} }

func signature(total channel.Msat) (s channel.Signature) {
	copy(s[:], fmt.Sprintf("SIGNATURE %d", total))
	return s
}

func (p *purse) Authorise(ctx context.Context, req channel.AuthoriseRequest) (r channel.AuthoriseResult, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, req)
	if p.closed {
		return r, channel.Faultf(channel.CodeNotFound, "there is no channel with %s", req.Peer)
	}
	if p.fail != nil {
		if err := p.fail(req); err != nil {
			return r, err
		}
	}
	p.n++
	r.Binding = req.Binding
	r.Binding.N = p.n
	p.max[p.n], r.Binding.Max = req.Max, req.Max
	if req.Raise != 0 {
		p.max[req.Raise] += req.RaiseBy
		r.Binding.Max, r.Binding.Raise = p.max[req.Raise], req.Raise
	}
	p.total += req.Max + req.RaiseBy
	r.Channel, r.Total, r.Signature, r.ID = lane, p.total, signature(p.total), req.ID
	r.Lane = channel.LaneStand{Channel: lane, Peer: channel.PeerID(req.Peer), Capacity: 1e9, Total: p.total, Spent: p.total, Signature: r.Signature}
	return r, p.late
}

func (p *purse) Channels(context.Context) ([]channel.ChannelInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed && len(p.opens) == 0 {
		return nil, nil
	}
	c := channel.ChannelInfo{Channel: lane, PeerID: shop, Phase: channel.PhaseOpen, Spendable: 1e9, Sent: p.total, Required: 3}
	if p.looks > 0 {
		p.looks--
		c.Phase, c.Spendable = channel.PhaseAgreed, 0
	} else {
		p.closed = false
	}
	return []channel.ChannelInfo{c}, nil
}

func (p *purse) Connect(_ context.Context, addr string) (channel.PeerInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialed = append(p.dialed, addr)
	return channel.PeerInfo{PeerID: shop}, nil
}

func (p *purse) Open(_ context.Context, req channel.OpenRequest) (channel.OpenResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !req.DryRun {
		p.opens = append(p.opens, req)
	}
	return channel.OpenResult{Channel: lane, PeerID: shop, Deposit: req.Deposit, OpenFee: 308, Confirmations: 3}, nil
}

// signed is how often and how much the node has authorised.
func (p *purse) signed() (int, channel.Msat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.n), p.total
}

// stall is a server that sells, and lies where a test wants it to.
type stall struct {
	request gateway.Request
	expires time.Duration
	realm   string
	serve   func(w http.ResponseWriter, r *http.Request, c *gateway.Payload) // paid requests

	mu       sync.Mutex
	unpaid   int
	payments []*gateway.Payload
	keys     []string
}

func newStall(price channel.Msat) *stall {
	return &stall{expires: time.Minute, realm: "stall", request: gateway.Request{
		Amount: price, Unit: gateway.UnitRequest, Recipient: shop, SuggestedDeposit: 50_000_000,
		Details: gateway.Details{Network: "simnet", Addrs: []string{"/ip4/127.0.0.1/tcp/9/p2p/" + string(shop)}, UnitSize: 1},
	}}
}

func (s *stall) challenge(w http.ResponseWriter, change ...func(*gateway.Challenge)) {
	request, err := s.request.Encode()
	if err != nil {
		panic(err)
	}
	c := gateway.Challenge{ID: fmt.Sprintf("challenge-%d", time.Now().UnixNano()), Realm: s.realm, Method: gateway.Method, Intent: gateway.IntentSession,
		Request: request, Expires: time.Now().Add(s.expires).UTC().Format(time.RFC3339)}
	for _, f := range change {
		f(&c)
	}
	header, err := c.Header()
	if err != nil {
		panic(err)
	}
	w.Header().Set("WWW-Authenticate", header)
}

func (s *stall) refuse(w http.ResponseWriter, p *gateway.Problem) {
	w.Header().Set("Content-Type", gateway.ContentTypeProblem)
	w.WriteHeader(p.Status)
	w.Write(p.Encode())
}

func (s *stall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := gateway.ParseCredential(r.Header.Get("Authorization"))
	if err != nil {
		s.mu.Lock()
		s.unpaid++
		s.challenge(w)
		s.mu.Unlock()
		s.refuse(w, gateway.ProblemPaymentRequired.Problem("pay"))
		return
	}
	p, err := c.SessionPayload()
	if err != nil {
		s.refuse(w, gateway.ProblemMalformed.Problem("%v", err))
		return
	}
	s.mu.Lock()
	s.payments = append(s.payments, p)
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	s.mu.Unlock()
	if s.serve != nil {
		s.serve(w, r, p)
		return
	}
	s.receipt(w, c, p)
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
}

func (s *stall) paid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.payments)
}

// receipt is an honest one, changed where a test wants it.
func (s *stall) receipt(w http.ResponseWriter, c *gateway.Credential, p *gateway.Payload, change ...func(*gateway.Receipt)) {
	r := receiptFor(p, min(s.request.Amount, p.Max), change...)
	header, err := r.Header()
	if err != nil {
		panic(err)
	}
	w.Header().Set(gateway.HeaderReceipt, header)
}

func receiptFor(p *gateway.Payload, cost channel.Msat, change ...func(*gateway.Receipt)) *gateway.Receipt {
	r := &gateway.Receipt{Method: gateway.Method, Intent: gateway.IntentSession, Time: time.Now(), Reference: "r", Channel: p.Channel,
		Accepted: p.Total, Spent: p.Total, N: p.N, Amount: cost, Units: 1}
	for _, f := range change {
		f(r)
	}
	return r
}

// visit is a client, its node and a server.
type visit struct {
	t         *testing.T
	node      *purse
	stall     *stall
	server    *httptest.Server
	transport *gateway.Transport
	client    *http.Client

	mu   sync.Mutex
	told []gateway.Payment
}

func newVisit(t *testing.T, s *stall) *visit {
	t.Helper()
	v := &visit{t: t, node: newPurse(), stall: s, server: httptest.NewServer(s)}
	t.Cleanup(v.server.Close)
	v.transport = &gateway.Transport{Payer: v.node, Max: 1000, Base: v.server.Client().Transport, OnPayment: func(_ *http.Request, p gateway.Payment) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.told = append(v.told, p)
	}}
	v.client = &http.Client{Transport: v.transport, Timeout: time.Minute}
	return v
}

// payments are those that OnPayment was told of.
func (v *visit) payments() []gateway.Payment {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.told
}

// get reads a path, which has to work.
func (v *visit) get(path string) (string, gateway.Payment) {
	v.t.Helper()
	res, err := v.client.Get(v.server.URL + path)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	p, _ := gateway.PaymentOf(res)
	return string(body), p
}

// fails reads a path, which must not work, for the reason.
func (v *visit) fails(path string, why error) error {
	v.t.Helper()
	res, err := v.client.Get(v.server.URL + path)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		v.t.Fatalf("%s was served", path)
	}
	if why != nil && !isErr(err, why) {
		v.t.Fatalf("%s failed for another reason than %v: %v", path, why, err)
	}
	if strings.Contains(err.Error(), "SIGNATURE") || strings.Contains(err.Error(), "eyJ") {
		v.t.Errorf("the error shows a credential: %v", err)
	}
	return err
}

func (v *visit) signedOnly(times int, sum channel.Msat) {
	v.t.Helper()
	if n, total := v.node.signed(); n != times || total != sum {
		v.t.Errorf("the node signed %d times for %d msat, want %d times for %d", n, total, times, sum)
	}
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
