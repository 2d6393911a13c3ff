package daemon

import (
	"cmp"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// Deps are the concrete parts that a node is made of, and its sources of time, chance and concurrency.
type Deps struct {
	Store     store.Store
	Committer Committer
	Transport wire.Transport
	Scheme    ledger.Scheme
	Signer    ledger.Signer
	Wallet    ledger.Wallet
	Chain     ledger.Chain
	Backup    cipher.AEAD // seals backups, under a key from the seed; nil: none can be made
	Log       *slog.Logger
	Journal   Journal  // the store's second copy, which the Committer writes too; nil: there is none
	Replica   Replica  // the third copy, which the Committer writes too; nil: there is none
	Notices   []string // what the owner must know of the start: alerts, once it runs

	Now   func() time.Time            // default time.Now
	Rand  func([]byte)                // default crypto/rand
	Go    func(func())                // runs a function beside the caller; default a goroutine
	After func(time.Duration, func()) // runs a function later; default time.AfterFunc
	Woke  func()                      // called by a goroutine that goes on after a wait; default nothing
}

// Committer makes batches durable in the order of submission; store.Committer is one.
type Committer interface {
	Submit(b *store.Batch, done func(error))
	Commit(b *store.Batch) error
}

func (d *Deps) defaults() {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Rand == nil {
		d.Rand = func(b []byte) { _, _ = rand.Read(b) } // never fails: crypto/rand ends the program instead
	}
	if d.Go == nil {
		d.Go = func(f func()) { go f() }
	}
	if d.After == nil {
		d.After = func(t time.Duration, f func()) { time.AfterFunc(t, f) }
	}
	if d.Woke == nil {
		d.Woke = func() {}
	}
	if d.Log == nil {
		d.Log = slog.Default()
	}
}

// Node is a running daemon. Its methods are those of api.Node.
type Node struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	jobs    *registry
	budget  *budget.Ledger
	metrics *metrics
	hub     hub
	limits  atomic.Pointer[policy.Limits]
	own     ownLimits
	onchain onchain

	approvals *approvals
	stopping  turn // one change of stops at a time, over its commit
	stops     atomic.Pointer[stops]

	pruneMu sync.Mutex // one pruning at a time

	submitMu sync.Mutex // orders event numbers and budget records as their commits
	nextSeq  uint64

	keys turn // one caller takes key indexes at a time

	opens turn // one Open of a peer is judged and stored at a time, so that the limits count all others

	mu        sync.Mutex // guards the maps below, never held over I/O
	drivers   map[channel.ID]*driver
	lanes     map[laneKey]laneRef
	byPeer    map[channel.PeerID][]*driver
	sessions  map[channel.PeerID]*session
	opening   map[channel.ID]*opening   // own Opens that wait for an answer
	pending   map[channel.PeerID]int    // Opens of peers being answered
	held      map[channel.PeerID][]held // payments that wait for a connection
	openings  openings
	offences  offences
	greetings uint64 // sessions so far
	adopted   uint64 // drivers so far
	dialing   map[channel.PeerID]bool
	hellos    map[channel.PeerID][]chan error
	watch     watchlist

	batches batches

	chain  chainView
	ctx    context.Context // ends when Run does
	cancel context.CancelFunc
	stop   chan struct{}
	once   sync.Once
	work   sync.WaitGroup

	spawnMu sync.Mutex // guards ended: no work begins once Run waits for its end
	ended   bool

	seeker  *seeker // nil when there is nothing to search for; the chain follower's alone
	seeking atomic.Pointer[string]

	closed     atomic.Bool
	guard      diskGuard
	replicaBad atomic.Bool // the owner was told that the replica is behind
}

type laneRef struct {
	d   *driver
	out bool
}

