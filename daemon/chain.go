package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
)

// chainView is what the node knows of the chain. The follower writes it.
type chainView struct {
	scanned atomic.Bool   // caught up once since the start: what the store says of fundings is proven
	ready   chan struct{} // closed when scanned becomes true
	rewound bool          // see rewind; the follower's own

	resend time.Time   // when to publish again; only the follower uses it
	behind atomic.Bool // older blocks are being scanned: no fee is chosen by them

	mu      sync.Mutex     // guards the fields below
	blocks  []ledger.Block // scanned, oldest first, the last is the tip; at most keepBlocks
	reached time.Time      // when the backend last answered
	away    error          // why it does not answer now
	rate    ledger.FeeRate
	source  string
}

const (
	// keepBlocks bounds the reorganisation that can be followed block by block.
	keepBlocks = 100
	pollEvery  = 2 * time.Second
	// feeTarget is the confirmation target of estimates (protocol.md 6).
	feeTarget = 6
)

func (v *chainView) tip() (ledger.Block, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.blocks) == 0 {
		return ledger.Block{}, false
	}
	return v.blocks[len(v.blocks)-1], true
}

func (v *chainView) feeRate() (ledger.FeeRate, string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rate, v.source
}

func (v *chainView) unreachable() (since time.Time, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reached, v.away
}

func (n *Node) loadScanned() error {
	b, err := n.deps.Store.Get(keyScanned)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	n.chain.blocks, err = decodeBlocks(b)
	return err
}

const blockBytes = 4 + 32 + 8

