package channel

// The last days of a channel: its owner hears of each step once, over restarts too.

// Notice is a step on the way to a channel's expiry, from the day on which its owner can still choose.
type Notice uint8

const (
	NoNotice       Notice = iota
	NoticeNear            // days before anything happens by itself
	NoticeTogether        // from here on no close together is signed
	NoticeStop            // no more payments; what was earned is settled
	NoticeEscalate        // the settlement is in no block: its fee rises steeply
	NoticeExpired         // the payer can take back what was not settled
)

// dueNotice tells the newest step that was not told yet. Older ones that were slept through are left out.
func (s *State) dueNotice() []Effect {
	now := s.notice()
	if now <= s.Notice || s.Phase.Final() || s.Phase <= PhaseAgreed && s.unfunded() {
		return nil
	}
	s.Notice = now
	effects := []Effect{Save{Cold: true}}
	if text := s.noticeText(now); text != "" {
		effects = append(effects, Alert{Text: text})
	}
	return effects
}

// notice is the step that the present height belongs to. A reorganisation never takes one back.
func (s *State) notice() Notice {
	h, expiry := s.Terms.Heights, s.earliestExpiry()
	switch {
	case s.Tip >= expiry:
		return NoticeExpired
	case s.Tip >= sub(expiry, h.Escalate):
		return NoticeEscalate
	case s.Tip >= sub(expiry, h.Stop):
		return NoticeStop
	case s.Tip >= sub(expiry, h.CloseStop):
		return NoticeTogether
	case s.Tip >= sub(expiry, 2*h.CloseStop) && s.Terms.OpenedAt < sub(expiry, 2*h.CloseStop):
		return NoticeNear
	}
	return NoNotice
}

// noticeText is empty where there is nothing that the owner could wonder at.
func (s *State) noticeText(n Notice) string {
	expiry, h := s.earliestExpiry(), s.Terms.Heights
	left := itoa(uint64(sub(expiry, s.Tip)))
	active := s.Phase <= PhaseRecovering
	switch {
	case n == NoticeNear && active:
		return "the channel expires at block " + itoa(uint64(expiry)) + ", in " + left + " blocks: open its successor, and close it before block " +
			itoa(uint64(sub(expiry, h.CloseStop))) + "; after that it ends by itself, alone"
	case n == NoticeTogether && active:
		return "the channel expires in " + left + " blocks: it can't be closed together any more; at block " + itoa(uint64(sub(expiry, h.Stop))) +
			" payments stop and what was received is settled"
	case n == NoticeStop && active:
		return "the channel expires in " + left + " blocks: no more payments; what was received is settled, what was deposited returns at expiry"
	case n == NoticeEscalate && s.CanSettle():
		return "the settlement of " + itoa(uint64(s.In.Total.SatCeil())) + " sat is in no block, " + left +
			" blocks before the payer can take the money back: its fee rises with every block"
	case n == NoticeExpired && s.CanSettle() && s.Tip >= s.Terms.In.Expiry:
		return "the lane expired before its settlement was in a block: the payer can take back " + itoa(uint64(s.In.Total.SatCeil())) +
			" sat that are ours; the settlement goes on"
	case n == NoticeExpired && len(s.OutFunding.returns()) > 0 && s.Tip >= s.Terms.Out.Expiry:
		return "the channel expired: the deposit returns now"
	}
	return ""
}
