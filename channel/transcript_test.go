package channel_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/channel/channeltest"
)

// Transcripts are stories of two peers that a person reads and this test replays: commands, a line of
// dashes, and what was to be seen. go test -run Transcripts -update writes down what is to be seen now.
//
//	new deposit=N [peer=N] [confirmations=N] [window=N]   agree on terms
//	open                      fund, confirm, and make both lanes ready
//	pay SIDE MSAT...          offer payments, one frame for all that can go together
//	act SIDE                  let a side do what it can without hearing anything
//	hear SIDE [N]             let it hear what is on its way to it, and decide; it acts by act
//	run                       let everything happen until both rest; connects them if need be
//	refuse SIDE REASON|never  policy of a payee
//	alter SIDE SEQ MSAT       a frame that SIDE has comes again with another amount, well signed
//	close SIDE, force SIDE    end the channel together, alone
//	cut, crash SIDE, vanish SIDE, backup SIDE, restore SIDE
//	mine N, reorg N           blocks, each followed by a run; replace the last N by N+1 others
//	status, payments, money   what both sides, the bookkeeper and the chain know
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.story")
	must(t, err)
	if len(files) < 8 {
		t.Fatalf("only %d stories", len(files))
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".story"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			must(t, err)
			golden(t, path, []byte(replay(t, string(text))))
		})
	}
}

// replay returns the story with what is to be seen now.
func replay(t *testing.T, text string) string {
	var out strings.Builder
	story := &teller{}
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		commands, _, isBlock := strings.Cut(block+"\n", "----\n")
		out.WriteString(commands)
		if isBlock {
			out.WriteString("----\n")
			for _, line := range strings.Split(strings.TrimSpace(commands), "\n") {
				if !strings.HasPrefix(line, "#") {
					story.do(t, strings.Fields(line))
				}
			}
			out.WriteString(squeeze(story.seen.String()))
			story.seen.Reset()
		}
		out.WriteString("\n")
	}
	return strings.TrimSpace(out.String()) + "\n"
}

// squeeze counts lines that repeat.
func squeeze(text string) string {
	var b strings.Builder
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines)-1; {
		n := 1
		for i+n < len(lines) && lines[i+n] == lines[i] {
			n++
		}
		b.WriteString(lines[i])
		if n > 1 {
			fmt.Fprintf(&b, " (%d times)", n)
		}
		b.WriteString("\n")
		i += n
	}
	return b.String()
}

type teller struct {
	w       *channeltest.World
	seen    strings.Builder
	backups map[*channeltest.Side]channeltest.Disk
}

func (y *teller) say(format string, args ...any) { fmt.Fprintf(&y.seen, format+"\n", args...) }

func (y *teller) do(t *testing.T, words []string) {
	t.Helper()
	verb, args := words[0], words[1:]
	if verb == "new" {
		y.begin(t, args)
		return
	}
	var s *channeltest.Side
	if len(args) > 0 && args[0] == "alice" {
		s, args = y.w.Alice, args[1:]
	} else if len(args) > 0 && args[0] == "bob" {
		s, args = y.w.Bob, args[1:]
	}
	if s != nil {
		y.side(t, verb, s, args)
		return
	}
	y.world(t, verb, args)
}

func (y *teller) begin(t *testing.T, args []string) {
	o := channeltest.Options{Log: func(line string) { y.say("%s", line) }}
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		n := number(t, value)
		switch key {
		case "deposit":
			o.Deposit = channel.Sat(n)
		case "peer":
			o.PeerDeposit = channel.Sat(n)
		case "confirmations":
			o.Confirmations = uint32(n)
		case "window":
			o.Window = uint32(n)
		default:
			t.Fatalf("new: %s", a)
		}
	}
	y.w, y.backups = channeltest.New(o), map[*channeltest.Side]channeltest.Disk{}
}

func number(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	must(t, err)
	return n
}

