package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/sandbox"
)

// open is chapter 1: money for both, and a channel between them.
func (d *demo) open(ctx context.Context) error {
	d.say.chapter("A channel")
	d.say.text(fmt.Sprintf("Both wallets get %s from the miner. Then alice opens a channel to bob with %s, and bob adds "+
		"%s of his own to pay her with.", sat(funds), sat(aliceLane), sat(bobLane)))
	for _, name := range []string{"alice", "bob"} {
		if err := d.fund(ctx, name); err != nil {
			return err
		}
	}
	alice, err := quiet[statusView](ctx, d, "alice", "status")
	if err != nil {
		return err
	}
	bob, err := show[statusView](ctx, d, "bob", "status")
	if err != nil {
		return err
	}
	d.alice, d.bob = alice.PeerID, bob.PeerID
	if _, err := show[struct{}](ctx, d, "alice", "connect", bob.Addr); err != nil {
		return err
	}
	if d.first, err = d.openChannel(ctx); err != nil {
		return err
	}
	c := d.first
	d.say.sums(
		sum{"alice's deposit, " + short(c.aliceTx.ID), aliceLane, value(c.aliceTx, c.aliceOut)},
		sum{"bob's deposit, " + short(c.bobTx.ID), bobLane, value(c.bobTx, c.bobOut)},
	)
	return nil
}

// fund pays from the miner to a fresh address.
func (d *demo) fund(ctx context.Context, name string) error {
	to, err := show[addressView](ctx, d, name, "address")
	if err != nil {
		return err
	}
	if _, err := d.box.Chain.Fund(ctx, to.Address, funds); err != nil {
		return err
	}
	if err := d.box.Mine(ctx, 1); err != nil {
		return err
	}
	return d.until(ctx, name+" has the money", func() (bool, error) {
		b, err := quiet[balanceView](ctx, d, name, "balance")
		return b.Onchain == funds, err
	})
}

func (d *demo) until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	return sandbox.Until(ctx, what, done)
}

// openChannel opens one with both lanes, mines, and returns when both can pay.
func (d *demo) openChannel(ctx context.Context) (c lanes, err error) {
	opened, err := show[openView](ctx, d, "alice", "open", short(d.bob),
		"--deposit", amountOf(aliceLane), "--peer-deposit", amountOf(bobLane), "-y")
	if err != nil {
		return c, err
	}
	c.id = opened.Channel
	blocks := 0
	err = d.until(ctx, "both sides can pay", func() (bool, error) {
		blocks++
		if err := d.box.Mine(ctx, 1); err != nil {
			return false, err
		}
		return d.ready(ctx, c.id)
	})
	if err != nil {
		return c, err
	}
	bob, err := quiet[channelView](ctx, d, "bob", "channel", c.id)
	if err != nil {
		return c, err
	}
	d.say.text(fmt.Sprintf("%d blocks later the channel %s is open.", blocks, short(c.id)))
	return c, c.locate(ctx, d, opened.FundingTx, bob.FundingTx)
}

// ready reports whether both sides can pay on a channel.
func (d *demo) ready(ctx context.Context, id string) (bool, error) {
	for _, name := range []string{"alice", "bob"} {
		c, err := quiet[channelView](ctx, d, name, "channel", id)
		if err != nil || c.Phase != "open" || c.Spendable == 0 || c.Receivable == 0 {
			return false, err
		}
	}
	return true, nil
}

// stream is chapter 2: many payments.
func (d *demo) stream(ctx context.Context) error {
	const forth, back, each, window = 10_000, 1_000, channel.Msat(427), 256
	d.say.chapter("Ten thousand payments")
	d.say.text(fmt.Sprintf("Alice pays bob %s times, 1 to 1,000 msat each (a msat is a thousandth of a satoshi), up to %d at once, "+
		"the way an app does it: through the Go client. Each is signed by her, checked by him, and on both disks before it counts.",
		humanize.Comma(forth), window))
	run := d.start(ctx, d.first.id, window)
	if err := run.count(ctx, forth); err != nil {
		return err
	}
	paid, sum := d.sent.paid()
	d.say.facts(run.facts()...)
	d.say.check(fmt.Sprintf("%s acknowledged, %s msat together", humanize.Comma(int64(len(paid))), humanize.Comma(int64(sum))), len(paid) == forth)

	d.say.text(fmt.Sprintf("Bob pays %s times %d msat back.", humanize.Comma(back), each))
	s, err := show[streamView](ctx, d, "bob", "stream", short(d.alice), fmt.Sprintf("%dmsat", each), "--every", "0", "--count", fmt.Sprint(back))
	if err != nil {
		return err
	}
	d.back = back * each
	d.say.check(fmt.Sprintf("%s acknowledged, %.0f a second", humanize.Comma(int64(s.Count)), s.Rate), s.Count == back)
	return nil
}

