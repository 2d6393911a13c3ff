package btcwallet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/chain"
	"github.com/btcsuite/btcwallet/waddrmgr"

	"github.com/runnel/runnel/ledger"
)

// client is one live connection to a backend.
type client struct {
	chain.Interface
	rpc   *rpcclient.Client // nil for a light client
	gone  <-chan struct{}   // closed when the connection has ended by itself; may be nil
	away  func() error      // of a client that never ends: why it knows nothing new now; may be nil
	close func()
}

// dialer makes connections to one backend.
type dialer interface {
	name() string
	capabilities() ledger.Capabilities
	// dial returns a started client or why there is none. It gives up when ctx ends.
	dial(ctx context.Context) (*client, error)
	// stop ends what outlives connections.
	stop()
}

// link is a connection that never ends: it looks like one client to the wallet while clients behind it
// come and go. While there is none its calls fail with ledger.ErrUnreachable. Each new client's first
// notification makes the wallet synchronise from where it stood.
type link struct {
	dialer  dialer
	params  *chaincfg.Params
	log     *slog.Logger
	prepare func(*client) error // before a new client is used
	reorged func(*client) error // takes back what left the best chain
	synced  func()              // the wallet caught up with a client

	ctx     context.Context
	cancel  context.CancelFunc
	started sync.Once
	done    chan struct{}
	out     chan interface{} // notifications to the wallet
	changed chan struct{}
	quiet   sync.Map // ids of transactions that the wallet must not send by itself now

	mu    sync.Mutex
	cur   *client
	why   error         // why cur is nil
	doubt error         // why what cur says may be old; only the wallet goes on with it
	up    chan struct{} // closed when cur is set
	known bool          // whether the log knows the present state
}

var _ chain.Interface = (*link)(nil)

func newLink(d dialer, params *chaincfg.Params, log *slog.Logger) *link {
	ctx, cancel := context.WithCancel(context.Background())
	return &link{
		dialer: d, params: params, log: log.With("backend", d.name()),
		prepare: func(*client) error { return nil }, reorged: func(*client) error { return nil }, synced: func() {},
		ctx: ctx, cancel: cancel,
		done: make(chan struct{}), out: make(chan interface{}), changed: make(chan struct{}, 1),
		why: errors.New("not connected yet"), up: make(chan struct{}),
	}
}

// run keeps a client until the link is stopped.
func (l *link) run() {
	defer close(l.done)
	wait := minBackoff
	for l.ctx.Err() == nil {
		c, err := l.dialer.dial(l.ctx)
		if err == nil {
			if err = l.prepare(c); err != nil {
				c.close()
			}
		}
		if err != nil {
			l.down(err)
			select {
			case <-l.ctx.Done():
			case <-time.After(wait):
			}
			if wait = min(2*wait, maxBackoff); errors.Is(err, errNotYet) {
				wait = minBackoff
			}
			continue
		}
		wait = minBackoff
		l.use(c)
		l.down(l.serve(c))
		c.close()
	}
	l.dialer.stop()
}

func (l *link) use(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cur, l.why, l.doubt, l.known = c, nil, nil, false
	close(l.up)
	l.log.Info("chain backend reached")
	l.notify()
}

func (l *link) down(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur != nil {
		l.cur, l.doubt, l.up = nil, nil, make(chan struct{})
	}
	again := l.known && l.why != nil && l.why.Error() == why.Error()
	l.why, l.known = why, true
	if !again && l.ctx.Err() == nil {
		l.log.Warn("chain backend not reachable, trying again until it is", "err", why)
	}
	l.notify()
}

func (l *link) notify() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

var (
	errLost   = errors.New("connection lost")
	errNotYet = errors.New("not ready yet") // by dialers that waited themselves
)

// serve hands a client's notifications to the wallet until the client is gone, and says why it is.
func (l *link) serve(c *client) error {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	dead := make(chan struct{})
	go func() {
		defer close(dead)
		watch(ctx, c)
	}()
	if c.away != nil {
		minded := make(chan struct{})
		go func() {
			defer close(minded)
			l.mind(ctx, c)
		}()
		defer func() {
			cancel()
			<-minded
		}()
	}
	notifications := c.Notifications()
	for {
		var n interface{}
		var ok bool
		select {
		case n, ok = <-notifications:
		case <-dead:
			return errLost
		}
		if !ok {
			return errLost
		}
		l.observe(n)
		if err := l.forward(c, n, dead); err != nil {
			return err
		}
	}
}

