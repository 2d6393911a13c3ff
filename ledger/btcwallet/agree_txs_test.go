package btcwallet_test

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// lock is how an output is locked; all to one key.
type lock int

const (
	taprootKey lock = iota
	witnessKey
	legacyKey
	untilHeight // OP_CHECKLOCKTIMEVERIFY
	forBlocks   // OP_CHECKSEQUENCEVERIFY
	anyone
	leafSuccess // taproot leaf with OP_SUCCESS: valid, but not relayed
	locks
)

// out1 is an output that a transaction may spend.
type out1 struct {
	op     wire.OutPoint
	value  int64
	kind   lock
	height int64 // that it is locked by, where it is
}

// offer is a transaction with what it is about.
type offer struct {
	what string
	tx   *wire.MsgTx
	ins  []out1
	outs []lock
}

// txMaker makes random transactions from one seed.
type txMaker struct {
	rnd     *rand.Rand
	key     *btcec.PrivateKey
	fresh   []out1
	waiting []out1  // outputs of transactions that were taken
	used    []out1  // inputs of those
	taken   []offer // newest last
}

func newTxMaker(seed uint64) *txMaker {
	secret := sha256.Sum256([]byte("agreement"))
	key, _ := btcec.PrivKeyFromBytes(secret[:])
	return &txMaker{rnd: rand.New(rand.NewPCG(seed, 0)), key: key}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the test's own scripts
	}
	return v
}

func (m *txMaker) script(k lock) []byte { return m.lockScript(k, 0) }

// lockScript is the output script of a lock.
func (m *txMaker) lockScript(k lock, height int64) []byte {
	hash := address.Hash160(m.key.PubKey().SerializeCompressed())
	b := txscript.NewScriptBuilder()
	switch k {
	case taprootKey:
		return must(txscript.PayToTaprootScript(txscript.ComputeTaprootKeyNoScript(m.key.PubKey())))
	case witnessKey:
		return must(b.AddOp(txscript.OP_0).AddData(hash).Script())
	case legacyKey:
		return must(b.AddOp(txscript.OP_DUP).AddOp(txscript.OP_HASH160).AddData(hash).AddOp(txscript.OP_EQUALVERIFY).AddOp(txscript.OP_CHECKSIG).Script())
	case leafSuccess:
		tree := txscript.AssembleTaprootScriptTree(successLeaf())
		root := tree.RootNode.TapHash()
		return must(txscript.PayToTaprootScript(txscript.ComputeTaprootOutputKey(m.key.PubKey(), root[:])))
	}
	inner := sha256.Sum256(m.innerScript(k, height))
	return must(b.AddOp(txscript.OP_0).AddData(inner[:]).Script())
}

func successLeaf() txscript.TapLeaf { return txscript.NewBaseTapLeaf([]byte{txscript.OP_RESERVED}) }

func (m *txMaker) innerScript(k lock, height int64) []byte {
	b := txscript.NewScriptBuilder()
	switch k {
	case untilHeight:
		b.AddInt64(height).AddOp(txscript.OP_CHECKLOCKTIMEVERIFY).AddOp(txscript.OP_DROP)
	case forBlocks:
		b.AddInt64(height).AddOp(txscript.OP_CHECKSEQUENCEVERIFY).AddOp(txscript.OP_DROP)
	case anyone:
		return must(b.AddOp(txscript.OP_TRUE).Script())
	}
	return must(b.AddData(m.key.PubKey().SerializeCompressed()).AddOp(txscript.OP_CHECKSIG).Script())
}

