package bitcoin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/btcutil/v2/txsort"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// Errors of a session that callers tell apart.
var (
	ErrSessionUsed = errors.New("bitcoin: a close session signs once: begin a new attempt")
	ErrBadPartial  = errors.New("bitcoin: the peer's partial signature is wrong")
	ErrBadNonce    = errors.New("bitcoin: the peer's public nonces are wrong")
)

// CloseTx builds the unsigned close of lanes: version 2, locktime 0, every input replaceable, inputs and
// outputs in the order of BIP 69. Outputs below channel.DustSat are left to the fee.
func (s *Scheme) CloseTx(lanes []ledger.Lane, outputs []ledger.Output) ([]byte, [32]byte, error) {
	tx, _, err := s.closeTx(lanes, outputs)
	if err != nil {
		return nil, [32]byte{}, err
	}
	raw, err := encodeTx(tx)
	return raw, tx.TxHash(), err
}

func (s *Scheme) closeTx(lanes []ledger.Lane, outputs []ledger.Output) (*wire.MsgTx, spent, error) {
	tx := wire.NewMsgTx(txVersion)
	prev := make(spent, len(lanes))
	var deposits channel.Sat
	for _, lane := range lanes {
		l, err := s.scripts(lane.Terms)
		if err != nil {
			return nil, nil, err
		}
		o := wireOutpoint(lane.Funding)
		if lane.Funding.TxID == [32]byte{} || prev[o] != nil {
			return nil, nil, badTerms("each lane of a close needs a funding output of its own")
		}
		prev[o] = l.fundingOut(lane.Terms.Deposit)
		tx.AddTxIn(&wire.TxIn{PreviousOutPoint: o, Sequence: sequenceRBF})
		if deposits += lane.Terms.Deposit; deposits > channel.MaxMoney {
			return nil, nil, badTerms("the deposits are more than can exist")
		}
	}
	if err := addPayouts(tx, deposits, outputs); err != nil {
		return nil, nil, err
	}
	if w := weightOf(tx) + len(lanes)*(1+keyWeight) + 2; w > maxStandardWeight {
		return nil, nil, rejected("%d lanes are too many for one transaction", len(lanes))
	}
	txsort.InPlaceSort(tx)
	return tx, prev, nil
}

func addPayouts(tx *wire.MsgTx, deposits channel.Sat, outputs []ledger.Output) error {
	rest := deposits
	for _, out := range outputs {
		if out.Value > rest {
			return badTerms("a close pays more than the deposits of %d sat", deposits)
		}
		rest -= out.Value
		if out.Value < channel.DustSat {
			continue
		}
		if err := checkPayable(out.Script); err != nil {
			return err
		}
		if out.Value < dust(out.Script) {
			return fmt.Errorf("%w: %d sat to this kind of address", ledger.ErrTooSmall, out.Value)
		}
		tx.AddTxOut(wire.NewTxOut(int64(out.Value), out.Script))
	}
	if len(tx.TxOut) == 0 {
		return fmt.Errorf("%w: a close needs an output", ledger.ErrTooSmall)
	}
	return nil
}

// VerifyClose checks that raw is the close of these lanes and outputs, completely signed. raw comes from
// the peer: its length, which is known beforehand, is checked before it is parsed.
func (s *Scheme) VerifyClose(raw []byte, lanes []ledger.Lane, outputs []ledger.Output) error {
	want, prev, err := s.closeTx(lanes, outputs)
	if err != nil {
		return err
	}
	if size := want.SerializeSize() + 2 + len(want.TxIn)*(1+keyWeight); len(raw) != size {
		return rejected("the close has %d bytes instead of %d", len(raw), size)
	}
	tx, err := parseTx(raw)
	if err != nil {
		return err
	}
	if tx.TxHash() != want.TxHash() {
		return rejected("the close is not the one agreed on")
	}
	for i, in := range tx.TxIn {
		if err := checkKeyWitness(in.Witness); err != nil {
			return rejected("input %d: %v", i, err)
		}
	}
	return runScripts(tx, prev)
}

// checkKeyWitness takes the witness of a key path spend only if it is one canonical signature for the
// whole transaction.
func checkKeyWitness(w wire.TxWitness) error {
	if len(w) != 1 {
		return fmt.Errorf("a witness of %d items instead of one signature", len(w))
	}
	_, err := parseSignature(w[0])
	return err
}

