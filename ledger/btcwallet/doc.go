// Package btcwallet holds the operator's on-chain money and reaches the chain, both through the wallet
// and chain packages of btcsuite's btcwallet. A btcd, a bitcoind or an embedded light client (neutrino)
// stands behind the same two objects; each says in Capabilities what it can't do. The package knows
// nothing of lanes: lane keys never enter its database, which can be rebuilt from the seed at any time.
//
//	node, err := btcwallet.Open(ctx, btcwallet.Config{Network: "simnet", Dir: dir, Seed: seed, Backend: backend})
//	defer node.Close()
//	tip, err := node.Chain.Tip(ctx)
package btcwallet
