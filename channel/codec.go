package channel

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// What a restart needs of a state, in two records: Cold is written when something other than payments
// happens and is JSON, for it is small, rare and worth reading in an emergency; a Lane is written with
// every payment and has a fixed layout.

const (
	coldVersion = 1
	laneVersion = 1
	laneSize    = 1 + 4*8 + 64 + 32 + 1
)

type cold struct {
	Version    int
	Terms      Terms
	Phase      Phase
	OutFunding Funding
	InFunding  Funding
	Closing    Closing
	Notice     Notice  `json:",omitempty"`
	Asking     *Asking `json:",omitempty"`
}

// MarshalCold encodes everything but the lanes.
func (s *State) MarshalCold() ([]byte, error) {
	return json.Marshal(cold{coldVersion, s.Terms, s.Phase, s.OutFunding, s.InFunding, s.Closing, s.Notice, s.Asking})
}

// MarshalBinary encodes a lane.
func (l *Lane) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, laneSize)
	b = append(b, laneVersion)
	for _, n := range []uint64{uint64(l.Total), uint64(l.Spent), l.NextSeq, l.Acked} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, l.Voucher[:]...)
	b = append(b, l.Hash[:]...)
	return append(b, byte(l.Frozen)), nil
}

// UnmarshalBinary decodes a lane and checks what must always hold.
func (l *Lane) UnmarshalBinary(b []byte) error {
	if len(b) != laneSize || b[0] != laneVersion {
		return fmt.Errorf("channel: a lane record of %d bytes, version %v", len(b), b[:min(1, len(b))])
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	l.Total, l.Spent, l.NextSeq, l.Acked = Msat(u(0)), Msat(u(1)), u(2), u(3)
	copy(l.Voucher[:], b[33:])
	copy(l.Hash[:], b[97:])
	l.Frozen = FreezeReason(b[129])
	if l.Spent > l.Total || l.Acked > l.NextSeq || l.Acked == 0 {
		return fmt.Errorf("channel: a lane record that can't be: spent %d of %d, answered %d of %d", l.Spent, l.Total, l.Acked, l.NextSeq)
	}
	return nil
}

// Load rebuilds a state from its records and the own frames without an answer, oldest first.
func Load(coldRecord, out, in []byte, unacked []*Frame) (State, error) {
	var c cold
	if err := json.Unmarshal(coldRecord, &c); err != nil {
		return State{}, fmt.Errorf("channel: record: %w", err)
	}
	if c.Version != coldVersion {
		return State{}, fmt.Errorf("channel: record of version %d, this program knows %d", c.Version, coldVersion)
	}
	s := State{Terms: c.Terms, Phase: c.Phase, OutFunding: c.OutFunding, InFunding: c.InFunding, Closing: c.Closing, Notice: c.Notice, Asking: c.Asking, Unacked: unacked}
	if err := s.Out.UnmarshalBinary(out); err != nil {
		return State{}, err
	}
	if err := s.In.UnmarshalBinary(in); err != nil {
		return State{}, err
	}
	seq := s.Out.Acked
	for _, f := range unacked {
		if f.FirstSeq != seq {
			return State{}, fmt.Errorf("channel: the payments from %d on are missing", seq)
		}
		seq = f.NextSeq()
	}
	if seq != s.Out.NextSeq {
		return State{}, fmt.Errorf("channel: the payments from %d to %d are missing", seq, s.Out.NextSeq-1)
	}
	s.Tip = s.Terms.OpenedAt
	return s, nil
}