// closeInput is one input's MuSig2 session (BIP 327).
type closeInput struct {
	session *musig2.Session
	digest  [32]byte
	signers []*btcec.PublicKey
	root    [32]byte
	peer    *btcec.PublicKey
	public  [66]byte // our public nonce; the library forgets it with the secret one
	nonce   [66]byte // of the peer, once known
}

// closeSession implements ledger.CloseSession. Its owner calls it from one goroutine.
type closeSession struct {
	tx     *wire.MsgTx
	prev   spent
	inputs []closeInput
	signed bool // our nonces are used up
	ready  bool // our partial signatures exist
}

// NewClose begins an attempt at a close together: fresh nonces for every input, bound to the
// transaction, which exist only in the session.
func (s *Signer) NewClose(lanes []ledger.CloseLane, outputs []ledger.Output) (ledger.CloseSession, error) {
	plain := make([]ledger.Lane, len(lanes))
	byOutpoint := make(map[wire.OutPoint]ledger.CloseLane, len(lanes))
	for i, lane := range lanes {
		plain[i] = lane.Lane
		byOutpoint[wireOutpoint(lane.Funding)] = lane
	}
	tx, prev, err := s.scheme.closeTx(plain, outputs)
	if err != nil {
		return nil, err
	}
	return s.newSession(tx, prev, byOutpoint)
}

// newSession makes the nonces of a transaction whose inputs are outputs at lanes' addresses.
func (s *Signer) newSession(tx *wire.MsgTx, prev spent, byOutpoint map[wire.OutPoint]ledger.CloseLane) (ledger.CloseSession, error) {
	fetcher := prev.fetcher()
	hashes := txscript.NewTxSigHashes(tx, fetcher)
	session := &closeSession{tx: tx, prev: prev}
	for i, in := range tx.TxIn {
		digest, err := txscript.CalcTaprootSignatureHash(hashes, txscript.SigHashDefault, tx, i, fetcher)
		if err != nil {
			return nil, fmt.Errorf("bitcoin: digest of input %d: %w", i, err)
		}
		input, err := s.closeInput(byOutpoint[in.PreviousOutPoint], [32]byte(digest))
		if err != nil {
			return nil, err
		}
		session.inputs = append(session.inputs, input)
	}
	return session, nil
}

func (s *Signer) closeInput(lane ledger.CloseLane, digest [32]byte) (closeInput, error) {
	l, err := s.scheme.scripts(lane.Terms)
	if err != nil {
		return closeInput{}, err
	}
	own, peer, err := s.laneKey(lane.Terms, lane.Keys, l)
	if err != nil {
		return closeInput{}, err
	}
	signers := append([]*btcec.PublicKey(nil), l.signers...)
	ctx, err := musig2.NewContext(own.priv, false, musig2.WithKnownSigners(signers), musig2.WithTaprootTweakCtx(l.root[:]))
	if err != nil {
		return closeInput{}, fmt.Errorf("bitcoin: close session: %w", err)
	}
	nonces, err := s.closeNonces(ctx, own, digest)
	if err != nil {
		return closeInput{}, err
	}
	session, err := ctx.NewSession(musig2.WithPreGeneratedNonce(nonces))
	if err != nil {
		return closeInput{}, fmt.Errorf("bitcoin: close session: %w", err)
	}
	return closeInput{
		session: session, digest: digest, signers: signers, root: l.root, peer: peer, public: nonces.PubNonce,
	}, nil
}

// closeNonces is NonceGen of BIP 327 with every optional input. The counter keeps nonces apart within
// one process even if the source of randomness failed and repeated itself.
func (s *Signer) closeNonces(ctx *musig2.Context, own *keyPair, digest [32]byte) (*musig2.Nonces, error) {
	combined, err := ctx.CombinedKey()
	if err != nil {
		return nil, fmt.Errorf("bitcoin: close session: %w", err)
	}
	random := s.random()
	nonces, err := musig2.GenNonces(
		musig2.WithCustomRand(bytes.NewReader(random[:])),
		musig2.WithPublicKey(own.priv.PubKey()),
		musig2.WithNonceSecretKeyAux(own.priv),
		musig2.WithNonceCombinedKeyAux(combined),
		musig2.WithNonceMessageAux(digest),
		musig2.WithNonceAuxInput(binary.BigEndian.AppendUint64(nil, s.sessions.Add(1))),
	)
	if err != nil {
		return nil, fmt.Errorf("bitcoin: close session: %w", err)
	}
	return nonces, nil
}

