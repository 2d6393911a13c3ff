package daemon_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/daemon"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/ledger/ledgertest"
	"github.com/runnel/runnel/policy"
	"github.com/runnel/runnel/store"
	"github.com/runnel/runnel/store/journal/journaltest"
)

// cipherOf is what seals a member's backups.
func cipherOf(t testing.TB, seed []byte) cipher.AEAD {
	t.Helper()
	key, err := bitcoin.BackupKey(seed, "simnet")
	must(t, err)
	block, err := aes.NewCipher(key[:])
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	return aead
}

// light is a backend that can't look up outputs.
type light struct{ *ledgertest.MemoryChain }

func (l light) Capabilities() ledger.Capabilities {
	c := l.MemoryChain.Capabilities()
	c.Unspent = false
	return c
}

func (light) Unspent(context.Context, channel.Outpoint) (ledger.Output, uint32, error) {
	return ledger.Output{}, 0, ledger.ErrUnsupported
}

func (m *member) backup() []byte {
	m.w.t.Helper()
	b, err := m.Backup(m.w.ctx())
	must(m.w.t, err)
	return b.Data
}

// lose throws a member's database away and begins again with another one.
func (m *member) lose(fill func(s store.Store)) {
	m.w.t.Helper()
	m.halt()
	m.disk = &disk{Memory: store.NewMemory()}
	fill(m.disk.Memory)
	m.boot()
}

func (m *member) restore(data []byte) {
	m.w.t.Helper()
	m.lose(func(s store.Store) {
		_, err := daemon.Restore(data, cipherOf(m.w.t, m.seed), s, m.scheme, m.w.id(m.name), func(b []byte) { _, _ = rand.Read(b) })
		must(m.w.t, err)
	})
}

// seedAlone leaves a member nothing but its seed.
func (m *member) seedAlone() {
	m.w.t.Helper()
	m.lose(func(s store.Store) {
		errs, err := s.Apply([]*store.Batch{daemon.LookForDeposits()})
		must(m.w.t, errors.Join(append(errs, err)...))
	})
}

func (m *member) attention() string {
	m.w.t.Helper()
	s, err := m.Status(m.w.ctx())
	must(m.w.t, err)
	return strings.Join(s.Attention, "\n")
}

// A payee restored from an old backup gets all that it was paid, because the payer hands it back; and it
// publishes nothing before it has asked.
func TestRestoredPayee(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 5_000_000)
	w.books(alice, bob, id, 5_000_000)
	old := bob.backup()
	alice.pay(id.String(), 7_000_000)
	bob.pay(id.String(), 1_000_000)
	w.books(alice, bob, id, 12_000_000)
	alice.halt()
	bob.restore(old)
	w.synced(bob)
	st := bob.State(id)
	if st.Phase != channel.PhaseRecovering || st.Asking == nil || st.In.Total != 5_000_000 {
		t.Fatalf("%s, asking %v, total %d", st.Phase, st.Asking, st.In.Total)
	}
	if text := bob.attention(); !strings.Contains(text, "was restored from a copy") {
		t.Errorf("attention: %s", text)
	}
	for _, force := range []bool{true, false} {
		if _, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: force}); err == nil {
			t.Errorf("closed with force %v before the peer was asked", force)
		}
	}
	w.chain.Mine(2)
	w.synced(bob)
	if got := w.chain.Mempool(); len(got) != 0 {
		t.Errorf("%d transactions were published before the peer was asked", len(got))
	}
	alice.boot()
	w.synced(alice, bob)
	w.eventually("bob was told", func() bool { st := bob.State(id); return st.Asking == nil && st.In.Total == 12_000_000 })
	if st := bob.State(id); st.In.Spent != 12_000_000 || st.Out.Total != 1_000_000 {
		t.Errorf("spent %d, own total %d", st.In.Spent, st.Out.Total)
	}
	if _, err := bob.Pay(w.ctx(), channel.PayRequest{Target: id.String(), Amount: 1}); codeOf(err) != channel.CodeNotOpen {
		t.Errorf("a payment on a restored channel: %v", err)
	}
	_, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.finish(alice, bob, id, 12_000-1_000)
}