// crash is chapter 3: bob dies in the middle of it.
func (d *demo) crash(ctx context.Context) error {
	d.say.chapter("A crash")
	d.say.text(fmt.Sprintf("Alice goes on paying. With more than %d payments on their way, bob is killed (SIGKILL: no good-bye, "+
		"nothing saved on the way out). Then he is started again, and alice pays on.", leastInFlight))
	var hit *impact
	for attempt := 0; hit == nil || len(hit.flying) < leastInFlight; attempt++ {
		if attempt == 8 {
			return fmt.Errorf("only %d payments were on their way when bob was killed", len(hit.flying))
		}
		var err error
		if hit, err = d.killBob(ctx); err != nil {
			return err
		}
	}
	if err := d.start(ctx, d.first.id, 64).count(ctx, 500); err != nil {
		return err
	}
	d.fates(hit)
	for _, name := range []string{"alice", "bob"} {
		d.say.command(append(d.historyOf(name), "--json"))
		history, err := readAll[paymentView](ctx, d.box, d.historyOf(name))
		if err != nil {
			return err
		}
		d.compare(name, history)
	}
	return nil
}

const leastInFlight = 32

// impact is what a kill hit.
type impact struct {
	at      time.Time
	flying  []*entry             // signed and without an answer
	waiting int                  // not signed yet
	bobs    map[string]time.Time // when he wrote down what he has, by payment id
}

// killBob pays, kills him in the middle of it, starts him again and learns what became of the payments.
func (d *demo) killBob(ctx context.Context) (*impact, error) {
	bob := d.box.Node("bob")
	run := d.start(ctx, d.first.id, 3*leastInFlight)
	feed, enough := context.WithCancel(ctx)
	defer enough()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for run.pay(feed, nil) == nil {
		}
	}()
	before := d.sent.count()
	err := d.until(ctx, "some payments are made", func() (bool, error) { return d.sent.count() > before+1000, nil })
	hit := &impact{at: time.Now(), bobs: map[string]time.Time{}}
	bob.Kill()
	enough()
	<-fed
	open := d.sent.open()
	if err == nil {
		err = bob.Restart(ctx)
	}
	if err == nil {
		err = d.until(ctx, "bob is back", func() (bool, error) { return d.ready(ctx, d.first.id) })
	}
	if err == nil {
		err = run.finish(ctx)
	}
	if err != nil {
		return nil, err
	}
	for _, e := range open {
		if e.err != nil {
			hit.waiting++
		} else {
			hit.flying = append(hit.flying, e)
		}
	}
	history, err := readAll[paymentView](ctx, d.box, d.historyOf("bob"))
	for _, p := range history {
		hit.bobs[p.ID] = time.UnixMilli(p.Time)
	}
	return hit, err
}

// historyOf is the command that shows a daemon's payments on the first channel.
func (d *demo) historyOf(name string) []string {
	return []string{"--node", name, "payments", "--channel", short(d.first.id), "--limit", "100000"}
}

// fates prints what became of each payment that was on its way.
func (d *demo) fates(hit *impact) {
	const had, again = "●", "○"
	count := map[string]int{}
	var cells []string
	for _, e := range hit.flying {
		fate := again
		if at, ok := hit.bobs[e.id.String()]; ok && at.Before(hit.at) {
			fate = had
		}
		count[fate]++
		cells = append(cells, fmt.Sprintf("%s %s %4d", fate, e.id.String()[:6], e.amount))
	}
	d.say.text(fmt.Sprintf("%d payments had left alice and had no answer when bob died. The fate of each (in msat):", len(hit.flying)))
	d.say.columns(cells)
	d.say.facts(
		[2]string{had + " bob had written it down, only his answer was lost", fmt.Sprint(count[had])},
		[2]string{again + " sent again after his restart, and taken then", fmt.Sprint(count[again])},
		[2]string{"  behind them, not signed yet and so not made", fmt.Sprint(hit.waiting)},
	)
}

// compare holds a daemon's history against the demo's own book.
func (d *demo) compare(name string, history []paymentView) {
	direction := map[string]string{"alice": "out", "bob": "in"}[name]
	paid, sum := d.sent.paid()
	lost, twice, foreign := d.sent.agree(history, direction)
	d.say.check(fmt.Sprintf("%-5s  %s payments, %s msat: %d lost, %d twice, %d unknown", name, humanize.Comma(int64(len(paid))),
		humanize.Comma(int64(sum)), lost, twice, foreign), lost+twice+foreign == 0)
}

func amountOf(v channel.Sat) string {
	return strings.ReplaceAll(humanize.Comma(int64(v)), ",", "_") + "sat"
}
