// Package daemon is the imperative shell around the channel machine: it owns the workers, carries out
// their effects in the order store, send, publish, follows the chain and the peers, and answers the API.
//
// It refuses to know Badger, btcd, btcwallet and libp2p: everything concrete comes in through Deps.
//
//	node, err := daemon.New(cfg, deps)
//	err = node.Run(ctx)
package daemon
