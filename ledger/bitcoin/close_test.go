package bitcoin

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2/txsort"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// closing is a channel with both lanes, as each side sees it.
type closing struct {
	*pair
	plain        []ledger.Lane
	ours, theirs []ledger.CloseLane
	outputs      []ledger.Output
}

// newClosing makes the n-th channel: a lane each way.
func newClosing(t tb, p *pair, n uint32, outputs ...ledger.Output) *closing {
	there, back := p.lane(t, n, 100_000), p.back(t, n, 60_000)
	return &closing{
		pair:  p,
		plain: []ledger.Lane{there, back},
		ours: []ledger.CloseLane{
			{Lane: there, Keys: ledger.LaneKeys{Lane: n, Payer: true}}, {Lane: back, Keys: ledger.LaneKeys{Lane: n}},
		},
		theirs: []ledger.CloseLane{ // in another order: the transaction's order counts
			{Lane: back, Keys: ledger.LaneKeys{Lane: n, Payer: true}}, {Lane: there, Keys: ledger.LaneKeys{Lane: n}},
		},
		outputs: outputs,
	}
}

func (c *closing) sessions(t tb) (a, b ledger.CloseSession) {
	t.Helper()
	a, err := c.payer.NewClose(c.ours, c.outputs)
	must(t, err)
	b, err = c.payee.NewClose(c.theirs, c.outputs)
	must(t, err)
	return a, b
}

// sign runs the protocol up to both sides' partial signatures.
func sign(t tb, a, b ledger.CloseSession) (pa, pb [][32]byte) {
	t.Helper()
	na, nb := a.Nonces(), b.Nonces()
	pb, err := b.Sign(na)
	must(t, err)
	pa, err = a.Sign(nb)
	must(t, err)
	return pa, pb
}

func TestCloseTogether(t *testing.T) {
	p := newPair(t)
	for n := range uint32(8) { // parities of keys, aggregates and nonces vary
		c := newClosing(t, p, n, ledger.Output{Script: payout(2), Value: 90_000}, ledger.Output{Script: payout(1), Value: 69_000})
		a, b := c.sessions(t)
		pa, pb := sign(t, a, b)
		tx, err := a.Combine(pb)
		must(t, err)
		again, err := b.Combine(pa)
		must(t, err)
		if !bytes.Equal(tx.Raw, again.Raw) || tx.ID != again.ID {
			t.Error("the sides made different transactions")
		}
		m := checkMinable(t, tx, fundings(t, p.scheme, c.plain...))
		if m.Version != 2 || m.LockTime != 0 || !txsort.IsSorted(m) || tx.Fee != 1000 {
			t.Errorf("transaction %+v, fee %d", m, tx.Fee)
		}
		for _, in := range m.TxIn {
			if in.Sequence != 0xfffffffd || len(in.Witness) != 1 || len(in.Witness[0]) != 64 {
				t.Errorf("input %+v", in)
			}
		}
		must(t, p.scheme.VerifyClose(tx.Raw, c.plain, c.outputs))
		_, id, err := p.scheme.CloseTx(c.plain, c.outputs)
		must(t, err)
		if id != tx.ID {
			t.Error("CloseTx has another id")
		}
		got, err := p.scheme.TxID(tx.Raw)
		must(t, err)
		if got != tx.ID {
			t.Error("TxID is another one")
		}
		for _, lane := range c.plain {
			spend, err := p.scheme.ParseSpend(lane, tx.Raw)
			must(t, err)
			if spend.Kind != ledger.SpendUnknown {
				t.Errorf("spend %+v", spend)
			}
		}
	}
}