// fence is a notification that the wallet ignores. When it takes it, it is done with those before.
type fence struct{}

// forward hands one notification to the wallet. Disconnected blocks are taken back here: the wallet's
// own handling stores an empty hash for the block below, and so stops after the first of several.
func (l *link) forward(c *client, n interface{}, dead <-chan struct{}) error {
	_, disconnected := n.(chain.BlockDisconnected)
	if disconnected {
		n = fence{}
	}
	select {
	case l.out <- n:
	case <-dead:
		return errLost
	}
	if disconnected {
		return l.reorged(c)
	}
	return nil
}

// watch returns when the client no longer answers or ctx has ended.
func watch(ctx context.Context, c *client) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.gone:
			return
		case <-time.After(pingEvery):
			ping, cancel := context.WithTimeout(ctx, pingTimeout)
			_, err := await(ping, func() (*chainhash.Hash, error) {
				hash, _, err := c.GetBestBlock()
				return hash, err
			})
			cancel()
			if err != nil {
				return
			}
		}
	}
}

// mind asks a client that never ends, again and again, whether it can be believed.
func (l *link) mind(ctx context.Context, c *client) {
	for {
		l.believe(c.away())
		select {
		case <-ctx.Done():
			return
		case <-time.After(awayEvery):
		}
	}
}

// believe notes whether the present client knows anything new, and says so once for each change.
func (l *link) believe(doubt error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := (l.doubt == nil) != (doubt == nil)
	l.doubt = doubt
	switch {
	case !changed || l.ctx.Err() != nil:
		return
	case doubt == nil:
		l.log.Info("chain backend reached")
	default:
		l.log.Warn("chain backend not reachable, trying again until it is", "err", doubt)
	}
	l.notify()
}

func (l *link) observe(n interface{}) {
	switch n.(type) {
	case chain.BlockConnected, chain.BlockDisconnected, chain.FilteredBlockConnected:
		l.notify()
	case *chain.RescanFinished:
		l.notify()
		l.synced()
	}
}

// trusted returns the present client if what it says is up to date.
func (l *link) trusted() (*client, error) {
	l.mu.Lock()
	doubt := l.doubt
	l.mu.Unlock()
	if doubt != nil {
		return nil, fmt.Errorf("%w: %s: %w", ledger.ErrUnreachable, l.dialer.name(), doubt)
	}
	return l.client()
}

// client returns the present client.
func (l *link) client() (*client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur == nil {
		return nil, fmt.Errorf("%w: %s: %w", ledger.ErrUnreachable, l.dialer.name(), l.why)
	}
	return l.cur, nil
}

