package btcwallet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcwallet/chain"
	"github.com/btcsuite/btcwallet/walletdb"
	"github.com/lightninglabs/neutrino"
	"github.com/lightninglabs/neutrino/banman"

	"github.com/runnel/runnel/ledger"
)

// neutrinoDialer holds the light client, which looks for its peers by itself and has one client that
// never ends. What that knows is believed while a peer is there and its headers are here.
type neutrinoDialer struct {
	cfg      Neutrino
	params   *chaincfg.Params
	birthday time.Time
	dir      string
	log      *slog.Logger
	ctx      context.Context // ends attempts to reach a peer
	cancel   context.CancelFunc
	told     time.Time // when the progress was last logged

	service *neutrino.ChainService
	db      walletdb.DB
	bans    banman.Store
	once    sync.Once
}

func newNeutrinoDialer(c *Config, params *chaincfg.Params) *neutrinoDialer {
	ctx, cancel := context.WithCancel(context.Background())
	return &neutrinoDialer{cfg: c.Backend.Neutrino, params: params, birthday: start(c.Birthday),
		dir: filepath.Join(c.Dir, "neutrino"), log: c.Log, ctx: ctx, cancel: cancel}
}

func (d *neutrinoDialer) name() string { return "neutrino" }

func (d *neutrinoDialer) capabilities() ledger.Capabilities {
	return ledger.Capabilities{Name: "neutrino"}
}

// dial waits a while for a peer and for the headers that it has.
func (d *neutrinoDialer) dial(ctx context.Context) (*client, error) {
	if d.service == nil {
		if err := d.open(); err != nil {
			return nil, err
		}
	}
	if err := d.service.Start(ctx); err != nil {
		return nil, err
	}
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	c := chain.NewNeutrinoClient(d.params, d.service)
	c.SetStartTime(d.birthday)
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	return &client{Interface: c, away: d.away, close: func() {
		c.Stop()
		c.WaitForShutdown()
	}}, nil
}

func (d *neutrinoDialer) ready(ctx context.Context) error {
	for deadline := time.Now().Add(readyWait); ; {
		err := d.away()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		d.progress()
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: %w", errNotYet, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(readyPoll):
		}
	}
}

// progress logs how far the headers are, which takes minutes on a new node.
func (d *neutrinoDialer) progress() {
	if best, err := d.service.BestBlock(); err == nil && time.Since(d.told) > progressEvery && d.peers() > 0 {
		d.told = time.Now()
		d.log.Info("the light client fetches headers", "height", best.Height)
	}
}

func (d *neutrinoDialer) peers() int { return len(d.service.Peers()) }

var (
	errNoPeer  = errors.New("no peer can be reached")
	errBanned  = errors.New("a peer was left for a day because it serves no compact filters or served wrong data (btcd serves them unless nocfilters=1; bitcoind needs blockfilterindex=1 and peerblockfilters=1; a restart of this daemon tries it again)")
	errHeaders = errors.New("still fetching headers")
)

// away says why the light client can't know the newest block: it has no peer, or less than its peers
// had when they connected. Half of the peers may lie about that.
func (d *neutrinoDialer) away() error {
	var heights []int32
	for _, p := range d.service.Peers() {
		heights = append(heights, p.StartingHeight())
	}
	if len(heights) == 0 {
		return d.lonely()
	}
	best, err := d.service.BestBlock()
	if err != nil {
		return err
	}
	if slices.Sort(heights); best.Height < heights[len(heights)/2] {
		return errHeaders
	}
	return nil
}

// lonely tells peers that can't be reached from those that were banned.
func (d *neutrinoDialer) lonely() error {
	for _, peer := range d.cfg.Peers {
		if ip, err := banman.ParseIPNet(peer, nil); err == nil {
			if st, err := d.bans.Status(ip); err == nil && st.Banned {
				return errBanned
			}
		}
	}
	return errNoPeer
}

// open opens the database of headers. All in it can be fetched again, so a damaged one is thrown away.
func (d *neutrinoDialer) open() error {
	err := d.openService()
	if !errors.Is(err, errDamaged) {
		return err
	}
	d.log.Warn("the light client's headers are damaged and fetched again", "dir", d.dir, "err", err)
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	return d.openService()
}

func (d *neutrinoDialer) openService() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(d.dir, "neutrino.db")
	if err := sound(path); err != nil {
		return err
	}
	db, err := openDB(path)
	if err != nil {
		return err
	}
	if err := d.serve(db); err != nil {
		db.Close()
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

func (d *neutrinoDialer) serve(db walletdb.DB) error {
	bans, err := banman.NewStore(db)
	if err != nil {
		return err
	}
	cfg := neutrino.Config{DataDir: d.dir, Database: db, ChainParams: *d.params, ConnectPeers: d.cfg.Peers}
	if len(d.cfg.Peers) > 0 {
		cfg.Dialer = d.reach
	}
	for _, peer := range d.cfg.Peers { // the owner named them: a ban ends with the process
		if ip, err := banman.ParseIPNet(peer, nil); err == nil {
			if err := bans.UnbanIPNet(ip); err != nil {
				return err
			}
		}
	}
	service, err := neutrino.NewChainService(cfg)
	if err != nil {
		return err
	}
	d.service, d.db, d.bans, d.told = service, db, bans, time.Now()
	return nil
}

// reach tries a named peer until it answers: the light client's own attempts grow apart to five minutes,
// in which the node would be blind.
func (d *neutrinoDialer) reach(to net.Addr) (net.Conn, error) {
	one := net.Dialer{Timeout: dialTimeout}
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		c, err := one.DialContext(d.ctx, to.Network(), to.String())
		if err == nil || d.ctx.Err() != nil {
			return c, err
		}
		select {
		case <-d.ctx.Done():
			return nil, d.ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (d *neutrinoDialer) stop() {
	d.once.Do(func() {
		d.cancel()
		if d.service != nil {
			d.service.Stop()
			d.db.Close()
		}
	})
}