// A payer restored from an old backup counts what its peer proves, and has back the rest.
func TestRestoredPayer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 5_000_000)
	old := alice.backup()
	alice.pay(id.String(), 7_000_000)
	w.books(alice, bob, id, 12_000_000)
	before := indexOf(t, alice)
	alice.restore(old)
	w.synced(alice)
	w.eventually("alice knows", func() bool { st := alice.State(id); return st.Asking == nil && st.Out.Total == 12_000_000 })
	if alice.BudgetUsed() < 12_000_000 {
		t.Errorf("the budget counts %d", alice.BudgetUsed())
	}
	if after := indexOf(t, alice); after < before+1<<20 {
		t.Errorf("the next key index is %d, and was %d", after, before)
	}
	_, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String()})
	must(t, err)
	w.finish(alice, bob, id, 12_000)
}

// What the owner forbade holds for the node that is made again, from a backup as from a replica.
func TestRestoreKeepsTheOwnersRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.start("alice", nil)
	there := journaltest.NewDisk()
	alice.keepReplica(there)
	w.synced(alice)
	must(t, alice.SetLimit(w.ctx(), policy.SettingMaxPayment, 9_000))
	must(t, call(alice.Freeze(w.ctx(), "all", "lost")))
	data, lost := alice.backup(), there.PowerLoss(nil)
	alice.wrap = nil
	for name, again := range map[string]func(){
		"backup":  func() { alice.restore(data) },
		"replica": func() { alice.fromReplica(lost) },
	} {
		again()
		w.synced(alice)
		list, err := alice.Freezes(w.ctx())
		if must(t, err); len(list) != 1 || list[0].Kind != "all" || list[0].Why != "lost" {
			t.Errorf("%s: frozen is %+v", name, list)
		}
		limits, err := alice.Limits(w.ctx())
		must(t, err)
		if i := slices.IndexFunc(limits, func(l channel.LimitInfo) bool { return l.Name == policy.SettingMaxPayment }); !limits[i].Own || limits[i].Value != 9_000 {
			t.Errorf("%s: %+v", name, limits[i])
		}
	}
}

func indexOf(t *testing.T, m *member) uint32 {
	t.Helper()
	n, err := daemon.NextKey(m.disk)
	must(t, err)
	return n
}

// A payer that never comes back: the owner may settle by the old voucher after some blocks, and near the
// expiry it happens by itself.
func TestRestoredPayeeWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for _, forced := range []bool{true, false} {
		w := newWorld(t)
		alice, bob, id := w.pair()
		alice.pay(id.String(), 5_000_000)
		w.books(alice, bob, id, 5_000_000)
		old := bob.backup()
		alice.pay(id.String(), 7_000_000)
		alice.halt()
		bob.restore(old)
		w.synced(bob)
		expiry := bob.State(id).Terms.In.Expiry
		if forced {
			w.chain.Mine(channel.AskBlocks)
			w.synced(bob)
			r, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true})
			must(t, err)
			if r.Kind != "settle" {
				t.Errorf("%+v", r)
			}
		}
		for !forced && w.chain.Height() < expiry-12 {
			if n := len(w.chain.Mempool()); n > 0 {
				t.Fatalf("%d transactions were published at block %d without an answer", n, w.chain.Height())
			}
			w.chain.Mine(1)
			w.synced(bob)
		}
		w.eventually("bob settles", func() bool { return len(w.chain.Mempool()) > 0 })
		w.chain.Mine(1)
		w.synced(bob)
		if sp := bob.State(id).InFunding.Spend; sp == nil || sp.Total != 5_000_000 {
			t.Errorf("forced %v: settled by %+v", forced, sp)
		}
	}
}