// fan splits the seed's money into coins of all kinds.
func (m *txMaker) fan(seed *wire.MsgTx, height uint32) []byte {
	const coins = 2200
	own := m.script(taprootKey)
	var at uint32
	for i, o := range seed.TxOut {
		if bytes.Equal(o.PkScript, own) {
			at = uint32(i)
		}
	}
	in := out1{op: wire.OutPoint{Hash: seed.TxHash(), Index: at}, value: seed.TxOut[at].Value}
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&in.op, nil, nil))
	var made []out1
	for i := range coins {
		o := out1{kind: lock(m.rnd.IntN(int(locks)))}
		if m.rnd.IntN(2) == 0 {
			o.kind = taprootKey
		}
		switch o.kind {
		case untilHeight:
			o.height = int64(height) + int64(m.rnd.IntN(40)) - 5
		case forBlocks:
			o.height = int64(m.rnd.IntN(12))
		}
		o.value, o.op.Index = 10_000_000+int64(m.rnd.IntN(5_000_000)), uint32(i)
		tx.AddTxOut(wire.NewTxOut(o.value, m.lockScript(o.kind, o.height)))
		made = append(made, o)
	}
	m.sign(tx, []out1{in})
	for i := range made {
		made[i].op.Hash = tx.TxHash()
	}
	m.fresh = made
	var b bytes.Buffer
	tx.Serialize(&b)
	return b.Bytes()
}

// sign fills in what each input needs.
func (m *txMaker) sign(tx *wire.MsgTx, ins []out1) {
	prev := txscript.NewMultiPrevOutFetcher(nil)
	for _, in := range ins {
		prev.AddPrevOut(in.op, wire.NewTxOut(in.value, m.lockScript(in.kind, in.height)))
	}
	hashes := txscript.NewTxSigHashes(tx, prev)
	for i, in := range ins {
		script := m.lockScript(in.kind, in.height)
		txin := tx.TxIn[i]
		switch in.kind {
		case taprootKey:
			txin.Witness = must(txscript.TaprootWitnessSignature(tx, hashes, i, in.value, script, txscript.SigHashDefault, m.key))
		case witnessKey:
			txin.Witness = must(txscript.WitnessSignature(tx, hashes, i, in.value, script, txscript.SigHashAll, m.key, true))
		case legacyKey:
			txin.SignatureScript = must(txscript.SignatureScript(tx, i, script, txscript.SigHashAll, m.key, true))
		case leafSuccess:
			block := txscript.AssembleTaprootScriptTree(successLeaf()).LeafMerkleProofs[0].ToControlBlock(m.key.PubKey())
			txin.Witness = wire.TxWitness{successLeaf().Script, must(block.ToBytes())}
		case anyone:
			txin.Witness = wire.TxWitness{m.innerScript(in.kind, in.height)}
		default:
			inner := m.innerScript(in.kind, in.height)
			sig := must(txscript.RawTxInWitnessSignature(tx, hashes, i, in.value, inner, txscript.SigHashAll, m.key))
			txin.Witness = wire.TxWitness{sig, inner}
		}
	}
}

func vsize(tx *wire.MsgTx) int64 {
	return mempool.GetTxVirtualSize(btcutil.NewTx(tx))
}

func pick[T any](m *txMaker, from []T) (v T, ok bool) {
	if len(from) == 0 {
		return v, false
	}
	return from[m.rnd.IntN(len(from))], true
}

// input chooses what to spend.
func (m *txMaker) input() (out1, string) {
	switch n := m.rnd.IntN(100); {
	case n < 15:
		if o, ok := pick(m, m.waiting); ok {
			return o, "chained"
		}
	case n < 27:
		if o, ok := pick(m, m.used); ok {
			return o, "spent"
		}
	case n < 29:
		var o out1
		for i := range o.op.Hash {
			o.op.Hash[i] = byte(m.rnd.Uint32())
		}
		o.value = 10_000_000
		return o, "unknown"
	}
	last := len(m.fresh) - 1
	if last < 0 {
		o, _ := pick(m, m.used)
		return o, "spent"
	}
	i := m.rnd.IntN(last + 1)
	o := m.fresh[i]
	m.fresh[i], m.fresh = m.fresh[last], m.fresh[:last]
	return o, "fresh"
}

