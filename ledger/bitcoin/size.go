package bitcoin

// Weights of the parts of our transactions (BIP 141: bytes outside the witness count four times).
const (
	baseWeight   = 4*(4+4) + 2                               // version, locktime; marker and flag
	inputWeight  = 4*(36+1+4) + 1                            // outpoint, empty script, sequence; number of witness items
	outputWeight = 4 * (8 + 1 + 34)                          // to a P2TR or P2WSH script
	keyWeight    = 1 + 64                                    // key path signature
	voucherPath  = (1 + 64) + (1 + 65) + (1 + 68) + (1 + 65) // payee, voucher, leaf, control block
	expiredPath  = (1 + 64) + (1 + 4 + 2 + 34) + (1 + 65)    // expiry up to height 8,388,607
	anchorWeight = 4 * 2                                     // one-byte counts of inputs and outputs
	longCount    = 4 * 2                                     // what a count above 252 adds
)

func vsize(weight int) int { return (weight + 3) / 4 }

// txWeight is the weight of a transaction with P2TR outputs whose inputs each have a witness of a weight.
func txWeight(inputs, witness, outputs int) int {
	w := baseWeight + anchorWeight + inputs*(inputWeight+witness) + outputs*outputWeight
	for _, n := range []int{inputs, outputs} {
		if n > 252 {
			w += longCount
		}
	}
	return w
}

// CloseVSize is the size of a close of so many lanes with one output for each side (P2TR).
func (s *Scheme) CloseVSize(lanes int) int { return vsize(txWeight(lanes, keyWeight, 2)) }

// SettleVSize is the size of a settlement of so many lanes to a P2TR script.
func (s *Scheme) SettleVSize(lanes int) int { return vsize(txWeight(lanes, voucherPath, lanes+1)) }

// RefundVSize is the size of a refund of so many expired funding outputs to a P2TR script; refund outputs
// of settlements are smaller.
func (s *Scheme) RefundVSize(inputs int) int { return vsize(txWeight(inputs, expiredPath, 1)) }
