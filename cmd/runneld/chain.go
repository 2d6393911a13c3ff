package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/runnel/runnel/ledger/btcwallet"
)

// openChain opens the on-chain wallet and the view of the chain. The backend may be away: the wallet
// keeps trying to reach it.
func (p *parts) openChain(ctx context.Context, c *Config, s seed, dir *dataDir) error {
	backend, err := chainBackend(c)
	if err != nil {
		return err
	}
	b, err := btcwallet.Open(ctx, btcwallet.Config{Network: c.Network, Dir: dir.file("wallet"), Seed: s.bytes,
		Birthday: btcwallet.Birthday{Time: s.birthday, Height: s.height}, NewSeed: s.fresh, Backend: backend, FeeURL: c.FeeURL, Log: p.log})
	if err != nil {
		return fmt.Errorf("the on-chain wallet can't be opened: %w", err)
	}
	p.onClose(b.Close)
	p.deps.Wallet, p.deps.Chain = b.Wallet, b.Chain
	return nil
}

// chainBackend reads the passwords, which only ever stand in files.
func chainBackend(c *Config) (b btcwallet.Backend, err error) {
	secret := func(path string) string {
		if path == "" || err != nil {
			return ""
		}
		var text string
		text, err = ReadSecret(path)
		return strings.TrimSpace(text)
	}
	b.Kind = c.Chain
	switch c.Chain {
	case "btcd":
		b.Btcd = btcwallet.Btcd{Host: c.Btcd.Host, User: c.Btcd.User, Pass: secret(c.Btcd.PassFile), CertFile: c.Btcd.Cert}
	case "bitcoind":
		b.Bitcoind = btcwallet.Bitcoind{Host: c.Bitcoind.Host, User: c.Bitcoind.User, Pass: secret(c.Bitcoind.PassFile), CookieFile: c.Bitcoind.Cookie}
	case "neutrino":
		b.Neutrino = btcwallet.Neutrino{Peers: c.Neutrino.Peers}
	}
	return b, err
}
