// Package gatewaytest holds a pair of nodes in memory that pay each other, and the suite that a real pair passes
// too. It knows what a payer and a payee promise to the gateway, and nothing of how real nodes keep it: signatures
// are codes under a shared key, and there is no chain.
//
//	twin := gatewaytest.New(1_000_000)
//	gw, err := gateway.New(ctx, gateway.Config{Payee: twin.Payee(), ...})
package gatewaytest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/gateway"
)

// The two nodes.
const (
	PayeeID channel.PeerID = "12D3KooWTwinPayee"
	PayerID channel.PeerID = "12D3KooWTwinPayer"
)

// Window is how far a draw's number may be behind the highest one.
const Window = 1024

// Twin is both nodes and the channels between them. Safe for concurrent use.
type Twin struct {
	mu    sync.Mutex
	lanes map[channel.ID]*lane
	fault error // of every charge, while set
	calls int   // of the payee
}

type lane struct {
	id       channel.ID
	lane     channel.LaneID
	capacity channel.Msat
	secret   []byte

	// the payer's books
	next    uint64
	signed  channel.Msat
	granted map[uint64]channel.Msat // by n: what may be drawn

	// the payee's books
	total   channel.Msat
	sig     channel.Signature
	spent   channel.Msat // of draws that ended
	high    uint64
	used    map[uint64]channel.Msat
	running map[uint64]*draw
	closing bool
}

type draw struct{ max, held, keep channel.Msat }

// New makes two nodes with one channel of that capacity.
func New(capacity channel.Msat) *Twin {
	t := &Twin{lanes: map[channel.ID]*lane{}}
	t.AddChannel(capacity)
	return t
}

// AddChannel opens one more channel and returns its id.
func (t *Twin) AddChannel(capacity channel.Msat) channel.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := byte(len(t.lanes) + 1)
	l := &lane{id: channel.ID{0xc0, n}, lane: channel.LaneID{0x1a, n}, capacity: capacity, secret: []byte{'s', n},
		granted: map[uint64]channel.Msat{}, used: map[uint64]channel.Msat{}, running: map[uint64]*draw{}}
	t.lanes[l.id] = l
	return l.id
}

// Channel is the first channel.
func (t *Twin) Channel() channel.ID { return channel.ID{0xc0, 1} }

// Fail makes every charge fail until it is called with nil.
func (t *Twin) Fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault = err
}

// Calls is how often the payee's node was called to charge, hold or end.
func (t *Twin) Calls() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls
}

// Restart ends draws that run with what was kept, as a node does when it starts.
func (t *Twin) Restart() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lanes {
		for n, d := range l.running {
			l.end(n, d.keep)
		}
	}
}

// Running is how many draws run on a channel.
func (t *Twin) Running(id channel.ID) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.lanes[id].running)
}

// Check says whether the books agree: no more is drawn than was vouchered, or than each draw was authorised for.
func (t *Twin) Check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, l := range t.lanes {
		var sum channel.Msat
		for n, used := range l.used {
			if used > l.granted[n] {
				return fmt.Errorf("draw %d of %s took %d msat and %d were authorised", n, id, used, l.granted[n])
			}
			sum += used
		}
		if sum != l.spent || l.spent+l.held() > l.total || l.total > l.signed || l.signed > l.capacity {
			return fmt.Errorf("channel %s: draws of %d msat, spent %d, held %d, accepted %d, signed %d, capacity %d", id, sum, l.spent, l.held(), l.total, l.signed, l.capacity)
		}
	}
	return nil
}

func (l *lane) held() (sum channel.Msat) {
	for _, d := range l.running {
		sum += d.held
	}
	return sum
}

func (l *lane) stand() channel.LaneStand {
	return channel.LaneStand{Channel: l.id, Peer: PayerID, Capacity: l.capacity, Total: l.total, Spent: l.spent + l.held(), Signature: l.sig, Closing: l.closing}
}

func (l *lane) end(n uint64, used channel.Msat) {
	delete(l.running, n)
	l.used[n] = used
	l.spent += used
}

// sign is a voucher's signature.
func (l *lane) sign(total channel.Msat) channel.Signature {
	mac := hmac.New(sha512.New, append([]byte("voucher"), l.secret...))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(total)))
	return channel.Signature(mac.Sum(nil))
}