// Nonces has our public nonce for each input, in the order of the transaction, before and after Sign.
func (c *closeSession) Nonces() [][66]byte {
	nonces := make([][66]byte, len(c.inputs))
	for i := range c.inputs {
		nonces[i] = c.inputs[i].public
	}
	return nonces
}

// Sign makes our partial signatures. It works once, whatever comes of it.
func (c *closeSession) Sign(peer [][66]byte) ([][32]byte, error) {
	if c.signed {
		return nil, ErrSessionUsed
	}
	c.signed = true
	if len(peer) != len(c.inputs) {
		return nil, fmt.Errorf("%w: %d for %d inputs", ErrBadNonce, len(peer), len(c.inputs))
	}
	partials := make([][32]byte, len(c.inputs))
	for i := range c.inputs {
		in := &c.inputs[i]
		if err := in.setNonce(peer[i]); err != nil {
			return nil, fmt.Errorf("%w: input %d: %v", ErrBadNonce, i, err)
		}
		sig, err := in.session.Sign(in.digest)
		if err != nil {
			return nil, fmt.Errorf("bitcoin: sign input %d: %w", i, err)
		}
		partials[i] = sig.S.Bytes()
	}
	c.ready = true
	return partials, nil
}

func (in *closeInput) setNonce(nonce [66]byte) error {
	if err := checkNonce(nonce); err != nil {
		return err
	}
	in.nonce = nonce
	_, err := in.session.RegisterPubNonce(nonce)
	return err
}

// checkNonce takes a public nonce only if it is two points. The library alone would take zeros as well,
// which BIP 327 allows only in sums of nonces.
func checkNonce(nonce [66]byte) error {
	for _, half := range [][]byte{nonce[:33], nonce[33:]} {
		if _, err := btcec.ParsePubKey(half); err != nil {
			return err
		}
	}
	return nil
}

// Combine verifies each of the peer's partial signatures, joins them with ours and checks the finished
// transaction.
func (c *closeSession) Combine(peer [][32]byte) (ledger.Tx, error) {
	if !c.ready {
		return ledger.Tx{}, errors.New("bitcoin: combine needs our partial signatures first")
	}
	if len(peer) != len(c.inputs) {
		return ledger.Tx{}, fmt.Errorf("%w: %d for %d inputs", ErrBadPartial, len(peer), len(c.inputs))
	}
	partials := make([]*musig2.PartialSignature, len(peer))
	for i := range c.inputs {
		var err error
		if partials[i], err = c.inputs[i].checkPartial(peer[i]); err != nil {
			return ledger.Tx{}, fmt.Errorf("%w: input %d", err, i)
		}
	}
	tx := c.tx.Copy()
	for i := range c.inputs {
		session := c.inputs[i].session
		if _, err := session.CombineSig(partials[i]); err != nil {
			return ledger.Tx{}, fmt.Errorf("bitcoin: combine input %d: %w", i, err)
		}
		tx.TxIn[i].Witness = wire.TxWitness{session.FinalSig().Serialize()}
	}
	return finish(tx, c.prev)
}

func (in *closeInput) checkPartial(b [32]byte) (*musig2.PartialSignature, error) {
	sig, err := parsePartial(b)
	if err != nil {
		return nil, err
	}
	combined, err := in.session.CombinedNonce()
	if err != nil {
		return nil, fmt.Errorf("bitcoin: combine: %w", err)
	}
	keys := append([]*btcec.PublicKey(nil), in.signers...)
	if !sig.Verify(in.nonce, combined, keys, in.peer, in.digest, musig2.WithTaprootSignTweak(in.root[:])) {
		return nil, ErrBadPartial
	}
	return sig, nil
}

// parsePartial reads a partial signature, a number below the group order.
func parsePartial(b [32]byte) (*musig2.PartialSignature, error) {
	var s btcec.ModNScalar
	if s.SetBytes(&b) != 0 {
		return nil, ErrBadPartial
	}
	return &musig2.PartialSignature{S: &s}, nil
}