// The unsigned transaction doesn't depend on the order in which lanes and outputs are given.
func TestCloseTxOrder(t *testing.T) {
	p := newPair(t)
	c := newClosing(t, p, 3)
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint64Range(330, 40_000), 1, 4).Draw(t, "values")
		var outputs []ledger.Output
		for _, v := range values {
			outputs = append(outputs, ledger.Output{Script: payout(rapid.Byte().Draw(t, "script")%4 + 1), Value: channel.Sat(v)})
		}
		raw, id, err := p.scheme.CloseTx(c.plain, outputs)
		must(t, err)
		lanes := rapid.Permutation(c.plain).Draw(t, "lanes")
		outputs = rapid.Permutation(outputs).Draw(t, "outputs")
		raw2, id2, err := p.scheme.CloseTx(lanes, outputs)
		must(t, err)
		if !bytes.Equal(raw, raw2) || id != id2 {
			t.Fatalf("%x\n%x", raw, raw2)
		}
	})
}

func TestCloseTxOutputs(t *testing.T) {
	p := newPair(t)
	c := newClosing(t, p, 1)
	build := func(outputs ...ledger.Output) (*wire.MsgTx, error) {
		raw, _, err := p.scheme.CloseTx(c.plain, outputs)
		if err != nil {
			return nil, err
		}
		return decode(t, raw), nil
	}
	m, err := build(ledger.Output{Script: payout(1), Value: 329}, ledger.Output{Script: payout(2), Value: 330})
	must(t, err)
	if len(m.TxOut) != 1 || m.TxOut[0].Value != 330 {
		t.Errorf("outputs %+v", m.TxOut)
	}
	m, err = build(ledger.Output{Value: 0}, ledger.Output{Script: payout(2), Value: 160_000}) // nobody pays a fee here
	must(t, err)
	if len(m.TxOut) != 1 {
		t.Errorf("outputs %+v", m.TxOut)
	}
	p2pkh := append(append([]byte{0x76, 0xa9, 20}, make([]byte, 20)...), 0x88, 0xac)
	_, err = build(ledger.Output{Script: p2pkh, Value: 546})
	must(t, err)
	for name, bad := range map[string]struct {
		want    error
		outputs []ledger.Output
	}{
		"nothing":         {ledger.ErrTooSmall, nil},
		"all dust":        {ledger.ErrTooSmall, []ledger.Output{{Script: payout(1), Value: 329}}},
		"dust of P2PKH":   {ledger.ErrTooSmall, []ledger.Output{{Script: p2pkh, Value: 545}}},
		"too much":        {ledger.ErrBadTerms, []ledger.Output{{Script: payout(1), Value: 160_001}}},
		"too much in two": {ledger.ErrBadTerms, []ledger.Output{{Script: payout(1), Value: 100_000}, {Script: payout(2), Value: 60_001}}},
		"overflow":        {ledger.ErrBadTerms, []ledger.Output{{Script: payout(1), Value: 1000}, {Script: payout(1), Value: 1<<64 - 500}}},
		"no script":       {ledger.ErrBadAddress, []ledger.Output{{Value: 5000}}},
		"nonstandard":     {ledger.ErrBadAddress, []ledger.Output{{Script: []byte{0x51}, Value: 5000}}},
		"burnt":           {ledger.ErrBadAddress, []ledger.Output{{Script: []byte{0x6a, 1, 1}, Value: 5000}}},
		"anchor":          {ledger.ErrBadAddress, []ledger.Output{{Script: []byte{0x51, 2, 0x4e, 0x73}, Value: 5000}}},
		"future witness":  {ledger.ErrBadAddress, []ledger.Output{{Script: append([]byte{0x52, 32}, make([]byte, 32)...), Value: 5000}}},
	} {
		if _, err := build(bad.outputs...); !errors.Is(err, bad.want) {
			t.Errorf("%s: error is %v, want %v", name, err, bad.want)
		}
	}
}

func TestCloseTxLanes(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 1, 100_000)
	unfunded := lane
	unfunded.Funding = channel.Outpoint{}
	rich, richer := p.lane(t, 2, channel.MaxMoney), p.lane(t, 3, channel.MaxMoney)
	for name, lanes := range map[string][]ledger.Lane{
		"none": {}, "twice": {lane, lane}, "not funded": {unfunded}, "all money twice": {rich, richer},
	} {
		_, _, err := p.scheme.CloseTx(lanes, []ledger.Output{{Script: payout(1), Value: 5000}})
		if !errors.Is(err, ledger.ErrBadTerms) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	many := make([]ledger.Lane, 1740)
	for i := range many {
		many[i] = lane
		many[i].Funding.Index = uint32(i)
	}
	_, _, err := p.scheme.CloseTx(many, []ledger.Output{{Script: payout(1), Value: 5000}})
	wantErr(t, err, ledger.ErrRejected)
	_, _, err = p.scheme.CloseTx(many[:1700], []ledger.Output{{Script: payout(1), Value: 5000}})
	must(t, err)
}

