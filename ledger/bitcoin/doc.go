// Package bitcoin is the construction of lanes and vouchers on Bitcoin: scripts, ids, signatures and
// transactions as pure functions of their arguments. It knows no network, node, clock or disk, and does
// not remember what was signed: that a total never falls is the caller's promise.
//
//	scheme, err := bitcoin.NewScheme("regtest")
//	signer, err := bitcoin.NewSigner(scheme, seed, bitcoin.SystemRandom)
//	sig, err := signer.SignVoucher(lane, index, total)
//
// A lane is one taproot output. Three ways lead out of it:
//
//	funding output (P2TR, internal key = KeyAgg(payer, payee))
//	 ├─ key path ────── both sign (MuSig2): close together, at what the payee has accepted
//	 ├─ voucher leaf ── payer's voucher + payee: the payee takes the total, the rest goes to
//	 │                  the refund output, which the payer can spend one block later
//	 └─ refund leaf ─── payer alone, from the expiry height on
//
// The rules come from BIP 340 (signatures), 341 and 342 (taproot), 327 (MuSig2), 65 and 112 (locks), 125
// (replacement) and 69 (order of inputs and outputs).
package bitcoin
