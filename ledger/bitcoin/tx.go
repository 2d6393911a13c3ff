package bitcoin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

const (
	// maxTxBytes is a full block: nothing longer can be a transaction.
	maxTxBytes = 4_000_000

	// maxStandardWeight is the heaviest transaction that nodes relay.
	maxStandardWeight = 400_000

	// maxFeeRate is 10,000,000 sat/vB: more is a mistake, and fees stay far from overflow.
	maxFeeRate ledger.FeeRate = 10_000_000_000

	// sequenceRBF signals replacement, allows a locktime and has no relative lock.
	sequenceRBF = 0xfffffffd
)

// TxID is the id of a transaction in internal byte order.
func (s *Scheme) TxID(raw []byte) ([32]byte, error) {
	tx, err := parseTx(raw)
	if err != nil {
		return [32]byte{}, err
	}
	return tx.TxHash(), nil
}

// parseTx reads a transaction. What it accepts encodes to the same bytes again (the decoder refuses
// counts that are longer than needed and empty witnesses, checkShape what follows the end), and what it
// allocates is bounded by the length of raw.
func parseTx(raw []byte) (*wire.MsgTx, error) {
	if err := checkShape(raw); err != nil {
		return nil, rejected("%v", err)
	}
	tx := new(wire.MsgTx)
	if err := tx.Deserialize(bytes.NewReader(raw)); err != nil {
		return nil, rejected("not a transaction: %v", err)
	}
	return tx, nil
}

func rejected(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ledger.ErrRejected, fmt.Sprintf(format, args...))
}

func encodeTx(tx *wire.MsgTx) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(tx.SerializeSize())
	if err := tx.Serialize(&b); err != nil {
		return nil, fmt.Errorf("bitcoin: encode transaction: %w", err)
	}
	return b.Bytes(), nil
}

var errShape = errors.New("not a transaction: its counts exceed its length")

// checkShape walks over a transaction's counts and lengths without allocating: the decoder behind it
// would allocate hundreds of megabytes for a count in a message of ten bytes.
func checkShape(raw []byte) error {
	if len(raw) > maxTxBytes {
		return fmt.Errorf("not a transaction: %d bytes are more than a block", len(raw))
	}
	w := walker{rest: raw}
	w.skip(4)
	witness := len(w.rest) > 1 && w.rest[0] == 0 && w.rest[1] == 1
	if witness {
		w.skip(2)
	}
	inputs := w.count(41) // outpoint, script length, sequence
	for range inputs {
		w.skip(36)
		w.skip(w.count(1))
		w.skip(4)
	}
	for range w.count(9) { // value, script length
		w.skip(8)
		w.skip(w.count(1))
	}
	for i := 0; witness && i < inputs; i++ {
		for range w.count(1) {
			w.skip(w.count(1))
		}
	}
	w.skip(4)
	if w.bad || len(w.rest) != 0 {
		return errShape
	}
	return nil
}

// walker steps through bytes; after the first step beyond the end it is bad and yields zeros.
type walker struct {
	rest []byte
	bad  bool
}

func (w *walker) skip(n int) []byte {
	if w.bad || n > len(w.rest) {
		w.bad, w.rest = true, nil
		return nil
	}
	taken := w.rest[:n]
	w.rest = w.rest[n:]
	return taken
}

// count reads a length or count of things that take at least size bytes each.
func (w *walker) count(size int) int {
	var n uint64
	switch b := w.skip(1); {
	case b == nil:
		return 0
	case b[0] < 0xfd:
		n = uint64(b[0])
	default:
		var full [8]byte
		copy(full[:], w.skip(2<<(b[0]-0xfd)))
		n = binary.LittleEndian.Uint64(full[:])
	}
	if n > uint64(len(w.rest)/size) {
		w.bad, w.rest = true, nil
		return 0
	}
	return int(n)
}

func wireOutpoint(o channel.Outpoint) wire.OutPoint {
	return wire.OutPoint{Hash: chainhash.Hash(o.TxID), Index: o.Index}
}

func vsizeOf(tx *wire.MsgTx) int { return vsize(weightOf(tx)) }

func weightOf(tx *wire.MsgTx) int { return 3*tx.SerializeSizeStripped() + tx.SerializeSize() }

// spent maps each outpoint that a transaction spends to the output.
type spent map[wire.OutPoint]*wire.TxOut

func (p spent) fetcher() *txscript.MultiPrevOutFetcher { return txscript.NewMultiPrevOutFetcher(p) }

// runScripts executes every input of tx under the rules of relay.
func runScripts(tx *wire.MsgTx, prev spent) error {
	fetcher := prev.fetcher()
	hashes := txscript.NewTxSigHashes(tx, fetcher)
	for i, in := range tx.TxIn {
		out := prev[in.PreviousOutPoint]
		vm, err := txscript.NewEngine(out.PkScript, tx, i, txscript.StandardVerifyFlags, nil, hashes, out.Value, fetcher)
		if err == nil {
			err = vm.Execute()
		}
		if err != nil {
			return rejected("input %d: %v", i, err)
		}
	}
	return nil
}

// finish runs the scripts of a signed transaction and encodes it.
func finish(tx *wire.MsgTx, prev spent) (ledger.Tx, error) {
	if err := runScripts(tx, prev); err != nil {
		return ledger.Tx{}, err
	}
	raw, err := encodeTx(tx)
	if err != nil {
		return ledger.Tx{}, err
	}
	var fee int64
	for _, in := range tx.TxIn {
		fee += prev[in.PreviousOutPoint].Value
	}
	for _, out := range tx.TxOut {
		fee -= out.Value
	}
	return ledger.Tx{ID: tx.TxHash(), Raw: raw, Fee: channel.Sat(fee)}, nil
}