func TestVerifyCloseRefuses(t *testing.T) {
	p := newPair(t)
	c := newClosing(t, p, 1, ledger.Output{Script: payout(1), Value: 90_000}, ledger.Output{Script: payout(2), Value: 69_000})
	a, b := c.sessions(t)
	_, pb := sign(t, a, b)
	tx, err := a.Combine(pb)
	must(t, err)
	must(t, p.scheme.VerifyClose(tx.Raw, c.plain, c.outputs))
	for name, change := range map[string]func(*wire.MsgTx){
		"value":            func(m *wire.MsgTx) { m.TxOut[0].Value-- },
		"script":           func(m *wire.MsgTx) { m.TxOut[0].PkScript = payout(7) },
		"one output less":  func(m *wire.MsgTx) { m.TxOut = m.TxOut[:1] },
		"sequence":         func(m *wire.MsgTx) { m.TxIn[0].Sequence-- },
		"locktime":         func(m *wire.MsgTx) { m.LockTime = 1 },
		"version":          func(m *wire.MsgTx) { m.Version = 1 },
		"other order":      func(m *wire.MsgTx) { m.TxIn[0], m.TxIn[1] = m.TxIn[1], m.TxIn[0] },
		"signature":        func(m *wire.MsgTx) { m.TxIn[1].Witness[0][9] ^= 1 },
		"signatures moved": func(m *wire.MsgTx) { m.TxIn[0].Witness, m.TxIn[1].Witness = m.TxIn[1].Witness, m.TxIn[0].Witness },
		"one not signed":   func(m *wire.MsgTx) { m.TxIn[1].Witness = nil },
		"none signed":      func(m *wire.MsgTx) { m.TxIn[0].Witness, m.TxIn[1].Witness = nil, nil },
		"hash type":        func(m *wire.MsgTx) { m.TxIn[1].Witness[0] = append(m.TxIn[1].Witness[0], 1) },
		"annex":            func(m *wire.MsgTx) { m.TxIn[1].Witness = append(m.TxIn[1].Witness, []byte{annexTag}) },
		// as long as the true witnesses together
		"uneven": func(m *wire.MsgTx) {
			m.TxIn[0].Witness[0] = m.TxIn[0].Witness[0][:63]
			m.TxIn[1].Witness[0] = append(m.TxIn[1].Witness[0], 1)
		},
		"r not below the prime": func(m *wire.MsgTx) { copy(m.TxIn[1].Witness[0], bytes.Repeat([]byte{0xff}, 32)) },
	} {
		m := decode(t, tx.Raw)
		change(m)
		if err := p.scheme.VerifyClose(encode(t, m), c.plain, c.outputs); !errors.Is(err, ledger.ErrRejected) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	other := []ledger.Output{{Script: payout(1), Value: 90_001}, {Script: payout(2), Value: 68_999}}
	wantErr(t, p.scheme.VerifyClose(tx.Raw, c.plain, other), ledger.ErrRejected)
	wantErr(t, p.scheme.VerifyClose(tx.Raw, c.plain[:1], c.outputs[1:]), ledger.ErrRejected)
	wantErr(t, p.scheme.VerifyClose(tx.Raw, nil, c.outputs), ledger.ErrBadTerms)
	wantErr(t, p.scheme.VerifyClose(append(tx.Raw, 0), c.plain, c.outputs), ledger.ErrRejected)
	wantErr(t, p.scheme.VerifyClose(nil, c.plain, c.outputs), ledger.ErrRejected)
}

// Only one canonical signature is the witness of a close.
func TestKeyWitness(t *testing.T) {
	good := make([]byte, 64)
	must(t, checkKeyWitness(wire.TxWitness{good}))
	order := make([]byte, 64)
	btcec.S256().N.FillBytes(order[32:])
	for name, w := range map[string]wire.TxWitness{
		"none": nil, "two": {good, good}, "with hash type": {append(good[:64:64], 1)}, "short": {good[:63]}, "not canonical": {order},
	} {
		if checkKeyWitness(w) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err := parsePartial([32]byte(order[32:]))
	wantErr(t, err, ErrBadPartial)
	order[63]--
	sig, err := parsePartial([32]byte(order[32:]))
	must(t, err)
	if b := sig.S.Bytes(); !bytes.Equal(b[:], order[32:]) {
		t.Errorf("partial signature %x", b)
	}
}

// A close of a wrong length is not even parsed: whatever a peer sends costs nothing.
func TestVerifyCloseAllocatesLittle(t *testing.T) {
	p := newPair(t)
	c := newClosing(t, p, 1, ledger.Output{Script: payout(1), Value: 90_000})
	raw, _, err := p.scheme.CloseTx(c.plain, c.outputs)
	must(t, err)
	m := decode(t, raw)
	m.TxIn[0].Witness = make(wire.TxWitness, 1_000_000)
	raw = encode(t, m)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = p.scheme.VerifyClose(raw, c.plain, c.outputs)
	runtime.ReadMemStats(&after)
	wantErr(t, err, ledger.ErrRejected)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
}

// A session signs once, whatever the first call came to; a new one has new nonces.
func TestSessionSignsOnce(t *testing.T) {
	p := newPair(t)
	c := newClosing(t, p, 1, ledger.Output{Script: payout(1), Value: 90_000})
	a, b := c.sessions(t)
	if _, err := a.Combine(make([][32]byte, 2)); err == nil || !strings.Contains(err.Error(), "our partial signatures first") {
		t.Errorf("combined before signing: %v", err)
	}
	before := a.Nonces()
	sign(t, a, b)
	if after := a.Nonces(); len(after) != 2 || after[0] != before[0] || after[1] != before[1] {
		t.Error("the public nonces changed with signing")
	}
	_, err := a.Sign(b.Nonces())
	wantErr(t, err, ErrSessionUsed)
	for name, nonces := range map[string][][66]byte{
		"none": nil, "one": before[:1], "three": append(before[:2:2], before[0]), "no points": make([][66]byte, 2),
		"one good": {before[0], {}},
	} {
		s, _ := c.sessions(t)
		if _, err := s.Sign(nonces); !errors.Is(err, ErrBadNonce) {
			t.Errorf("%s: error is %v", name, err)
		}
		if _, err := s.Sign(b.Nonces()); !errors.Is(err, ErrSessionUsed) {
			t.Errorf("%s: a failed session signed: %v", name, err)
		}
		if _, err := s.Combine(make([][32]byte, 2)); err == nil || errors.Is(err, ErrBadPartial) {
			t.Errorf("%s: a failed session combined: %v", name, err)
		}
	}
}

// Nonces never repeat: not over inputs, sessions or sides, and not even when randomness does.
func TestNoncesAreFresh(t *testing.T) {
	scheme, err := NewScheme("regtest")
	must(t, err)
	stuck := func() [32]byte { return [32]byte{1} }
	payer, err := NewSigner(scheme, testSeed(1), stuck)
	must(t, err)
	payee, err := NewSigner(scheme, testSeed(2), stuck)
	must(t, err)
	c := newClosing(t, &pair{scheme, payer, payee}, 1, ledger.Output{Script: payout(1), Value: 90_000})
	seen := make(map[[66]byte]bool)
	for range 4 {
		a, b := c.sessions(t)
		for _, n := range append(a.Nonces(), b.Nonces()...) {
			if seen[n] {
				t.Fatal("a nonce repeats")
			}
			seen[n] = true
		}
	}
	if len(seen) != 16 {
		t.Errorf("%d nonces", len(seen))
	}
}

// Nonces are bound to the transaction: for another one they differ even if all else repeats.
func TestNoncesAreBoundToTheTransaction(t *testing.T) {
	seen := make(map[[66]byte]bool)
	for value := range channel.Sat(4) {
		p := newPair(t)
		p.payer.random = func() [32]byte { return [32]byte{1} }
		c := newClosing(t, p, 1, ledger.Output{Script: payout(1), Value: 90_000 + value})
		a, err := p.payer.NewClose(c.ours, c.outputs)
		must(t, err)
		seen[a.Nonces()[0]] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d different nonces of 4", len(seen))
	}
}

// Each partial signature is verified by itself, so that the peer's fault is known.
func TestCombineRefuses(t *testing.T) {
	p := newPair(t)
	c := newClosing(t, p, 1, ledger.Output{Script: payout(1), Value: 90_000})
	a, b := c.sessions(t)
	pa, pb := sign(t, a, b)
	order := btcec.S256().N
	var tooBig [32]byte
	order.FillBytes(tooBig[:])
	flipped := pb[1]
	flipped[31] ^= 1
	for name, partials := range map[string][][32]byte{
		"none": nil, "one": pb[:1], "three": {pb[0], pb[1], pb[0]}, "swapped": {pb[1], pb[0]},
		"our own": pa, "zero": make([][32]byte, 2), "flipped": {pb[0], flipped}, "too big": {tooBig, pb[1]},
	} {
		if _, err := a.Combine(partials); !errors.Is(err, ErrBadPartial) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	// None of these kept the right ones from working.
	tx, err := a.Combine(pb)
	must(t, err)
	must(t, p.scheme.VerifyClose(tx.Raw, c.plain, c.outputs))
}

// Partial signatures are bound to the transaction: a peer that signs another one is found out.
func TestPartialOfAnotherTransaction(t *testing.T) {
	p := newPair(t)
	c := newClosing(t, p, 1, ledger.Output{Script: payout(1), Value: 90_000})
	greedy := newClosing(t, p, 1, ledger.Output{Script: payout(1), Value: 90_001})
	a, err := c.payer.NewClose(c.ours, c.outputs)
	must(t, err)
	b, err := greedy.payee.NewClose(greedy.theirs, greedy.outputs)
	must(t, err)
	_, pb := sign(t, a, b)
	_, err = a.Combine(pb)
	wantErr(t, err, ErrBadPartial)
}

func TestNewCloseRefuses(t *testing.T) {
	p := newPair(t)
	c := newClosing(t, p, 1, ledger.Output{Script: payout(1), Value: 90_000})
	for name, change := range map[string]func(*ledger.CloseLane){
		"index": func(l *ledger.CloseLane) { l.Keys.Lane++ },
		"side":  func(l *ledger.CloseLane) { l.Keys.Payer = !l.Keys.Payer },
	} {
		lanes := append([]ledger.CloseLane(nil), c.ours...)
		change(&lanes[1])
		if _, err := p.payer.NewClose(lanes, c.outputs); !errors.Is(err, ledger.ErrBadTerms) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if _, err := p.payer.NewClose(nil, c.outputs); err == nil {
		t.Error("a close of nothing")
	}
	if _, err := p.payer.NewClose(c.ours, nil); err == nil {
		t.Error("a close to nobody")
	}
}

// A deposit that is not wanted returns at total 0 by the same way.
func TestReturnOfADeposit(t *testing.T) {
	p := newPair(t)
	lane := p.lane(t, 5, 100_000)
	outputs := []ledger.Output{{Script: payout(1), Value: 99_800}}
	a, err := p.payer.NewClose([]ledger.CloseLane{{Lane: lane, Keys: ledger.LaneKeys{Lane: 5, Payer: true}}}, outputs)
	must(t, err)
	b, err := p.payee.NewClose([]ledger.CloseLane{{Lane: lane, Keys: ledger.LaneKeys{Lane: 5}}}, outputs)
	must(t, err)
	_, pb := sign(t, a, b)
	tx, err := a.Combine(pb)
	must(t, err)
	checkMinable(t, tx, fundings(t, p.scheme, lane))
}