// next makes one random transaction at a height.
func (m *txMaker) next(height uint32) offer {
	if n := m.rnd.IntN(100); n < 3 && len(m.taken) > 0 {
		o, _ := pick(m, m.taken)
		o.what = "again"
		return o
	} else if n < 18 && len(m.taken) > 0 {
		old := m.taken[len(m.taken)-1-m.rnd.IntN(min(8, len(m.taken)))]
		return m.rival(old)
	}
	o := offer{what: "plain", tx: wire.NewMsgTx(2)}
	for range 1 + m.rnd.IntN(3)*m.rnd.IntN(2) {
		in, what := m.input()
		if what != "fresh" {
			o.what = what
		}
		o.ins = append(o.ins, in)
	}
	m.locks(&o, height)
	m.outputs(&o)
	m.pay(&o, m.feeFor(&o))
	m.spoil(&o)
	return o
}

// locks sets sequences and lock time: mostly as the inputs need them, sometimes one off.
func (m *txMaker) locks(o *offer, height uint32) {
	for _, in := range o.ins {
		txin := wire.NewTxIn(&in.op, nil, nil)
		txin.Sequence = wire.MaxTxInSequenceNum - 2
		switch {
		case in.kind == forBlocks:
			txin.Sequence = uint32(in.height) + uint32(m.rnd.IntN(2))*uint32(m.rnd.IntN(2))
		case in.kind == untilHeight:
			o.tx.LockTime = max(o.tx.LockTime, uint32(in.height))
		case m.rnd.IntN(12) == 0:
			txin.Sequence = uint32(m.rnd.IntN(8))
		}
		o.tx.AddTxIn(txin)
	}
	switch m.rnd.IntN(14) {
	case 0, 1:
		o.what, o.tx.LockTime = "lock time", height-1+uint32(m.rnd.IntN(4))
	case 2:
		o.what, o.tx.LockTime = "lock time in seconds", []uint32{1_600_000_000, 4_000_000_000}[m.rnd.IntN(2)]
	}
	if m.rnd.IntN(14) == 0 {
		o.what = "final sequences"
		for _, in := range o.tx.TxIn {
			in.Sequence = wire.MaxTxInSequenceNum - uint32(m.rnd.IntN(2))
		}
	}
}

// outputs pays to some of every kind, on the border of dust and beyond standard.
func (m *txMaker) outputs(o *offer) {
	add := func(value int64, script []byte, kind lock) {
		o.tx.AddTxOut(wire.NewTxOut(value, script))
		o.outs = append(o.outs, kind)
	}
	add(0, m.script(taprootKey), taprootKey) // what is left
	for range m.rnd.IntN(3) {
		add(1_000_000, m.script(witnessKey), witnessKey)
	}
	data := func(n int) []byte {
		return must(txscript.NewScriptBuilder().AddOp(txscript.OP_RETURN).AddData(make([]byte, n)).Script())
	}
	switch m.rnd.IntN(16) {
	case 0, 1, 2:
		kind := []lock{taprootKey, witnessKey, legacyKey, anyone}[m.rnd.IntN(4)]
		script := m.script(kind)
		border := int64(mempool.GetDustThreshold(wire.NewTxOut(0, script)))
		o.what = "dust"
		add(border-2+int64(m.rnd.IntN(4)), script, kind)
	case 3:
		o.what = "data"
		add(int64(m.rnd.IntN(2))*500, data(78+m.rnd.IntN(5)), anyone)
	case 4:
		o.what = "data twice"
		add(0, data(10), anyone)
		add(0, data(10), anyone)
	case 5:
		o.what = "bare script"
		add(50_000, [][]byte{{txscript.OP_TRUE}, {txscript.OP_1, 2, 0x4e, 0x73}, append([]byte{0x52, 0x20}, make([]byte, 32)...), nil}[m.rnd.IntN(4)], anyone)
	case 6:
		o.what = "multisig"
		b := txscript.NewScriptBuilder().AddInt64(1)
		n := 1 + m.rnd.IntN(4)
		for range n {
			b.AddData(m.key.PubKey().SerializeCompressed())
		}
		add(50_000, must(b.AddInt64(int64(n)).AddOp(txscript.OP_CHECKMULTISIG).Script()), anyone)
	}
}

