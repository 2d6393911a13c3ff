// Package bitcoindtest gives tests a bitcoind on regtest: a real one where it is in PATH, and a server that
// answers as Bitcoin Core documents its RPC, which stands for it where there is none. It knows nothing of
// wallets or daemons.
//
//	node := bitcoindtest.NewFake(t)
//	backend := btcwallet.Bitcoind{Host: node.Host(), CookieFile: node.CookieFile()}
package bitcoindtest
