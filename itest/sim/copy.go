package sim

import (
	"context"
	"crypto/aes"
	"crypto/cipher"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal/journaltest"
)

// A machine may burn. Its owner goes on from a backup of any age, or from the seed alone. What such a node
// no longer knows it must not sign, and what is old it must not publish before its peer was asked.

func (p *peer) cipher() cipher.AEAD {
	key, err := bitcoin.BackupKey(p.seed, "simnet")
	p.w.must(err)
	block, err := aes.NewCipher(key[:])
	p.w.must(err)
	aead, err := cipher.NewGCM(block)
	p.w.must(err)
	return aead
}

// backUp copies a node, as its owner does now and then.
func (w *World) backUp(p *peer) {
	w.call(p, "backup", func(ctx context.Context, n *daemon.Node) {
		l := p.life
		b, err := n.Backup(ctx)
		w.trace.note("%s backs up %d channels: %v", p.name, b.Channels, err)
		if err == nil && l != nil && !l.over && (p.backup == nil || w.rng.IntN(3) == 0) {
			p.backup = b.Data
		}
	})
}

// burn takes a peer's disk away. At most one peer has that happen to it, once.
func (w *World) burn(p *peer) {
	if w.burned || !w.plan.Burn || p.hostile {
		return
	}
	w.burned = true
	p.kill("its disk is gone")
	w.forget(p)
	w.settle()
	for _, a := range w.apps {
		a.gone = a.gone || a.from == p // a backup has no payment history
	}
	for _, b := range w.laneOrder {
		b.copied = b.copied || b.payer == p || b.payee == p
	}
	p.copied, p.event = true, 0
	d := p.disk
	*d = disk{p: p, mem: store.NewMemory(), files: journaltest.NewDisk(), salts: d.salts}
	if p.backup == nil || w.rng.IntN(4) == 0 {
		_, err := d.mem.Apply([]*store.Batch{daemon.LookForDeposits()})
		w.must(err)
		w.trace.note("%s begins again with its seed", p.name)
	} else {
		r, err := daemon.Restore(p.backup, p.cipher(), d.mem, p.scheme, p.id, p.chance)
		w.must(err)
		w.trace.note("%s is restored: %d channels", p.name, r.Channels)
	}
	d.migrate()
	p.states = map[channel.ID]*channel.State{}
	p.wallet.Rebroadcast()
	p.boot()
}

// migrate writes the journal of a store that has none.
func (d *disk) migrate() {
	d.reopen()
	d.p.w.must(daemon.Rewrite(d.mem, d.journal, ""))
}

// chance is for what an owner's tools draw.
func (p *peer) chance(b []byte) {
	for i := range b {
		b[i] = byte(p.w.rng.Uint32())
	}
}

// asks judges a settlement by a node that goes on from a copy: its peer has said what came after it, or had
// the time to. Nothing that an honest peer handed back is left out.
func (w *World) asks(p *peer, st *channel.State, b *book, total channel.Msat) {
	height, asking := st.MayForce()
	switch tip := w.chain.Height(); {
	case asking && (st.Asking.Since == 0 || tip < height) && tip+st.Terms.Heights.Escalate < b.terms.Expiry:
		w.broken("P6", "%s settles an old state at block %d before its peer was asked: it may from %d on", p.name, tip, height)
	case asking:
		b.unasked = true
	case total < b.ack.Total && b.payer != nil && !b.payer.hostile:
		w.broken("P6", "%s settles at %d msat after its peer handed back %d", p.name, total, b.ack.Total)
	}
}

// found is a peer's state of a lane, also where it only found the lane's deposit.
func (b *book) found(p *peer) *channel.State { return p.states[channel.FoundID(b.terms.ID())] }

// lost reports whether a payee does not know any more what a lane earned.
func (b *book) lost() bool {
	return b.payee != nil && b.payee.copied && (b.unasked || b.payee.states[b.id] == nil)
}