func (y *teller) side(t *testing.T, verb string, s *channeltest.Side, args []string) {
	t.Helper()
	switch verb {
	case "pay":
		for _, a := range args {
			s.Pay(channel.Payment{ID: y.w.PaymentID(), Amount: channel.Msat(number(t, a))})
		}
	case "act":
		for s.Pump() || s.Work() || s.Do(0) {
		}
	case "hear":
		n := len(*s.Mail())
		if len(args) > 0 {
			n = int(number(t, args[0]))
		}
		for range n {
			s.Deliver()
		}
		s.Pump()
	case "refuse":
		i := slices.IndexFunc(reasons, func(r channel.RefuseReason) bool { return r.String() == args[0] })
		s.Refuse = nil
		if i >= 0 {
			s.Refuse = func(channel.Payment) channel.RefuseReason { return reasons[i] }
		}
	case "alter":
		y.w.Bent = true
		f := *s.Disk().Taken[number(t, args[0])].Stored
		f.Payments = append([]channel.Payment(nil), f.Payments...)
		f.Payments[0].Amount = channel.Msat(number(t, args[1]))
		*s.Mail() = append(*s.Mail(), &f)
	case "close":
		y.errored(s.Close())
	case "force":
		y.errored(s.Tell(channel.CloseAlone{}))
	case "crash":
		s.Crash()
	case "vanish":
		y.w.Vanish(s)
	case "backup":
		y.backups[s] = s.Backup()
	case "restore":
		y.w.Bent = true
		s.Restore(y.backups[s])
	default:
		t.Fatalf("a side can't %s", verb)
	}
}

var reasons = []channel.RefuseReason{channel.RefusedPolicy, channel.RefusedClosed, channel.RefusedBlind, channel.RefusedDisk}

func (y *teller) errored(err error) {
	if err != nil {
		y.say("%v", err)
	}
}

func (y *teller) world(t *testing.T, verb string, args []string) {
	t.Helper()
	switch verb {
	case "open":
		must(t, y.w.Open())
	case "run":
		must(t, y.w.Quiet())
	case "cut":
		y.w.Cut()
	case "mine":
		must(t, y.w.MineQuiet(int(number(t, args[0]))))
	case "reorg":
		y.w.Chain.Reorg(int(number(t, args[0])), true)
	case "status":
		for _, s := range y.w.Sides {
			y.status(s)
		}
	case "payments":
		for _, s := range y.w.Sides {
			y.payments(s)
		}
	case "money":
		for _, s := range y.w.Sides {
			y.say("%s has %d sat in the wallet", s.Name, y.w.Chain.Sum(channeltest.WalletScript(s.Name)))
		}
		y.say("fees of the close: %d sat", y.w.Chain.Fees("close"))
	default:
		t.Fatalf("no command %s", verb)
	}
}

func (y *teller) status(s *channeltest.Side) {
	st := &s.State
	if s.Gone {
		y.say("%s is gone", s.Name)
		return
	}
	y.say("%s at block %d: %s", s.Name, st.Tip, st.Phase)
	if st.Terms.Out.Exists() {
		y.say("  pays:    total %d, spent %d, %d frames wait, spendable %d%s", st.Out.Total, st.Out.Spent, len(st.Unacked), st.Spendable(), because(st.CanPay()))
	}
	if st.Terms.In.Exists() {
		y.say("  is paid: total %d, spent %d, receivable %d%s", st.In.Total, st.In.Spent, st.Receivable(), because(st.CanReceive()))
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ", but " + err.Error()
}

func (y *teller) payments(s *channeltest.Side) {
	for i, e := range s.Twin.Payments {
		told := "no answer"
		if e.Told != nil && e.ByChain {
			told = "the end of the channel says " + e.Told.String()
		} else if e.Told != nil {
			told = "answered " + e.Told.String()
		}
		taken := "never seen"
		if e.Taken != nil {
			taken = e.Taken.String()
		}
		y.say("%s's payment %d of %d msat: for the payee %s; %s", s.Name, i+1, e.Amount, taken, told)
	}
}