// feeFor is often about what is asked at least.
func (m *txMaker) feeFor(o *offer) int64 {
	m.sign(o.tx, o.ins)
	size := vsize(o.tx)
	switch m.rnd.IntN(8) {
	case 0:
		o.what = "least fee"
		return size - 2 + int64(m.rnd.IntN(4))
	case 1:
		o.what = "low fee"
		return int64(m.rnd.IntN(int(size)))
	}
	return size*int64(1+m.rnd.IntN(20)) + 1
}

// pay gives what is left to the first output.
func (m *txMaker) pay(o *offer, fee int64) {
	var rest int64
	for _, in := range o.ins {
		rest += in.value
	}
	for _, out := range o.tx.TxOut[1:] {
		rest -= out.Value
	}
	o.tx.TxOut[0].Value = rest - fee
	m.sign(o.tx, o.ins)
}

// spoil breaks one in a few.
func (m *txMaker) spoil(o *offer) {
	tx, first := o.tx, o.tx.TxIn[0]
	switch m.rnd.IntN(40) {
	case 0, 1:
		o.what = "signature"
		if sig := first.SignatureScript; len(sig) > 20 {
			sig[12] ^= 1
		} else if len(first.Witness) > 0 {
			first.Witness[0][len(first.Witness[0])/2] ^= 1
		}
	case 2:
		o.what, first.Witness, first.SignatureScript = "no signature", nil, nil
	case 3:
		o.what, first.Witness = "witness too long", append(first.Witness, []byte{1})
	case 4:
		o.what = "version"
		tx.Version = []int32{0, 1, 3, -1}[m.rnd.IntN(4)]
		m.sign(tx, o.ins)
	case 5:
		o.what = "signed for another version"
		tx.Version = 1
	case 6:
		o.what = "too much"
		tx.TxOut[0].Value = []int64{-1, 21e14, 21e14 + 1, tx.TxOut[0].Value + 50_000_000, 0}[m.rnd.IntN(5)]
		m.sign(tx, o.ins)
	case 7:
		o.what = "an input twice"
		tx.AddTxIn(first)
	case 8:
		o.what = "script that is more than pushes"
		first.SignatureScript = append(first.SignatureScript, txscript.OP_NOP)
	case 9:
		o.what = "no outputs"
		tx.TxOut = nil
		m.sign(tx, o.ins)
	case 10:
		o.what = "like a subsidy"
		tx.TxIn = []*wire.TxIn{wire.NewTxIn(wire.NewOutPoint(new(chainhash.Hash), wire.MaxPrevOutIndex), []byte{1, 1}, nil)}
	case 11:
		if m.rnd.IntN(3) == 0 {
			m.large(o)
		}
	}
}

// large is on the border of what is relayed: 400,000 units of weight.
func (m *txMaker) large(o *offer) {
	o.what = "large"
	script := m.script(taprootKey)
	one := int64(4 * (9 + len(script)))
	for left := 400_000 - blockchain.GetTransactionWeight(btcutil.NewTx(o.tx)) - 8 + int64(m.rnd.IntN(3)-1)*one; left >= one; left -= one {
		o.tx.AddTxOut(wire.NewTxOut(330, script))
		o.outs = append(o.outs, taprootKey)
	}
	m.pay(o, 200_000)
}

