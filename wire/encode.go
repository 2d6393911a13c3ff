package wire

import (
	"fmt"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire/wirepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Message is what Encode takes and Decode returns: a channel.Message, *Hello or *Error.
type Message = any

// Numbers of the envelope's fields.
const (
	numHello protowire.Number = iota + 1
	numError
	numOpen
	numAccept
	numReserved // not a message; never to be one again
	numRefuse
	numFunded
	numReady
	numFrame
	numAck
	numResync
	numStop
	numCloseOffer
	numCloseSign
	numCloseDone
	numRoot
	numRootAck
	numRootRequest
	numNewest
	numDraws
	numDrawsAck
	numDrawsVoid
	numReturnOffer
	numReturnSign
)

// Encode returns the one encoding of a message, or an error if a peer would refuse it.
func Encode(m Message) ([]byte, error) { return Append(nil, m) }

// Append appends the encoding of a message to dst.
func Append(dst []byte, m Message) ([]byte, error) {
	switch m := m.(type) {
	case *channel.Frame:
		if err := checkFrame(m); err != nil {
			return nil, err
		}
		return AppendFrame(grow(dst, frameSize(m)), m), nil
	case *channel.Ack:
		if err := checkAck(m); err != nil {
			return nil, err
		}
		return AppendAck(grow(dst, ackSize(m)), m), nil
	}
	return appendCold(dst, m)
}

// grow makes room for n more bytes unless they are there.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	return append(make([]byte, 0, len(dst)+n), dst...)
}

func appendCold(dst []byte, m Message) ([]byte, error) {
	num, body, err := cold(m)
	if err != nil {
		return nil, err
	}
	return putBytes(dst, num, body), nil
}

// cold encodes what an envelope holds, for all that is not frame or ack.
func cold(m Message) (protowire.Number, []byte, error) {
	switch m := m.(type) {
	case *Hello:
		body, err := encodeHello(m)
		return numHello, body, err
	case *Error:
		b := putString(nil, 1, m.Code)
		return numError, putString(b, 2, m.Text), checkError(m)
	case *channel.Open:
		return numOpen, encodeOpen(m), nil
	case *channel.Accept:
		return numAccept, encodeAccept(m), nil
	case *channel.Refuse:
		b := putBytes(nil, 1, m.Channel[:])
		b = putString(b, 2, m.Code)
		return numRefuse, putString(b, 3, m.Text), checkRefuse(m)
	case *channel.Funded:
		b := putBytes(nil, 1, m.Lane[:])
		return numFunded, putOutpoint(b, 2, m.Funding), nil
	case *channel.Ready:
		return numReady, putBytes(nil, 1, m.Lane[:]), nil
	case *channel.Resync:
		return numResync, encodeResync(m), checkResync(m)
	case *channel.Newest:
		b := putBytes(nil, 1, m.Lane[:])
		return numNewest, putReport(b, 2, &m.Out), nil
	}
	return closing(m)
}

// closing encodes the messages that end a channel.
func closing(m Message) (protowire.Number, []byte, error) {
	switch m := m.(type) {
	case *channel.Stop:
		b := putBytes(nil, 1, m.Channel[:])
		b = putReport(b, 2, &m.In)
		return numStop, putOptionalBytes(b, 3, m.Payout), checkStop(m)
	case *channel.CloseOffer:
		b := putBytes(nil, 1, m.Channel[:])
		b = putBytes(b, 2, m.Attempt[:])
		b = putUint(b, 3, uint64(m.Fee))
		return numCloseOffer, putNonces(b, 4, m.Nonces), checkInputs("close_offer.nonces", len(m.Nonces))
	case *channel.CloseSign:
		b := putBytes(nil, 1, m.Channel[:])
		b = putBytes(b, 2, m.Attempt[:])
		b = putNonces(b, 3, m.Nonces)
		for i := range m.Partials {
			b = putBytes(b, 4, m.Partials[i][:])
		}
		return numCloseSign, b, checkCloseSign(m)
	case *channel.CloseDone:
		b := putBytes(nil, 1, m.Channel[:])
		return numCloseDone, putBytes(b, 2, m.Tx), checkCloseDone(m)
	}
	return rooting(m)
}

// rooting encodes the messages about roots of a lane's log.
func rooting(m Message) (protowire.Number, []byte, error) {
	switch m := m.(type) {
	case *channel.Root:
		b := putLog(nil, 1, &m.Log)
		return numRoot, putBytes(b, 2, m.Signature[:]), checkLog(&m.Log)
	case *channel.RootAck:
		b := putLog(nil, 1, &m.Log)
		b = putBytes(b, 2, m.Payee[:])
		return numRootAck, putBytes(b, 3, m.Payer[:]), checkLog(&m.Log)
	case *channel.RootRequest:
		return numRootRequest, putBytes(nil, 1, m.Lane[:]), nil
	}
	return drawing(m)
}

// drawing encodes the messages about draws.
func drawing(m Message) (protowire.Number, []byte, error) {
	switch m := m.(type) {
	case *channel.Draws:
		b := putBytes(nil, 1, m.Lane[:])
		b = putUint(b, 2, m.FirstSeq)
		for _, d := range m.Draws {
			var at int
			b, at = begin(b, 3)
			b = putUint(b, 1, d.N)
			b = putUint(b, 2, uint64(d.Amount))
			b = end(b, at)
		}
		return numDraws, putBytes(b, 4, m.Hash[:]), checkDraws(m)
	case *channel.DrawsAck:
		b := putBytes(nil, 1, m.Lane[:])
		return numDrawsAck, putUint(b, 2, m.Count), nil
	case *channel.DrawsVoid:
		b := putBytes(nil, 1, m.Lane[:])
		for _, n := range m.N {
			b = putUint(b, 2, n)
		}
		return numDrawsVoid, b, checkDrawsVoid(m)
	}
	return returning(m)
}