// New loads what the store holds. Nothing is sent or accepted before Run.
func New(cfg Config, deps Deps) (*Node, error) {
	deps.defaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, deps: deps, log: deps.Log, jobs: newRegistry(), metrics: newMetrics(),
		drivers: map[channel.ID]*driver{}, lanes: map[laneKey]laneRef{}, byPeer: map[channel.PeerID][]*driver{},
		sessions: map[channel.PeerID]*session{}, opening: map[channel.ID]*opening{},
		pending: map[channel.PeerID]int{}, dialing: map[channel.PeerID]bool{}, hellos: map[channel.PeerID][]chan error{},
		keys: make(turn, 1), opens: make(turn, 1), stopping: make(turn, 1), onchain: onchain{write: make(turn, 1)}, own: ownLimits{write: make(turn, 1)}, watch: newWatchlist(), openings: newOpenings(), offences: offences{}, held: map[channel.PeerID][]held{}, stop: make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.chain.ready, n.chain.reached = make(chan struct{}), deps.Now()
	n.limits.Store(&cfg.Limits)
	n.approvals = newApprovals()
	n.observe()
	if err := n.loadBudget(); err != nil {
		return nil, err
	}
	if err := n.loadEvents(); err != nil {
		return nil, err
	}
	if err := n.loadPermits(); err != nil {
		return nil, err
	}
	if err := n.loadChannels(); err != nil {
		return nil, err
	}
	if err := n.loadBatches(); err != nil {
		return nil, err
	}
	if err := n.loadScanned(); err != nil {
		return nil, err
	}
	if err := n.loadSearch(); err != nil {
		return nil, err
	}
	n.checkDisk()
	return n, nil
}

func (n *Node) loadChannels() error {
	ids, err := channelIDs(n.deps.Store)
	if err != nil {
		return err
	}
	for _, id := range ids {
		st, record, err := loadChannel(n.deps.Store, id)
		if err != nil {
			return fmt.Errorf("channel %s can't be read: %w", id, err)
		}
		scripts, err := loadScripts(n.deps.Store, n.deps.Scheme, &st.Terms)
		if err != nil {
			return fmt.Errorf("the scripts of channel %s can't be made: %w", id, err)
		}
		if _, err := n.adopt(st, record, scripts); err != nil {
			return err
		}
	}
	return nil
}

var errLaneKey = errors.New("daemon: two lanes share the first eight bytes of their ids")

// adopt makes a driver for a channel; record is nil for one that is not stored yet.
func (n *Node) adopt(st channel.State, record []byte, scripts laneScripts) (*driver, error) {
	d := newDriver(n, st, record)
	d.scripts = scripts
	for _, j := range d.w.sent {
		n.jobs.claim(j)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	refs := map[laneKey]laneRef{}
	for _, l := range []struct {
		terms channel.LaneTerms
		out   bool
	}{{st.Terms.Out, true}, {st.Terms.In, false}} {
		if !l.terms.Exists() {
			continue
		}
		k := keyOf(l.terms.ID())
		if _, taken := n.lanes[k]; taken {
			return nil, errLaneKey
		}
		if _, taken := n.watch.scripts[string(scripts.of(l.out))]; taken && record == nil {
			return nil, errAddress
		}
		refs[k] = laneRef{d, l.out}
	}
	if n.drivers[d.id] != nil {
		return nil, fmt.Errorf("daemon: channel %s exists", d.id)
	}
	for k, r := range refs {
		n.lanes[k] = r
	}
	n.adopted++
	d.num = n.adopted
	n.drivers[d.id] = d
	n.byPeer[d.peer] = append(n.byPeer[d.peer], d)
	if !st.Phase.Final() {
		n.watch.add(n.deps.Scheme, d, &st)
	}
	return d, nil
}

// forgetDriver takes back an adopt whose channel could not be stored.
func (n *Node) forgetDriver(d *driver) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.drivers, d.id)
	for k, r := range n.lanes {
		if r.d == d {
			delete(n.lanes, k)
		}
	}
	for i, o := range n.byPeer[d.peer] {
		if o == d {
			n.byPeer[d.peer] = append(n.byPeer[d.peer][:i:i], n.byPeer[d.peer][i+1:]...)
		}
	}
	n.watch.remove(d)
}

// Run follows chain and peers until ctx ends or Stop is called, then stops in order: no new payments,
// what was signed is stored, connections end.
func (n *Node) Run(ctx context.Context) error {
	n.giveNotice()
	n.endLostDraws()
	n.spawn(n.acceptPeers)
	n.spawn(n.followChain)
	n.spawn(n.keepConnected)
	n.watchDisk()
	n.watchReplica()
	select {
	case <-ctx.Done():
	case <-n.stop:
	}
	n.woke()
	n.closed.Store(true)
	n.log.Info("stopping")
	n.settleDown()
	n.cancel()
	err := n.deps.Transport.Close()
	n.spawnMu.Lock()
	n.ended = true
	n.spawnMu.Unlock()
	n.work.Wait()
	n.woke()
	n.settleDown()
	n.dismiss()
	n.hub.close()
	return err
}

// endLostDraws ends draws that ran when the program was ended: nobody serves them any more.
func (n *Node) endLostDraws() {
	for _, d := range n.all() {
		if d.drawn.lost {
			d.post(channel.DrawsLost{})
		}
	}
}

