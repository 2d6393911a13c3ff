package bitcoin

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// tb is what helpers need of a test, a benchmark, a fuzz target or a property.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// counterRandom is a NonceSource that repeats itself from run to run.
func counterRandom(label string) ledger.NonceSource {
	var n uint64
	return func() [32]byte {
		n++
		return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(label), n))
	}
}

func testSeed(b byte) []byte { return bytes.Repeat([]byte{b}, SeedSize) }

// pair is a payer and a payee that know nothing of each other but public data.
type pair struct {
	scheme       *Scheme
	payer, payee *Signer
}

func newPair(t tb) *pair {
	t.Helper()
	scheme, err := NewScheme("regtest")
	must(t, err)
	payer, err := NewSigner(scheme, testSeed(1), counterRandom("payer"))
	must(t, err)
	payee, err := NewSigner(scheme, testSeed(2), counterRandom("payee"))
	must(t, err)
	return &pair{scheme, payer, payee}
}

// lane makes the n-th lane of the pair, with its keys at index n on both sides.
func (p *pair) lane(t tb, n uint32, deposit channel.Sat) ledger.Lane {
	t.Helper()
	payer, err := p.payer.PayerKey(n)
	must(t, err)
	refund, err := p.payer.RefundKey(n)
	must(t, err)
	payee, err := p.payee.PayeeKey(n)
	must(t, err)
	return ledger.Lane{
		Terms: channel.LaneTerms{
			Genesis: p.scheme.Genesis(), Payer: payer, Payee: payee, Refund: refund, Expiry: 1000 + n, Deposit: deposit,
		},
		Funding: channel.Outpoint{TxID: channel.TaggedHash("funding", payer[:]), Index: n % 3},
	}
}

// back is a lane that the payee of the pair pays on.
func (p *pair) back(t tb, n uint32, deposit channel.Sat) ledger.Lane {
	t.Helper()
	return (&pair{p.scheme, p.payee, p.payer}).lane(t, n, deposit)
}

// settleLane is the lane with a voucher over a total.
func (p *pair) settleLane(t tb, lane ledger.Lane, n uint32, total channel.Msat) ledger.SettleLane {
	t.Helper()
	sig, err := p.payer.SignVoucher(lane, n, total)
	must(t, err)
	return ledger.SettleLane{Lane: lane, Index: n, Total: total, Signature: sig}
}

// payout is a P2TR script that pays nobody in particular.
func payout(n byte) []byte {
	key := bytes.Repeat([]byte{0x11}, 32)
	key[31] = n
	return append([]byte{txscript.OP_1, txscript.OP_DATA_32}, key...)
}

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t tb, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error is %v, want %v", got, want)
	}
}

func decode(t tb, raw []byte) *wire.MsgTx {
	t.Helper()
	tx := new(wire.MsgTx)
	must(t, tx.Deserialize(bytes.NewReader(raw)))
	return tx
}

func encode(t tb, tx *wire.MsgTx) []byte {
	t.Helper()
	raw, err := encodeTx(tx)
	must(t, err)
	return raw
}

// engine runs one input under the rules of relay, apart from the package's own check.
func engine(tx *wire.MsgTx, i int, prev map[wire.OutPoint]*wire.TxOut) error {
	fetcher := txscript.NewMultiPrevOutFetcher(prev)
	out := prev[tx.TxIn[i].PreviousOutPoint]
	vm, err := txscript.NewEngine(out.PkScript, tx, i, txscript.StandardVerifyFlags, nil,
		txscript.NewTxSigHashes(tx, fetcher), out.Value, fetcher)
	if err != nil {
		return err
	}
	return vm.Execute()
}

// checkMinable asserts what every transaction here must satisfy.
func checkMinable(t tb, tx ledger.Tx, prev map[wire.OutPoint]*wire.TxOut) *wire.MsgTx {
	t.Helper()
	m := decode(t, tx.Raw)
	if m.TxHash() != tx.ID {
		t.Fatal("the id is not the transaction's")
	}
	var fee int64
	for i, in := range m.TxIn {
		if err := engine(m, i, prev); err != nil {
			t.Fatalf("input %d: %v", i, err)
		}
		fee += prev[in.PreviousOutPoint].Value
	}
	for _, out := range m.TxOut {
		fee -= out.Value
		if channel.Sat(out.Value) < dust(out.PkScript) {
			t.Fatalf("output of %d sat is dust", out.Value)
		}
	}
	if fee < 0 || channel.Sat(fee) != tx.Fee {
		t.Fatalf("the fee is %d sat, %d reported", fee, tx.Fee)
	}
	return m
}

// fundings are the outputs of lanes.
func fundings(t tb, s *Scheme, lanes ...ledger.Lane) map[wire.OutPoint]*wire.TxOut {
	t.Helper()
	prev := make(map[wire.OutPoint]*wire.TxOut)
	for _, lane := range lanes {
		script, err := s.FundingScript(lane.Terms)
		must(t, err)
		prev[wireOutpoint(lane.Funding)] = wire.NewTxOut(int64(lane.Terms.Deposit), script)
	}
	return prev
}

func sha256sum(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}