func (l *lane) code(b *channel.Binding, total channel.Msat) [32]byte {
	mac := hmac.New(sha256.New, append([]byte("lane"), l.secret...))
	mac.Write(b.Bytes(l.lane, total))
	return [32]byte(mac.Sum(nil))
}

// Payee is the node of the one who charges.
func (t *Twin) Payee() gateway.Payee { return payee{t} }

// Payer is the node of the one who pays.
func (t *Twin) Payer() gateway.Payer { return payer{t} }

func (t *Twin) find(id channel.ID) (*lane, error) {
	if l := t.lanes[id]; l != nil {
		return l, nil
	}
	return nil, channel.Faultf(channel.CodeNotFound, "there is no channel %s", id)
}

func (t *Twin) named(hexID string) (*lane, error) {
	if hexID == "" {
		return t.lanes[t.Channel()], nil
	}
	b, err := hex.DecodeString(hexID)
	if err != nil || len(b) != 32 {
		return nil, channel.Faultf(channel.CodeBadRequest, "%q is no channel", hexID)
	}
	return t.find(channel.ID(b))
}

type payer struct{ t *Twin }

// Authorise vouchers for the highest amount.
func (p payer) Authorise(ctx context.Context, req channel.AuthoriseRequest) (res channel.AuthoriseResult, err error) {
	if err := ctx.Err(); err != nil {
		return res, err
	}
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	l, err := p.t.named(req.Channel)
	if err != nil {
		return res, err
	}
	if req.Peer != "" && req.Peer != string(PayeeID) {
		return res, channel.Faultf(channel.CodeUnknownPeer, "there is no channel with %s", req.Peer)
	}
	b := req.Binding
	b.Max, b.Raise = req.Max, req.Raise
	grown := req.Max
	if req.Raise != 0 {
		if _, ok := l.granted[req.Raise]; !ok {
			return res, channel.Faultf(channel.CodeBadRequest, "draw %d was not authorised", req.Raise)
		}
		grown, b.Max = req.RaiseBy, l.granted[req.Raise]+req.RaiseBy
	}
	total := l.signed
	if need := l.promised() + grown; need > total {
		total = need
	}
	if total > l.capacity {
		return res, channel.Faultf(channel.CodeInsufficient, "%d msat are more than the channel's %d", total, l.capacity)
	}
	l.next++
	b.N, l.signed = l.next, total
	if req.Raise != 0 {
		l.granted[req.Raise], l.granted[b.N] = b.Max, 0
	} else {
		l.granted[b.N] = req.Max
	}
	auth := channel.Authorisation{Channel: l.id, Total: total, Binding: b}
	if total > 0 {
		auth.Signature = l.sign(total)
	}
	auth.MAC = l.code(&b, total)
	stand := l.stand()
	stand.Peer = PayeeID
	return channel.AuthoriseResult{Authorisation: auth, Lane: stand, ID: req.ID}, nil
}

// promised is what draws may come to: what ended ones took, and what others may take.
func (l *lane) promised() (sum channel.Msat) {
	for n, most := range l.granted {
		if used, ended := l.used[n]; ended {
			most = used
		}
		sum += most
	}
	return sum
}

func (p payer) Channels(context.Context) (list []channel.ChannelInfo, err error) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	for _, l := range p.t.lanes {
		list = append(list, channel.ChannelInfo{Channel: l.id, PeerID: PayeeID, Connected: true, Phase: channel.PhaseOpen, Sent: l.spent + l.held(),
			Spendable: l.capacity - l.promised(), Credit: l.signed - l.spent - l.held()})
	}
	return list, nil
}

func (p payer) Connect(context.Context, string) (channel.PeerInfo, error) {
	return channel.PeerInfo{PeerID: PayeeID, Connected: true}, nil
}

func (p payer) Open(_ context.Context, req channel.OpenRequest) (channel.OpenResult, error) {
	capacity, ok := req.Deposit.Msat()
	if !ok {
		return channel.OpenResult{}, channel.Faultf(channel.CodeBadRequest, "%d sat are no deposit", req.Deposit)
	}
	return channel.OpenResult{Channel: p.t.AddChannel(capacity), PeerID: PayeeID, Phase: channel.PhaseOpen, Deposit: req.Deposit}, nil
}
