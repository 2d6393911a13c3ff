package btcwallet_test

import (
	"testing"

	"github.com/runnel/runnel/ledger/btcwallet"
	"github.com/runnel/runnel/ledger/ledgertest"
	"github.com/runnel/runnel/ledger/simnet/simnettest"
)

func onNeutrino(t *testing.T) ledgertest.Env {
	n := simnettest.Start(t)
	node := open(t, config(t, btcwallet.Backend{
		Kind: "neutrino", Neutrino: btcwallet.Neutrino{Peers: []string{n.P2PAddr()}},
	}))
	return ledgertest.Env{Net: network{n}, Chain: node.Chain, Wallet: node.Wallet}
}

func TestNeutrinoChain(t *testing.T) {
	t.Parallel()
	ledgertest.TestChain(t, onNeutrino)
}

func TestNeutrinoWallet(t *testing.T) {
	t.Parallel()
	ledgertest.TestWallet(t, onNeutrino)
}