func encodeBlocks(blocks []ledger.Block) []byte {
	b := make([]byte, 0, len(blocks)*blockBytes)
	for _, k := range blocks {
		b = binary.BigEndian.AppendUint32(b, k.Height)
		b = append(b, k.Hash[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(k.Time))
	}
	return b
}

func decodeBlocks(b []byte) (blocks []ledger.Block, err error) {
	if len(b)%blockBytes != 0 {
		return nil, errors.New("daemon: the list of scanned blocks is damaged")
	}
	var prev [32]byte
	for ; len(b) > 0; b = b[blockBytes:] {
		k := ledger.Block{Height: binary.BigEndian.Uint32(b), Hash: [32]byte(b[4:36]), Prev: prev, Time: int64(binary.BigEndian.Uint64(b[36:]))}
		blocks, prev = append(blocks, k), k.Hash
	}
	return blocks, nil
}

// followChain scans new blocks until the node stops. While the backend is away it keeps trying.
func (n *Node) followChain() {
	for {
		err := n.scan()
		n.reach(err)
		if n.ctx.Err() != nil {
			return
		}
		n.resend(err)
		if err == nil {
			n.seek()
		}
		select {
		case <-n.ctx.Done():
			return
		case <-n.deps.Chain.Changed():
		case <-time.After(pollEvery):
		}
		n.woke()
	}
}

// reach notes whether the backend answers, and says so once for each change.
func (n *Node) reach(err error) {
	if n.ctx.Err() != nil {
		return
	}
	n.chain.mu.Lock()
	before := n.chain.away
	n.chain.away = err
	if err == nil {
		n.chain.reached = n.deps.Now()
	}
	n.chain.mu.Unlock()
	switch {
	case err != nil && before == nil:
		n.log.Warn("the chain backend does not answer; trying again until it does", "err", err)
	case err == nil && before != nil:
		n.log.Info("the chain backend answers again")
		if tip, ok := n.chain.tip(); ok { // the estimated height ends
			n.tellHeight(channel.Height{Tip: tip.Height})
		}
	}
	if err != nil {
		n.blind()
	}
}

// blind lets the height grow by estimate while the chain can't be seen: blocks may come twice as fast as
// they should (protocol.md 8).
func (n *Node) blind() {
	tip, ok := n.chain.tip()
	since, _ := n.chain.unreachable()
	if !ok || !n.chain.scanned.Load() {
		return
	}
	elapsed := n.deps.Now().Sub(since)
	if elapsed < blockTime/2 {
		return
	}
	n.tellHeight(channel.Height{Tip: policy.BlindHeight(tip.Height, elapsed), Blind: true})
}

func (n *Node) tellHeight(h channel.Height) {
	for _, d := range n.live() {
		d.post(h)
	}
}

const blockTime = policy.BlockTime

// scan brings the node to the tip, block by block.
func (n *Node) scan() error {
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	tip, err := n.deps.Chain.Tip(ctx)
	if err != nil {
		return err
	}
	n.estimate(ctx)
	if err := n.rewind(); err != nil {
		return err
	}
	for {
		known, ok := n.chain.tip()
		if ok && known.Hash == tip.Hash {
			break
		}
		if !ok {
			if err := n.beginScan(ctx, tip); err != nil {
				return err
			}
			continue
		}
		if tip.Height > known.Height+1 {
			n.chain.behind.Store(true)
		}
		if err := n.advance(ctx, known); err != nil {
			return err
		}
		if tip, err = n.deps.Chain.Tip(ctx); err != nil {
			return err
		}
	}
	late := n.chain.behind.Swap(false)
	n.caughtUp()
	if late {
		n.tellHeight(channel.Height{Tip: tip.Height})
		n.batches.tick()
	}
	return nil
}

// beginScan chooses the first block that counts as scanned. A new node has nothing to look for in what is past. One
// whose list of blocks was lost, since its database was made again from the journal, has: everything since its
// oldest channel was agreed is seen once more.
func (n *Node) beginScan(ctx context.Context, tip ledger.Block) error {
	first := tip
	if live := n.live(); len(live) > 0 {
		height := tip.Height
		for _, d := range live {
			height = min(height, d.agreed.OpenedAt)
		}
		var err error
		if first, err = n.deps.Chain.BlockAt(ctx, height-min(height, 1)); err != nil {
			return err
		}
		if err := n.reorganised(first.Height + 1); err != nil {
			return err
		}
	}
	n.addBlock(first)
	return nil
}

// rewind takes back, once after the start, what channels saw above the last block that counts as scanned. A
// crash can leave their records ahead of that, and a reorganisation while nobody looked would go unnoticed;
// what still stands there is seen again.
func (n *Node) rewind() error {
	known, ok := n.chain.tip()
	if n.chain.rewound || !ok {
		return nil
	}
	if err := n.reorganised(known.Height + 1); err != nil {
		return err
	}
	n.chain.rewound = true
	return nil
}

// caughtUp opens the doors after the first complete scan.
func (n *Node) caughtUp() {
	if n.chain.scanned.Swap(true) {
		return
	}
	close(n.chain.ready)
	tip, _ := n.chain.tip()
	n.log.Info("chain scanned", "height", tip.Height)
	for _, d := range n.live() {
		d.post(channel.Ask{Tip: tip.Height}, channel.Height{Tip: tip.Height})
		if s := n.session(d.peer); s != nil {
			d.post(met{s})
		}
	}
	n.batches.tick()
}

func (n *Node) estimate(ctx context.Context) {
	rate, source, err := n.deps.Chain.EstimateFee(ctx, feeTarget)
	if err != nil {
		n.log.Debug("no fee estimate", "err", err)
		return
	}
	n.chain.mu.Lock()
	n.chain.rate, n.chain.source = rate, source
	n.chain.mu.Unlock()
}

// advance takes one step from the known tip: forward, or back where the chain was reorganised.
func (n *Node) advance(ctx context.Context, known ledger.Block) error {
	here, err := n.deps.Chain.BlockAt(ctx, known.Height)
	if err == nil && here.Hash == known.Hash {
		next, err := n.deps.Chain.BlockAt(ctx, known.Height+1)
		if err != nil {
			return err
		}
		if next.Prev != known.Hash {
			return nil // reorganised between the two questions: look again
		}
		return n.connectBlock(ctx, next)
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	return n.disconnectBlock(ctx, known)
}

// connectBlock tells the channels what a block holds. The block counts as scanned when they have stored it.
func (n *Node) connectBlock(ctx context.Context, b ledger.Block) error {
	if planted("block scanned too soon") {
		n.addBlock(b)
	}
	n.mu.Lock()
	query := n.watch.query(nil)
	n.mu.Unlock()
	matches, err := n.deps.Chain.Matches(ctx, b.Hash, query)
	if err != nil {
		return err
	}
	for _, m := range matches {
		if err := n.match(ctx, b, m); err != nil {
			return err
		}
	}
	if !planted("block scanned too soon") {
		n.addBlock(b)
	}
	n.tellHeight(channel.Height{Tip: b.Height, Early: !n.deps.Chain.Capabilities().MempoolWatch})
	n.batches.tick()
	return nil
}

// match posts what a transaction means and waits until it is stored.
func (n *Node) match(ctx context.Context, b ledger.Block, m ledger.Match) error {
	ins, outs, err := n.deps.Scheme.Parts(m.Raw)
	if err != nil { // not one of ours then; it must not stop the scan
		n.log.Error("a transaction in a block can't be read", "txid", channel.TxIDString(m.TxID), "err", err)
		return nil
	}
	for i, o := range outs {
		n.mu.Lock()
		at, ok := n.watch.scripts[string(o.Script)]
		n.mu.Unlock()
		if !ok {
			continue
		}
		seen := channel.Output{Outpoint: channel.Outpoint{TxID: m.TxID, Index: uint32(i)}, Value: o.Value, Height: b.Height}
		if err := at.d.apply(ctx, channel.OutputSeen{Out: at.out, Output: seen}); err != nil {
			return err
		}
		n.rewatch(at.d)
	}
	for _, in := range ins {
		n.mu.Lock()
		at, ok := n.watch.outputs[in]
		n.mu.Unlock()
		if !ok {
			continue
		}
		if err := n.spent(ctx, at, in, b, m); err != nil {
			return err
		}
		n.rewatch(at.d)
	}
	return nil
}

func (n *Node) spent(ctx context.Context, at watched, o channel.Outpoint, b ledger.Block, m ledger.Match) error {
	if at.sweep {
		return at.d.apply(ctx, channel.SweepSeen{Height: b.Height})
	}
	var lane ledger.Lane
	n.read(at.d, func(d *driver) { lane = d.lane(at.out) })
	if lane.Funding != o {
		if at.out { // a deposit that was not agreed, or came twice
			return at.d.apply(ctx, channel.ReturnSeen{Outpoint: o, Height: b.Height})
		}
		return nil
	}
	spend, err := n.deps.Scheme.ParseSpend(lane, m.Raw)
	if err != nil { // only both sides together can make such a spend; it must not stop the scan
		n.log.Error("a lane was spent in a way that is not known", "channel", at.d.id, "txid", channel.TxIDString(m.TxID), "err", err)
	}
	kinds := map[ledger.SpendKind]channel.SpendKind{ledger.SpendUnknown: channel.SpentTogether, ledger.SpendSettle: channel.SpentSettled,
		ledger.SpendRefund: channel.SpentRefunded}
	return at.d.apply(ctx, channel.SpendSeen{Out: at.out, Spend: channel.Spend{TxID: m.TxID, Height: b.Height, Kind: kinds[spend.Kind],
		Total: spend.Total, RefundIndex: spend.RefundIndex, RefundValue: spend.RefundValue}})
}

// rewatch adds what a channel's new state names, and forgets final channels.
func (n *Node) rewatch(d *driver) {
	var st channel.State
	n.read(d, func(d *driver) { st = d.w.st })
	n.mu.Lock()
	defer n.mu.Unlock()
	if st.Phase.Final() {
		n.watch.remove(d)
		return
	}
	n.watch.add(n.deps.Scheme, d, &st)
}

// disconnectBlock takes the tip back.
func (n *Node) disconnectBlock(ctx context.Context, b ledger.Block) error {
	n.log.Warn("the chain was reorganised", "height", b.Height)
	n.chain.mu.Lock()
	last := len(n.chain.blocks) == 1
	n.chain.mu.Unlock()
	if last {
		return n.restartBelow(ctx, b)
	}
	if err := n.reorganised(b.Height); err != nil {
		return err
	}
	n.chain.mu.Lock()
	n.chain.blocks = n.chain.blocks[:len(n.chain.blocks)-1]
	n.chain.mu.Unlock()
	return nil
}

func (n *Node) reorganised(height uint32) error {
	for _, d := range n.live() {
		if err := d.apply(n.ctx, channel.Reorganised{Height: height}); err != nil {
			return err
		}
	}
	return nil
}

// restartBelow begins the scan anew below the oldest block that is known: where the branches part is not
// known then, as on a node that was started a moment ago, and what the new blocks hold must be seen.
func (n *Node) restartBelow(ctx context.Context, b ledger.Block) error {
	height := b.Height - min(b.Height, keepBlocks)
	before, err := n.deps.Chain.BlockAt(ctx, height)
	if err != nil {
		return err
	}
	if err := n.reorganised(height + 1); err != nil {
		return err
	}
	n.chain.mu.Lock()
	n.chain.blocks = nil
	n.chain.mu.Unlock()
	n.addBlock(before)
	return nil
}

// addBlock makes b the tip. The record may lag behind after a crash: scanning again changes nothing.
func (n *Node) addBlock(b ledger.Block) {
	n.chain.mu.Lock()
	n.chain.blocks = append(n.chain.blocks, b)
	if len(n.chain.blocks) > keepBlocks {
		n.chain.blocks = append([]ledger.Block(nil), n.chain.blocks[1:]...)
	}
	record := encodeBlocks(n.chain.blocks)
	n.chain.mu.Unlock()
	n.deps.Committer.Submit(new(store.Batch).Put(keyScanned, record), func(err error) {
		if err != nil {
			n.log.Error("the scanned height could not be stored", "err", err)
		}
	})
}

// live lists channels in which something can still happen.
func (n *Node) live() []*driver {
	n.mu.Lock()
	defer n.mu.Unlock()
	live := make([]*driver, 0, len(n.watch.channels))
	for d := range n.watch.channels {
		live = append(live, d)
	}
	inOrder(live)
	return live
}

// apply posts an event and waits until what it changed is stored.
func (d *driver) apply(ctx context.Context, event channel.Input) error {
	done := make(chan error, 1)
	d.post(applied{event: event, done: func(err error) { done <- err }})
	select {
	case err := <-done:
		d.n.woke()
		return err
	case <-ctx.Done():
		d.n.woke()
		return ctx.Err()
	}
}

// unwatch forgets a channel in which nothing can happen any more. Its history stays.
func (n *Node) unwatch(d *driver) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch.remove(d)
}