// rival spends the first input of a transaction that was taken again, at a fee on the border of what a
// replacement has to pay.
func (m *txMaker) rival(old offer) offer {
	o := offer{what: "replacement", tx: wire.NewMsgTx(2), ins: old.ins[:1:1]}
	if m.rnd.IntN(4) == 0 {
		if in, ok := pick(m, m.waiting); ok && in.op != old.ins[0].op {
			o.what, o.ins = "replacement with a waiting input", append(o.ins, in)
		}
	}
	m.locks(&o, 1)
	o.tx.LockTime = old.tx.LockTime
	m.outputs(&o)
	m.sign(o.tx, o.ins)
	m.pay(&o, old.fee()+vsize(o.tx)*int64(m.rnd.IntN(3))-1+int64(m.rnd.IntN(3)))
	return o
}

// plainRival is a replacement against which nothing speaks but what it replaces.
func (m *txMaker) plainRival(old offer, fee int64) offer {
	o := offer{what: "replacement", tx: wire.NewMsgTx(2), ins: old.ins[:1:1], outs: []lock{taprootKey}}
	o.tx.AddTxIn(wire.NewTxIn(&old.ins[0].op, nil, nil))
	o.tx.AddTxOut(wire.NewTxOut(0, m.script(taprootKey)))
	m.pay(&o, fee)
	return o
}

func (o *offer) fee() (fee int64) {
	for _, in := range o.ins {
		fee += in.value
	}
	for _, out := range o.tx.TxOut {
		fee -= out.Value
	}
	return fee
}

// told notes what became of a transaction.
func (m *txMaker) told(o offer, taken bool) {
	if !taken || o.what == "again" {
		return
	}
	hash := o.tx.TxHash()
	for i, kind := range o.outs {
		if v := o.tx.TxOut[i].Value; v > 100_000 && kind != anyone {
			m.waiting = append(m.waiting, out1{op: wire.OutPoint{Hash: hash, Index: uint32(i)}, value: v, kind: kind})
		}
	}
	m.used = append(m.used, o.ins...)
	m.taken = append(m.taken, o)
}

// family is a transaction with children, each by one of its outputs.
func (m *txMaker) family(children int) (parent offer, spends []offer) {
	parent = offer{what: "parent", tx: wire.NewMsgTx(2)}
	for value := int64(0); value < int64(children)*100_000+2_000_000; {
		in := m.plainCoin()
		parent.ins, value = append(parent.ins, in), value+in.value
		txin := wire.NewTxIn(&in.op, nil, nil)
		txin.Sequence = wire.MaxTxInSequenceNum - 2
		parent.tx.AddTxIn(txin)
	}
	script := m.script(taprootKey)
	parent.tx.AddTxOut(wire.NewTxOut(0, script))
	for range children {
		parent.tx.AddTxOut(wire.NewTxOut(100_000, script))
	}
	m.pay(&parent, 20_000)
	for i := range children {
		in := out1{op: wire.OutPoint{Hash: parent.tx.TxHash(), Index: uint32(i + 1)}, value: 100_000}
		child := offer{what: "child", tx: wire.NewMsgTx(2), ins: []out1{in}}
		child.tx.AddTxIn(wire.NewTxIn(&in.op, nil, nil))
		child.tx.AddTxOut(wire.NewTxOut(0, script))
		m.pay(&child, 500)
		spends = append(spends, child)
	}
	return parent, spends
}

// plainCoin takes a coin that a signature alone spends.
func (m *txMaker) plainCoin() out1 {
	for i, o := range m.fresh {
		if o.kind == taprootKey {
			m.fresh = append(m.fresh[:i], m.fresh[i+1:]...)
			return o
		}
	}
	panic("no coins are left: make more of them in fan")
}

func decodeTx(t *testing.T, raw []byte) *wire.MsgTx {
	t.Helper()
	tx := new(wire.MsgTx)
	ok(t, tx.Deserialize(bytes.NewReader(raw)))
	return tx
}

func encodeTx(t *testing.T, tx *wire.MsgTx) []byte {
	t.Helper()
	var b bytes.Buffer
	ok(t, tx.Serialize(&b))
	return b.Bytes()
}