// returning encodes the messages about deposits that go back early.
func returning(m Message) (protowire.Number, []byte, error) {
	switch m := m.(type) {
	case *channel.ReturnOffer:
		b := putBytes(nil, 1, m.Channel[:])
		b = putBytes(b, 2, m.Attempt[:])
		b = putOutpoint(b, 3, m.Output)
		b = putUint(b, 4, uint64(m.Value))
		b = putUint(b, 5, uint64(m.Fee))
		b = putBytes(b, 6, m.Payout)
		return numReturnOffer, putBytes(b, 7, m.Nonce[:]), checkReturnOffer(m)
	case *channel.ReturnSign:
		b := putBytes(nil, 1, m.Channel[:])
		b = putBytes(b, 2, m.Attempt[:])
		b = putBytes(b, 3, m.Nonce[:])
		return numReturnSign, putBytes(b, 4, m.Partial[:]), nil
	}
	return 0, nil, fmt.Errorf("wire: %T is no message", m)
}

// encodeHello goes through the generated code: hello is the one message with protobuf's full freedom.
func encodeHello(m *Hello) ([]byte, error) {
	if err := checkHello(m); err != nil {
		return nil, err
	}
	pb := &wirepb.Hello{Versions: m.Versions, Genesis: m.Genesis[:], Features: m.Features, Agent: m.Agent}
	return proto.MarshalOptions{Deterministic: true}.Marshal(pb)
}

func encodeOpen(m *channel.Open) []byte {
	b := putBytes(nil, 1, m.Nonce[:])
	b = putUint(b, 2, uint64(m.Deposit))
	b = putUint(b, 3, uint64(m.PeerDeposit))
	b = putUint(b, 4, uint64(m.Expiry))
	b = putUint(b, 5, uint64(m.PeerExpiry))
	b = putBytes(b, 6, m.Payer[:])
	b = putBytes(b, 7, m.Refund[:])
	b = putOptional(b, 8, m.Payee[:])
	b = putUint(b, 9, uint64(m.Tip))
	b = putUint(b, 10, uint64(m.MaxUnacked))
	b = putUint(b, 11, uint64(m.Window))
	return putUint(b, 12, uint64(m.Confirmations))
}

func encodeAccept(m *channel.Accept) []byte {
	b := putBytes(nil, 1, m.Channel[:])
	b = putBytes(b, 2, m.Payee[:])
	b = putOptional(b, 3, m.Payer[:])
	b = putOptional(b, 4, m.Refund[:])
	b = putUint(b, 5, uint64(m.PeerDeposit))
	b = putUint(b, 6, uint64(m.Confirmations))
	b = putUint(b, 7, uint64(m.MaxUnacked))
	return putUint(b, 8, uint64(m.Window))
}

func encodeResync(m *channel.Resync) []byte {
	b := putBytes(nil, 1, m.Channel[:])
	b = putUint(b, 2, uint64(m.Phase))
	b = putReport(b, 3, &m.In)
	if m.Funding != (channel.Outpoint{}) {
		b = putOutpoint(b, 4, m.Funding)
	}
	b = putBool(b, 5, m.Ready)
	b = putUint(b, 6, m.Acked)
	return putUint(b, 7, m.Draws)
}

// putReport leaves out the report of a lane that does not exist.
func putReport(b []byte, num protowire.Number, m *channel.LaneReport) []byte {
	if *m == (channel.LaneReport{}) {
		return b
	}
	b, at := begin(b, num)
	b = putUint(b, 1, m.NextSeq)
	b = putUint(b, 2, uint64(m.Total))
	b = putUint(b, 3, uint64(m.Spent))
	b = putOptional(b, 4, m.Signature[:])
	b = putOptional(b, 5, m.Hash[:])
	b = putUint(b, 6, m.Draws)
	b = putUint(b, 7, uint64(m.Drawn))
	b = putOptional(b, 8, m.DrawHash[:])
	return end(b, at)
}

func putLog(b []byte, num protowire.Number, m *channel.LogRoot) []byte {
	b, at := begin(b, num)
	b = putBytes(b, 1, m.Lane[:])
	b = putUint(b, 2, m.Size)
	b = putUint(b, 3, uint64(m.Total))
	b = putUint(b, 4, uint64(m.Spent))
	b = putBytes(b, 5, m.Hash[:])
	b = putBytes(b, 6, m.Root[:])
	b = putUint(b, 7, m.Time)
	return end(b, at)
}

func putOutpoint(b []byte, num protowire.Number, m channel.Outpoint) []byte {
	b, at := begin(b, num)
	b = putBytes(b, 1, m.TxID[:])
	b = putUint(b, 2, uint64(m.Index))
	return end(b, at)
}

func putNonces(b []byte, num protowire.Number, list [][66]byte) []byte {
	for i := range list {
		b = putBytes(b, num, list[i][:])
	}
	return b
}

func putOptionalBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return putBytes(b, num, v)
}
