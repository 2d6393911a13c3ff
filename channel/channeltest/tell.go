package channeltest

import (
	"fmt"
	"strings"

	"github.com/runnel/runnel/channel"
)

// TellMessage describes a message to a person.
func TellMessage(m channel.Message) string {
	switch m := m.(type) {
	case *channel.Frame:
		sums := make([]string, len(m.Payments))
		for i, p := range m.Payments {
			sums[i] = fmt.Sprint(p.Amount)
		}
		return fmt.Sprintf("payment %s: %s msat, total %d", span(m.FirstSeq, m.NextSeq()), strings.Join(sums, "+"), m.Total)
	case *channel.Ack:
		return fmt.Sprintf("ack up to %d: total %d, spent %d%s", m.NextSeq-1, m.Total, m.Spent, tellRefused(m.Refused))
	case *channel.Resync:
		return fmt.Sprintf("resync: %s, next %d, total %d, spent %d, answered %d", m.Phase, m.In.NextSeq, m.In.Total, m.In.Spent, m.Acked)
	case *channel.Newest:
		return fmt.Sprintf("newest voucher: next %d, total %d, spent %d", m.Out.NextSeq, m.Out.Total, m.Out.Spent)
	case *channel.Draws:
		return fmt.Sprintf("draws %s ended: %v", span(m.FirstSeq, m.FirstSeq+uint64(len(m.Draws))), m.Draws)
	case *channel.DrawsAck:
		return fmt.Sprintf("accepted %d draws", m.Count)
	case *channel.DrawsVoid:
		return fmt.Sprintf("what became of %d?", m.N)
	case *channel.Stop:
		return fmt.Sprintf("stop: next %d, total %d, spent %d", m.In.NextSeq, m.In.Total, m.In.Spent)
	case *channel.Refuse:
		return fmt.Sprintf("refuse: %s, %s", m.Code, m.Text)
	case *channel.Funded:
		return "funded"
	case *channel.Ready:
		return "ready"
	case *channel.CloseOffer:
		return fmt.Sprintf("offer to close, fee %d sat", m.Fee)
	case *channel.CloseSign:
		return "signature for the close"
	case *channel.ReturnOffer:
		return fmt.Sprintf("offer to return %d sat, fee %d sat", m.Value, m.Fee)
	case *channel.ReturnSign:
		return "signature for the return"
	case *channel.CloseDone:
		return "the signed close"
	}
	return fmt.Sprintf("%T", m)
}

func span(first, next uint64) string {
	if next == first+1 {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, next-1)
}

func tellRefused(refused []channel.Refusal) string {
	var b strings.Builder
	for _, r := range refused {
		fmt.Fprintf(&b, ", %d refused: %s", r.Seq, r.Reason)
	}
	return b.String()
}

// TellEffect describes an effect that an owner hears of.
func TellEffect(e channel.Effect) string {
	switch e := e.(type) {
	case channel.Moved:
		return "the channel is " + e.To.String()
	case channel.LaneChanged:
		side, state := "the lane that pays us", "ready"
		if e.Out {
			side = "the lane that we pay on"
		}
		if !e.Ready {
			state = "stopped"
		}
		return side + " is " + state
	case channel.Alert:
		return "ALERT " + e.Text
	case channel.Misbehaved:
		return "BLAME " + e.Text
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", e), "channel.")
}

// TellInput names an event.
func TellInput(in channel.Input) string {
	if r, ok := in.(channel.Received); ok {
		return TellMessage(r.Msg)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", in), "channel.")
}
