package daemon

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon/budget"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/wire"
)

// A backup is one line of text that says what it is, and behind it, compressed and sealed, all that the
// seed alone can't bring back: the channels that are not over with their newest vouchers, the next key
// index, the budget, the owner's limits and freezes, the peers' addresses and how far the chain was scanned. It has
// no payment history, and no approvals.

const (
	backupVersion = 1
	backupHead    = "runnel backup 1\n" // authenticated together with what is behind it

	// maxBackup bounds what a restore takes into memory: 10,000 channels need some 30 MB.
	maxBackup = 1 << 30

	// eventGap and keyGap are left behind the numbers of a backup, so that those which were given out after
	// it are never given out again: a program that watches would miss events, and a key must have one use.
	eventGap = 1 << 32
	keyGap   = 1 << 20
	keySpan  = 1 << 24 // random on top, for the second restore from the same copy
)

// Errors of opening a backup.
var (
	ErrNoBackup   = errors.New("daemon: not a backup of this program")
	ErrBackupSeal = errors.New("daemon: the backup is damaged, or belongs to another seed or network")
)

type backup struct {
	Version   int
	Network   string
	Node      channel.PeerID
	Made      int64 // unix seconds
	NextKey   uint32
	NextEvent uint64
	Scanned   []byte            // blocks
	Budget    []byte            `json:",omitempty"`
	Rules     map[string][]byte `json:",omitempty"` // records of ruleKeys
	Peers     map[string][]byte // addresses by peer id
	Channels  []backupChannel

	source  string  // what it is, if no backup
	earlier *search // that its node had not done yet
}

type backupChannel struct {
	Cold    json.RawMessage
	Out, In []byte
	Unacked [][]byte // own frames without an answer, oldest first

	OutDraws, InDraws []byte `json:",omitempty"`
}

// ruleKeys are the owner's limits and freezes, and what was locked and sent of late: without them a node that is
// made again would spend what its owner forbade.
func ruleKeys() [][]byte { return [][]byte{keyOwnLimits, keyStops, keyOnchain} }

// Backup copies the node while it runs. Each channel is whole; what happens meanwhile is in it or not.
func (n *Node) Backup(ctx context.Context) (channel.Backup, error) {
	if n.deps.Backup == nil {
		return channel.Backup{}, channel.Faultf(channel.CodeUnsupported, "this node has no key for backups")
	}
	b := backup{Version: backupVersion, Network: n.cfg.Network, Node: n.deps.Transport.Self(), Made: n.deps.Now().Unix(), Peers: map[string][]byte{}}
	// Before the channels: what they took after this was read only leaves a gap that is skipped anyway.
	if err := n.backUpRest(&b); err != nil {
		return channel.Backup{}, err
	}
	for _, d := range n.all() {
		if err := ctx.Err(); err != nil {
			return channel.Backup{}, err
		}
		var st channel.State
		n.read(d, func(d *driver) { st = d.w.st })
		if st.Phase.Final() {
			continue
		}
		c, err := backUpChannel(&st)
		if err != nil {
			return channel.Backup{}, fmt.Errorf("channel %s: %w", d.id, err)
		}
		b.Channels = append(b.Channels, c)
	}
	data, err := b.seal(n.deps.Backup, n.deps.Rand)
	return channel.Backup{Data: data, Channels: len(b.Channels), Made: b.Made}, err
}