// dismiss tells those that wait for a payment that this node stops.
func (n *Node) dismiss() {
	for _, j := range n.jobs.all() {
		fault := channel.Faultf(channel.CodePending, "the daemon stops before the payment %s has an answer", j.payment.ID).
			WithHint("ask again with --id %s: it is not paid twice", j.payment.ID)
		if j.cancel() {
			fault = channel.Faultf(channel.CodeStopping, "the daemon is stopping; nothing was signed")
		}
		j.finish(channel.PayResult{ID: j.payment.ID, Channel: j.channel, Amount: j.payment.Amount}, fault)
	}
	for _, j := range n.jobs.allAsks() {
		fault := channel.Faultf(channel.CodePending, "the daemon stops before the authorisation %s is durable", j.id).
			WithHint("ask again with the same id: it is not counted twice")
		if j.cancel() {
			fault = channel.Faultf(channel.CodeStopping, "the daemon is stopping; nothing was authorised")
		}
		j.finish(granted{}, fault)
	}
}

// settleDown waits until every channel has stored what it has.
func (n *Node) settleDown() {
	all := n.all()
	rested := make(chan struct{}, len(all))
	for _, d := range all {
		d.post(flushLazy{}, applied{event: nil, done: func(error) { rested <- struct{}{} }})
	}
	late := time.After(stopTimeout)
	for range all {
		select {
		case <-rested:
			n.woke()
		case <-late:
			n.woke()
			n.log.Warn("some channels did not come to rest; what is stored is complete as it is")
			return
		}
	}
}

const stopTimeout = 5 * time.Second

// spawn runs f beside the caller; Run waits for its end. It reports false when the node has stopped.
func (n *Node) spawn(f func()) bool {
	n.spawnMu.Lock()
	defer n.spawnMu.Unlock()
	if n.ended {
		return false
	}
	n.work.Add(1)
	n.deps.Go(func() {
		defer n.work.Done()
		f()
	})
	return true
}

// Stop ends Run.
func (n *Node) Stop(context.Context) error {
	n.once.Do(func() { close(n.stop) })
	return nil
}

func (n *Node) all() []*driver {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*driver, 0, len(n.drivers))
	for _, d := range n.drivers {
		all = append(all, d)
	}
	inOrder(all)
	return all
}

// inOrder sorts drivers as they were adopted: what is done to each of many channels is done in the same
// order in each run of a simulation.
func inOrder(list []*driver) {
	slices.SortFunc(list, func(a, b *driver) int { return cmp.Compare(a.num, b.num) })
}

// woke is called wherever a goroutine goes on after it waited for another one. A simulator holds it there
// and lets one at a time go on.
func (n *Node) woke() { n.deps.Woke() }

// turn lets one caller at a time through, also over a wait for the disk.
type turn chan struct{}

func (t turn) take(n *Node) {
	t <- struct{}{}
	n.woke()
}

func (t turn) leave() { <-t }

// read runs fn on a channel's state, between two of its events.
func (n *Node) read(d *driver, fn func(*driver)) {
	done := make(chan struct{})
	d.post(inspect{func(d *driver) { fn(d); close(done) }})
	<-done
	n.woke()
}

// submit gives the box's log entries their numbers and hands it to the committer, in one order.
func (n *Node) submit(box *outbox, done func(error)) {
	size := n.number(box, done)
	n.wrote(size)
}

// number is submit, and returns what is written.
func (n *Node) number(box *outbox, done func(error)) (size int) {
	n.submitMu.Lock()
	defer n.submitMu.Unlock()
	now := n.deps.Now().UnixMilli()
	for i := range box.entries {
		e := &box.entries[i]
		e.Time, e.Seq = now, n.nextSeq
		n.nextSeq += e.width()
		box.batch.Put(eventKey(e.Seq), e.encode())
	}
	if box.budget && !planted("budget not stored") {
		box.batch.Put(n.budget.Record())
		if key, value, ok := n.budget.RecordOf(box.peer); ok {
			box.batch.Put(key, value)
		}
	}
	for _, op := range box.batch.Ops {
		size += len(op.Key) + len(op.Value)
	}
	last := n.nextSeq - 1
	told := len(box.entries) > 0
	n.deps.Committer.Submit(&box.batch, func(err error) {
		if err == nil && told {
			n.hub.advance(last)
		}
		done(err)
	})
	return size
}
