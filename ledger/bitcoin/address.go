package bitcoin

import (
	"fmt"
	"strings"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
)

// Address is the address of an output script.
func (s *Scheme) Address(script []byte) (string, error) {
	if err := checkPayable(script); err != nil {
		return "", err
	}
	_, addrs, _, err := txscript.ExtractPkScriptAddrs(script, s.params)
	if err != nil || len(addrs) != 1 {
		return "", fmt.Errorf("%w: no address for this script", ledger.ErrBadAddress)
	}
	return addrs[0].EncodeAddress(), nil
}

// Script is the output script of an address of this network. An address is accepted only if it is the
// one encoding of its script.
func (s *Scheme) Script(text string) ([]byte, error) {
	addr, err := address.DecodeAddress(text, s.params)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ledger.ErrBadAddress, s.network, err)
	}
	if !addr.IsForNet(s.params) {
		return nil, fmt.Errorf("%w: it belongs to a network other than %s", ledger.ErrBadAddress, s.network)
	}
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ledger.ErrBadAddress, err)
	}
	again, err := s.Address(script)
	if err != nil {
		return nil, err
	}
	if text != again && strings.ToLower(text) != again { // bech32 also comes in capitals
		return nil, fmt.Errorf("%w: unknown kind of address", ledger.ErrBadAddress)
	}
	return script, nil
}

// checkPayable refuses scripts that nodes don't relay as outputs, or that nobody could spend.
func checkPayable(script []byte) error {
	switch txscript.GetScriptClass(script) {
	case txscript.WitnessV1TaprootTy, txscript.WitnessV0PubKeyHashTy, txscript.WitnessV0ScriptHashTy,
		txscript.PubKeyHashTy, txscript.ScriptHashTy:
		return nil
	}
	return fmt.Errorf("%w: not a script that can be paid", ledger.ErrBadAddress)
}

// dust is the smallest value that nodes relay for an output: three times the cost of spending it at
// 1 sat/vB.
func dust(script []byte) channel.Sat {
	spend := 148
	if txscript.IsWitnessProgram(script) {
		spend = 67
	}
	return channel.Sat(3 * (8 + 1 + len(script) + spend))
}
