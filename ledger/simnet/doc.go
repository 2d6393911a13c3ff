// Package simnet starts, stops and mines a private btcd on the simulation network: for the demo, for
// the sandbox and for tests. The node listens on loopback only and reaches nobody. The package knows
// nothing of lanes, wallets or the daemon; its faucet is a throw-away key that mined blocks pay to.
//
//	node, err := simnet.Start(ctx, simnet.Options{Dir: dir})
//	defer node.Stop()
//	txid, err := node.Fund(ctx, address, 50_000_000)
//	err = node.Mine(ctx, 6)
package simnet