// await makes a blocking call end with ctx; its late answer is dropped.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	c := make(chan result, 1)
	go func() {
		v, err := f()
		c <- result{v, err}
	}()
	select {
	case r := <-c:
		return r.v, r.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// ask puts a question of the chain to the present client.
func ask[T any](ctx context.Context, l *link, f func(*client) (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	c, err := l.trusted()
	if err != nil {
		return zero, err
	}
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := await(limited, func() (T, error) { return f(c) })
	if err == nil {
		return v, nil
	}
	if ctx.Err() != nil {
		return zero, ctx.Err()
	}
	if limited.Err() != nil || isDisconnect(err) {
		return zero, fmt.Errorf("%w: %s: %w", ledger.ErrUnreachable, l.dialer.name(), err)
	}
	return zero, err
}

// pass lets the wallet use the present client.
func pass[T any](l *link, f func(*client) (T, error)) (T, error) {
	c, err := l.client()
	if err != nil {
		var zero T
		return zero, err
	}
	return f(c)
}

// From here on the link is the chain.Interface of the wallet.

func (l *link) Start(context.Context) error {
	l.started.Do(func() { go l.run() })
	return nil
}

// Stop ends the link. WaitForShutdown waits for it.
func (l *link) Stop() {
	l.cancel()
	l.started.Do(func() {
		l.dialer.stop()
		close(l.done)
	})
}

func (l *link) WaitForShutdown() { <-l.done }

func (l *link) Notifications() <-chan interface{} { return l.out }

func (l *link) BackEnd() string { return l.dialer.name() }

func (l *link) GetBestBlock() (*chainhash.Hash, int32, error) {
	c, err := l.client()
	if err != nil {
		return nil, 0, err
	}
	return c.GetBestBlock()
}

func (l *link) GetBlock(h *chainhash.Hash) (*wire.MsgBlock, error) {
	return pass(l, func(c *client) (*wire.MsgBlock, error) { return c.GetBlock(h) })
}

func (l *link) GetBlockHash(height int64) (*chainhash.Hash, error) {
	return pass(l, func(c *client) (*chainhash.Hash, error) { return c.GetBlockHash(height) })
}

func (l *link) GetBlockHeader(h *chainhash.Hash) (*wire.BlockHeader, error) {
	return pass(l, func(c *client) (*wire.BlockHeader, error) { return c.GetBlockHeader(h) })
}

// IsCurrent lets the wallet begin. A node counts itself current when its last block is young, which no
// private chain has to be; a light client is taken into use only once it has caught up.
func (l *link) IsCurrent() bool {
	c, err := l.client()
	private := l.params.Net == wire.SimNet || l.params.Net == wire.TestNet
	return err == nil && (private || c.away != nil || c.IsCurrent())
}

func (l *link) FilterBlocks(r *chain.FilterBlocksRequest) (*chain.FilterBlocksResponse, error) {
	return pass(l, func(c *client) (*chain.FilterBlocksResponse, error) { return c.FilterBlocks(r) })
}

func (l *link) BlockStamp() (*waddrmgr.BlockStamp, error) {
	return pass(l, func(c *client) (*waddrmgr.BlockStamp, error) { return c.BlockStamp() })
}

func (l *link) NotifyBlocks() error {
	_, err := pass(l, func(c *client) (any, error) { return nil, c.NotifyBlocks() })
	return err
}

// NotifyReceived may fail without harm: each new client is told of all addresses.
func (l *link) NotifyReceived(a []address.Address) error {
	if _, err := pass(l, func(c *client) (any, error) { return nil, c.NotifyReceived(a) }); err != nil {
		l.log.Debug("new address is announced at the next connection", "err", err)
	}
	return nil
}

// Rescan goes on until it succeeded, over lost connections too: the wallet's bookkeeping of rescans does
// not survive a failed one.
func (l *link) Rescan(start *chainhash.Hash, addrs []address.Address, ops map[wire.OutPoint]address.Address) error {
	from := *start
	for {
		_, err := pass(l, func(c *client) (any, error) { return nil, c.Rescan(&from, addrs, ops) })
		if err == nil {
			return nil
		}
		l.log.Debug("rescan interrupted", "from", from, "err", err)
		if isRPCError(err) {
			// The start left the best chain: begin before it.
			if h, herr := l.GetBlockHeader(&from); herr == nil && h.PrevBlock != (chainhash.Hash{}) {
				from = h.PrevBlock
			}
		}
		select {
		case <-l.ctx.Done():
			return err
		case <-time.After(minBackoff):
		}
		if !l.waitUp() {
			return err
		}
	}
}

// waitUp waits for a client; false means that the link was stopped.
func (l *link) waitUp() bool {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	select {
	case <-up:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// SendRawTransaction is how the wallet repeats its unconfirmed transactions. It forgets a transaction
// on any error, so it hears only of those after which the transaction can never confirm; the owner of a
// transaction publishes it himself through Chain.
func (l *link) SendRawTransaction(tx *wire.MsgTx, _ bool) (*chainhash.Hash, error) {
	txid := tx.TxHash()
	if _, ok := l.quiet.Load(txid); ok {
		return &txid, nil
	}
	err := publish(l.ctx, l, tx)
	if errors.Is(err, ledger.ErrConflict) {
		return nil, err
	}
	if err != nil {
		l.log.Debug("unconfirmed transaction not sent again", "txid", txid, "err", err)
	}
	return &txid, nil
}

func (l *link) TestMempoolAccept(txs []*wire.MsgTx, rate float64) ([]*btcjson.TestMempoolAcceptResult, error) {
	return pass(l, func(c *client) ([]*btcjson.TestMempoolAcceptResult, error) { return c.TestMempoolAccept(txs, rate) })
}

func (l *link) SubmitPackage(txs []*wire.MsgTx, rate *float64) (*btcjson.SubmitPackageResult, error) {
	return pass(l, func(c *client) (*btcjson.SubmitPackageResult, error) { return c.SubmitPackage(txs, rate) })
}

func (l *link) MapRPCErr(err error) error {
	c, cerr := l.client()
	if cerr != nil {
		return err
	}
	return c.MapRPCErr(err)
}