func (n *Node) backUpRest(b *backup) error {
	n.submitMu.Lock()
	b.NextEvent = n.nextSeq
	_, b.Budget = n.budget.Record()
	n.submitMu.Unlock()
	n.chain.mu.Lock()
	b.Scanned = encodeBlocks(n.chain.blocks)
	n.chain.mu.Unlock()
	key, err := n.deps.Store.Get(keyNextIndex)
	if err == nil && len(key) == 4 {
		b.NextKey = binary.BigEndian.Uint32(key)
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	b.Rules = map[string][]byte{}
	for _, key := range ruleKeys() {
		value, err := n.deps.Store.Get(key)
		if err == nil {
			b.Rules[string(key)] = bytes.Clone(value)
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return n.deps.Store.Scan([]byte{prefixPeer}, nil, func(key, value []byte) bool {
		b.Peers[string(key[1:])] = bytes.Clone(value)
		return true
	})
}

func backUpChannel(st *channel.State) (c backupChannel, err error) {
	if c.Cold, err = st.MarshalCold(); err != nil {
		return c, err
	}
	c.Out, _ = st.Out.MarshalBinary()
	c.In, _ = st.In.MarshalBinary()
	c.OutDraws, c.InDraws = encodeDraws(st)
	for _, f := range st.Unacked {
		frame, err := wire.Encode(f)
		if err != nil {
			return c, err
		}
		c.Unacked = append(c.Unacked, frame)
	}
	return c, nil
}

// seal compresses and encrypts. The nonce is random: one key seals at most as many backups as a person
// makes.
func (b *backup) seal(aead cipher.AEAD, random func([]byte)) ([]byte, error) {
	var plain bytes.Buffer
	z := gzip.NewWriter(&plain)
	if err := errors.Join(json.NewEncoder(z).Encode(b), z.Close()); err != nil {
		return nil, err
	}
	out := append([]byte(backupHead), make([]byte, aead.NonceSize())...)
	nonce := out[len(backupHead):]
	random(nonce)
	return aead.Seal(out, nonce, plain.Bytes(), []byte(backupHead)), nil
}

func openBackup(aead cipher.AEAD, data []byte) (*backup, error) {
	rest, ok := bytes.CutPrefix(data, []byte(backupHead))
	if !ok || len(rest) < aead.NonceSize() {
		return nil, ErrNoBackup
	}
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], []byte(backupHead))
	if err != nil {
		return nil, ErrBackupSeal
	}
	z, err := gzip.NewReader(bytes.NewReader(plain))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	b := new(backup)
	if err := json.NewDecoder(io.LimitReader(z, maxBackup)).Decode(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	if b.Version != backupVersion {
		return nil, fmt.Errorf("%w: it has version %d, this program knows %d", ErrNoBackup, b.Version, backupVersion)
	}
	return b, nil
}

// Restoration says what was restored.
type Restoration struct {
	Made     time.Time
	Channels int
	Deposits channel.Sat  // own, in channels that are not over
	Received channel.Msat // spent on lanes that pay us, as far as the copy knows
}

// Restore fills an empty store from a backup. Every channel in it can only be ended from then on, and is
// not settled before its peer was asked what came after the copy.
func Restore(data []byte, aead cipher.AEAD, s store.Store, scheme ledger.Scheme, self channel.PeerID, random func([]byte)) (Restoration, error) {
	b, err := openBackup(aead, data)
	if err != nil {
		return Restoration{}, err
	}
	if b.Network != scheme.Network() || b.Node != self {
		return Restoration{}, fmt.Errorf("%w: it is of node %s on %s", ErrBackupSeal, b.Node, b.Network)
	}
	return b.restore(s, scheme, random)
}

func (b *backup) restore(s store.Store, scheme ledger.Scheme, random func([]byte)) (r Restoration, err error) {
	r.Made = time.Unix(b.Made, 0)
	var spread [4]byte
	random(spread[:])
	next := b.NextKey + keyGap + binary.BigEndian.Uint32(spread[:])%keySpan
	if next >= 1<<31 {
		return r, errors.New("daemon: all key indexes are used")
	}
	first := new(store.Batch).Put(keyNextIndex, binary.BigEndian.AppendUint32(nil, next))
	if len(b.Scanned) > 0 {
		first.Put(keyScanned, b.Scanned)
	}
	if len(b.Budget) > 0 {
		first.Put(budget.Key, b.Budget)
	}
	for _, key := range ruleKeys() {
		if value, ok := b.Rules[string(key)]; ok {
			first.Put(key, value)
		}
	}
	for peer, addrs := range b.Peers {
		first.Put(peerKey(channel.PeerID(peer)), addrs)
	}
	from := search{From: b.scannedTo()}
	if b.earlier != nil {
		from.From = min(from.From, b.earlier.From)
	}
	first.Put(keySearch, from.encode())
	source := cmp.Or(b.source, "a backup of")
	e := entry{Seq: b.NextEvent + eventGap, Time: b.Made * 1000, Kind: channel.EventAlert,
		Text: "restored from " + source + " " + r.Made.UTC().Format(time.RFC3339) + ": its channels can only be ended"}
	first.Put(eventKey(e.Seq), e.encode())
	batches := []*store.Batch{first}
	for _, c := range b.Channels {
		st, err := c.load()
		if err == nil {
			var batch *store.Batch
			if batch, err = restoreChannel(st, scheme, b.Made); err == nil {
				batches = append(batches, batch)
			}
		}
		if err != nil {
			return r, fmt.Errorf("daemon: a channel of the backup can't be restored: %w", err)
		}
		r.count(&st)
	}
	return r, writeAll(s, batches)
}

func (r *Restoration) count(st *channel.State) {
	r.Channels++
	r.Received += st.SpentIn()
	if st.Terms.Out.Exists() {
		r.Deposits += st.Terms.Out.Deposit
	}
}

func (b *backup) scannedTo() uint32 {
	blocks, err := decodeBlocks(b.Scanned)
	if err != nil || len(blocks) == 0 {
		return 0
	}
	return blocks[0].Height
}

func (c *backupChannel) load() (channel.State, error) {
	var unacked []*channel.Frame
	for _, raw := range c.Unacked {
		m, err := wire.Decode(raw)
		if err != nil {
			return channel.State{}, err
		}
		f, ok := m.(*channel.Frame)
		if !ok {
			return channel.State{}, errFrameRecord
		}
		unacked = append(unacked, f)
	}
	st, err := channel.Load(c.Cold, c.Out, c.In, unacked)
	if err != nil {
		return st, err
	}
	return st.WithDraws(c.OutDraws, c.InDraws)
}

// restoreChannel is all that the store needs of a channel to end it.
func restoreChannel(st channel.State, scheme ledger.Scheme, made int64) (*store.Batch, error) {
	for _, l := range []channel.LaneTerms{st.Terms.Out, st.Terms.In} {
		if l.Exists() && l.Genesis != scheme.Genesis() {
			return nil, fmt.Errorf("channel %s is on another chain", st.Terms.ID)
		}
	}
	st = channel.Restored(st)
	scripts, err := deriveScripts(scheme, &st.Terms)
	if err != nil {
		return nil, err
	}
	batch, err := channelBatch(&st, scripts)
	if err != nil {
		return nil, err
	}
	lane := keyOf(st.Terms.Out.ID())
	for _, f := range st.Unacked {
		record, err := (&frameRecord{Time: made * 1000, Frame: f}).encode()
		if err != nil {
			return nil, err
		}
		batch.Put(seqKey(prefixFrame, lane, f.FirstSeq), record)
		for _, p := range f.Payments {
			batch.Put(idKey(p.ID), encodeID(lane, f.FirstSeq))
		}
	}
	return batch, nil
}

// channelBatch writes a whole channel, as the first commit of its driver.
func channelBatch(st *channel.State, scripts laneScripts) (*store.Batch, error) {
	cold, err := st.MarshalCold()
	if err != nil {
		return nil, err
	}
	out, _ := st.Out.MarshalBinary()
	in, _ := st.In.MarshalBinary()
	id := st.Terms.ID
	batch := new(store.Batch)
	outDraws, inDraws := encodeDraws(st)
	if outDraws != nil {
		batch.Put(drawsKey(id, true), outDraws)
	}
	if inDraws != nil {
		batch.Put(drawsKey(id, false), inDraws)
	}
	return batch.Put(channelKey(id), cold).Put(laneRecordKey(id, true), append(out, make([]byte, 8)...)).
		Put(laneRecordKey(id, false), in).Put(scriptsKey(id), scripts.encode(&st.Terms)), nil
}

// writeAll writes batches in transactions that fit every store.
func writeAll(s store.Store, batches []*store.Batch) error {
	limits := store.DefaultLimits()
	var group []*store.Batch
	size, ops := 0, 0
	write := func() error {
		errs, err := s.Apply(group)
		group, size, ops = nil, 0, 0
		return errors.Join(append(errs, err)...)
	}
	for _, b := range batches {
		if len(group) > 0 && (size+b.Size() > limits.GroupBytes || ops+len(b.Ops) > limits.GroupOps) {
			if err := write(); err != nil {
				return err
			}
		}
		group, size, ops = append(group, b), size+b.Size(), ops+len(b.Ops)
	}
	return write()
}
