package btcwallet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcwallet/chain"

	"github.com/runnel/runnel/ledger"
)

func newDialer(c *Config, params *chaincfg.Params) dialer {
	switch c.Backend.Kind {
	case "bitcoind":
		return &bitcoindDialer{cfg: c.Backend.Bitcoind, params: params, birthday: start(c.Birthday)}
	case "neutrino":
		return newNeutrinoDialer(c, params)
	}
	return &btcdDialer{cfg: c.Backend.Btcd, params: params}
}

// start is when to begin to look for money of a seed.
func start(b Birthday) time.Time {
	if b.Time.IsZero() {
		return time.Unix(0, 0)
	}
	return b.Time.Add(-birthdayTime)
}

// probe finds out quickly whether anybody listens; the RPC clients would sleep for seconds.
func probe(ctx context.Context, host string) error {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	return c.Close()
}

type btcdDialer struct {
	cfg    Btcd
	params *chaincfg.Params
}

func (d *btcdDialer) name() string { return "btcd" }

func (d *btcdDialer) capabilities() ledger.Capabilities {
	return ledger.Capabilities{Name: "btcd", MempoolAccept: true, MempoolWatch: true, FeeEstimate: true, Unspent: true}
}

func (d *btcdDialer) stop() {}

func (d *btcdDialer) dial(ctx context.Context) (*client, error) {
	conn := &rpcclient.ConnConfig{
		Host: d.cfg.Host, Endpoint: "ws", User: d.cfg.User, Pass: d.cfg.Pass, DisableTLS: d.cfg.NoTLS,
	}
	if !d.cfg.NoTLS {
		cert, err := os.ReadFile(d.cfg.CertFile)
		if err != nil {
			return nil, fmt.Errorf("btcd's certificate: %w", err)
		}
		conn.Certificates = cert
	}
	if err := probe(ctx, d.cfg.Host); err != nil {
		return nil, err
	}
	rpc, err := chain.NewRPCClientWithConfig(&chain.RPCClientConfig{Conn: conn, Chain: d.params, ReconnectAttempts: 1})
	if err != nil {
		return nil, err
	}
	// The link makes new connections itself: those of the RPC client can't be interrupted.
	conn.DisableAutoReconnect = true
	if _, err := await(ctx, func() (any, error) { return nil, rpc.Start(ctx) }); err != nil {
		go rpc.Stop()
		return nil, explain(err)
	}
	gone := make(chan struct{})
	go func() {
		rpc.Client.WaitForShutdown()
		close(gone)
	}()
	return &client{Interface: rpc, rpc: rpc.Client, gone: gone, close: func() {
		rpc.Stop()
		rpc.WaitForShutdown()
	}}, nil
}

// explain adds what to do to the errors that no waiting will mend.
func explain(err error) error {
	switch {
	case errors.Is(err, rpcclient.ErrInvalidAuth):
		return fmt.Errorf("%w: check RPC user and password", err)
	case strings.Contains(err.Error(), "mismatched networks"):
		return fmt.Errorf("%w: the node runs on another network than this daemon", err)
	}
	return err
}

type bitcoindDialer struct {
	cfg      Bitcoind
	params   *chaincfg.Params
	birthday time.Time
}

func (d *bitcoindDialer) name() string { return "bitcoind" }

func (d *bitcoindDialer) capabilities() ledger.Capabilities {
	return ledger.Capabilities{Name: "bitcoind", MempoolAccept: true, MempoolWatch: true, FeeEstimate: true, Unspent: true}
}

func (d *bitcoindDialer) stop() {}

func (d *bitcoindDialer) dial(ctx context.Context) (*client, error) {
	user, pass, err := d.credentials()
	if err != nil {
		return nil, err
	}
	if err := probe(ctx, d.cfg.Host); err != nil {
		return nil, err
	}
	cfg := &chain.BitcoindConfig{
		ChainParams: d.params, Host: d.cfg.Host, User: user, Pass: pass,
		Dialer: func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, callTimeout) },
	}
	if d.cfg.ZMQBlock != "" {
		cfg.ZMQConfig = &chain.ZMQConfig{
			ZMQBlockHost: d.cfg.ZMQBlock, ZMQTxHost: d.cfg.ZMQTx,
			ZMQReadDeadline: 5 * time.Second, MempoolPollingInterval: time.Minute,
		}
	} else {
		cfg.PollingConfig = &chain.PollingConfig{BlockPollingInterval: time.Second, TxPollingInterval: 5 * time.Second}
	}
	rpc, err := rpcclient.New(&rpcclient.ConnConfig{
		Host: d.cfg.Host, User: user, Pass: pass, DisableTLS: true, DisableConnectOnNew: true, HTTPPostMode: true,
		DisableAutoReconnect: true,
	}, nil)
	if err != nil {
		return nil, err
	}
	bc, stop, err := d.open(ctx, cfg)
	if err != nil {
		rpc.Shutdown()
		return nil, explain(err)
	}
	return &client{Interface: bc, rpc: rpc, close: func() {
		stop()
		rpc.Shutdown()
	}}, nil
}

func (d *bitcoindDialer) open(ctx context.Context, cfg *chain.BitcoindConfig) (*chain.BitcoindClient, func(), error) {
	conn, err := await(ctx, func() (*chain.BitcoindConn, error) { return chain.NewBitcoindConn(cfg) })
	if err != nil {
		return nil, nil, err
	}
	if _, err := await(ctx, func() (any, error) { return nil, conn.Start() }); err != nil {
		go conn.Stop()
		return nil, nil, err
	}
	c := conn.NewBitcoindClient()
	c.SetBirthday(d.birthday)
	if _, err := await(ctx, func() (any, error) { return nil, c.Start(ctx) }); err != nil {
		go conn.Stop()
		return nil, nil, err
	}
	return c, func() {
		c.Stop()
		c.WaitForShutdown()
		conn.Stop()
	}, nil
}

func (d *bitcoindDialer) credentials() (user, pass string, err error) {
	if d.cfg.CookieFile == "" {
		return d.cfg.User, d.cfg.Pass, nil
	}
	raw, err := os.ReadFile(d.cfg.CookieFile)
	if err != nil {
		return "", "", fmt.Errorf("bitcoind's cookie (it exists while bitcoind runs): %w", err)
	}
	user, pass, ok := strings.Cut(strings.TrimSpace(string(raw)), ":")
	if !ok {
		return "", "", fmt.Errorf("%s is not a cookie of bitcoind", d.cfg.CookieFile)
	}
	return user, pass, nil
}

// isDisconnect reports whether err comes from a connection that ended.
func isDisconnect(err error) bool {
	var netErr net.Error
	return errors.Is(err, rpcclient.ErrClientDisconnect) || errors.Is(err, rpcclient.ErrClientShutdown) ||
		errors.Is(err, rpcclient.ErrClientNotConnected) || errors.As(err, &netErr)
}

// isRPCError reports whether the node itself answered with an error.
func isRPCError(err error) bool {
	var rpcErr *btcjson.RPCError
	return errors.As(err, &rpcErr)
}
