// Package ledgertest holds the one suite that every chain backend and wallet passes, and Memory: a
// ledger in memory for tests and simulations. Memory judges transactions with the rules of a real
// mempool (scripts, standardness, relay fee, replacement), mines and reorganises on command, and has no
// goroutine, clock or randomness of its own: the same calls give the same chain.
//
//	net := ledgertest.NewMemory()
//	chain := net.NewChain()
//	wallet := net.NewWallet(chain, "alice")
//	net.Faucet(script, 100_000); net.Mine(1)
package ledgertest