// A payer that hands back what it did not sign is not believed.
func TestForgedNewestVoucher(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 5_000_000)
	w.books(alice, bob, id, 5_000_000)
	old := bob.backup()
	alice.pay(id.String(), 7_000_000)
	w.books(alice, bob, id, 12_000_000)
	alice.halt()
	bob.restore(old)
	w.synced(bob)
	st := bob.State(id)
	for _, r := range []channel.LaneReport{
		{NextSeq: 3, Total: 12_000_000, Spent: 12_000_000, Signature: channel.Signature{1}},
		{NextSeq: 3, Total: 12_000_000, Spent: 12_000_000, Signature: st.In.Voucher},
	} {
		bob.Feed(id, channel.Received{Msg: &channel.Newest{Lane: st.Terms.In.ID(), Out: r}})
	}
	if got := bob.State(id); got.In.Total != 5_000_000 || got.Asking == nil {
		t.Errorf("total %d, asking %v", got.In.Total, got.Asking)
	}
}

// A backup holds nothing that can be read without the seed, and is refused with another one, damaged, or
// on another network.
func TestBackupIsSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob, id := w.pair()
	alice.pay(id.String(), 5_000_000)
	data := alice.backup()
	for _, secret := range [][]byte{[]byte(id.String()), id[:], []byte(w.id("bob")), []byte("5000000")} {
		if bytes.Contains(data, secret) {
			t.Errorf("the backup shows %q", secret)
		}
	}
	if len(data) > 4096 {
		t.Errorf("a backup of one channel has %d bytes", len(data))
	}
	restore := func(data []byte, m *member) error {
		_, err := daemon.Restore(data, cipherOf(t, m.seed), store.NewMemory(), m.scheme, w.id(m.name), func([]byte) {})
		return err
	}
	must(t, restore(data, alice))
	if err := restore(data, bob); !errors.Is(err, daemon.ErrBackupSeal) {
		t.Errorf("with another seed: %v", err)
	}
	if err := restore([]byte("hello"), alice); !errors.Is(err, daemon.ErrNoBackup) {
		t.Errorf("something else: %v", err)
	}
	for _, at := range []int{20, len(data) / 2, len(data) - 1} {
		bad := bytes.Clone(data)
		bad[at] ^= 1
		if err := restore(bad, alice); !errors.Is(err, daemon.ErrBackupSeal) {
			t.Errorf("a flipped bit at %d: %v", at, err)
		}
	}
	if err := restore(data[:len(data)-1], alice); !errors.Is(err, daemon.ErrBackupSeal) {
		t.Errorf("cut off: %v", err)
	}
}

// With the seed alone every deposit from the own wallet comes back after its expiry, to the satoshi, on
// backends that can look outputs up and on those that can't.
func TestSeedAlone(t *testing.T) {
	t.Parallel()
	for _, blind := range []bool{false, true} {
		w := newWorld(t)
		alice, bob := w.start("alice", nil), w.start("bob", nil)
		alice.light = blind
		alice.fund(2_000_000)
		id := w.open(alice, bob, 1_000_000, 0)
		expiry := alice.State(id).Terms.Out.Expiry
		alice.seedAlone()
		w.synced(alice)
		found := w.found(alice, 1)
		if text := alice.attention(); !strings.Contains(text, "a deposit of 1000000 sat was found with the seed") {
			t.Errorf("attention: %s", text)
		}
		alice.restart()
		w.synced(alice)
		for w.chain.Height() < expiry-1 {
			if len(w.chain.Mempool()) > 0 {
				t.Fatalf("published at block %d, before the expiry", w.chain.Height())
			}
			w.chain.Mine(1)
			w.synced(alice)
		}
		w.mineUntil("the deposit is back", func() bool { return alice.info(found[0]).Phase == channel.PhaseClosed }, alice)
		w.exact(alice, 0)
		// The next lane never shares a key with the old one.
		if n := indexOf(t, alice); n < 1<<20 {
			t.Errorf("the next key index is %d", n)
		}
	}
}

// The peer settles what it was paid while the seed's owner had nothing: the rest comes back.
func TestSeedAloneAfterASettlement(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before", "after"} {
		for _, blind := range []bool{false, true} {
			w := newWorld(t)
			alice, bob := w.start("alice", nil), w.start("bob", nil)
			alice.light = blind
			alice.fund(2_000_000)
			id := w.open(alice, bob, 1_000_000, 0)
			alice.pay(id.String(), 250_000_500)
			w.books(alice, bob, id, 250_000_500)
			alice.halt()
			settle := func() {
				_, err := bob.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), Force: true})
				must(t, err)
				w.eventually("bob settles", func() bool { return len(w.chain.Mempool()) > 0 })
				w.chain.Mine(1)
				w.synced(bob)
			}
			if when == "before" {
				settle()
			}
			alice.seedAlone()
			w.synced(alice)
			found := w.found(alice, 1)
			if when == "after" {
				settle()
			}
			w.mineUntil("the rest is back", func() bool { return alice.info(found[0]).Phase == channel.PhaseClosed }, alice, bob)
			w.exact(alice, 250_001)
		}
	}
}

// Channels that ended long ago are not looked for, and a channel that was closed together to another wallet
// is found to be over.
func TestSeedAloneKnowsWhatIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(3_000_000)
	for _, to := range []string{"", "elsewhere"} {
		id := w.open(alice, bob, 1_000_000, 0)
		alice.pay(id.String(), 1_000_000)
		if to != "" {
			to, _, _ = bob.wallet.NewAddress(w.ctx())
		}
		_, err := alice.Close(w.ctx(), channel.CloseRequest{Channel: id.String(), To: to})
		must(t, err)
		w.mineUntil("closed", func() bool { return alice.info(id).Phase == channel.PhaseClosed }, alice, bob)
	}
	alice.seedAlone()
	w.synced(alice)
	found := w.found(alice, 1)
	w.eventually("it is over", func() bool { return alice.info(found[0]).Phase == channel.PhaseClosed })
	if n := len(w.chain.Mempool()); n != 0 {
		t.Errorf("%d transactions were published", n)
	}
}

// A channel that was opened after the backup is found with the seed.
func TestBackupOlderThanAChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.start("alice", nil), w.start("bob", nil)
	alice.fund(3_000_000)
	first := w.open(alice, bob, 1_000_000, 0)
	old := alice.backup()
	w.open(alice, bob, 500_000, 0)
	alice.restore(old)
	w.synced(alice)
	found := w.found(alice, 2)
	st := alice.State(first)
	if st.Phase != channel.PhaseRecovering {
		t.Errorf("the first is %s", st.Phase)
	}
	if i := alice.info(found[0]); i.Deposit != 500_000 || i.Phase != channel.PhaseRecovering {
		t.Errorf("found: %+v", i)
	}
}

// found waits until the search is over, and lists the channels that it made; all says how many channels
// there are by then.
func (w *world) found(m *member, all int) (ids []channel.ID) {
	w.t.Helper()
	w.eventually("the search is over", func() bool {
		_, err := m.disk.Get([]byte("u"))
		return errors.Is(err, store.ErrNotFound)
	})
	list, err := m.Channels(w.ctx())
	must(w.t, err)
	if len(list) != all {
		w.t.Fatalf("%d channels, want %d", len(list), all)
	}
	for _, i := range list {
		if i.PeerID == "" {
			ids = append(ids, i.Channel)
		}
	}
	return ids
}

// exact checks that a member's wallet has what it was given but for what it paid and its own fees: those of
// its transactions that spend what came from any member.
func (w *world) exact(m *member, paid channel.Sat) {
	w.t.Helper()
	var all []*member
	for _, o := range w.members {
		all = append(all, o)
	}
	known, fees := w.ownTxs(all), channel.Sat(0)
	for id := range w.ownTxs([]*member{m}) {
		tx := w.tx(id).MsgTx()
		if !known[tx.TxIn[0].PreviousOutPoint.Hash] {
			continue // from the faucet
		}
		for _, i := range tx.TxIn {
			fees += channel.Sat(w.tx(i.PreviousOutPoint.Hash).MsgTx().TxOut[i.PreviousOutPoint.Index].Value)
		}
		for _, o := range tx.TxOut {
			fees -= channel.Sat(o.Value)
		}
	}
	if got := m.onchain(); got != m.given-paid-fees {
		w.t.Errorf("%s has %d sat; it was given %d, paid %d, and %d in fees", m.name, got, m.given, paid, fees)
	}
}
