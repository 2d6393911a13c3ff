package wire

import (
	"bytes"
	"fmt"
	"math"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/wire/wirepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Decode returns the message that b holds: a pointer to a type of package channel, *Hello or *Error.
// It shares no memory with b. Errors are ErrTooLong and ErrMalformed.
func Decode(b []byte) (Message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLong, len(b), MaxMessage)
	}
	r := newReader("envelope", b)
	num := r.num
	if num < numHello || num > numReturnSign || num == numReserved {
		r.fail("unknown message")
	}
	body := r.bytes(num, "message")
	if err := r.end(); err != nil {
		return nil, err
	}
	if limit := limitOf(num); len(body) > limit {
		return nil, fmt.Errorf("%w: message %d has %d bytes, at most %d are allowed", ErrTooLong, num, len(body), limit)
	}
	return decodeBody(num, body)
}

func limitOf(num protowire.Number) int {
	switch num {
	case numHello:
		return MaxHello
	case numFrame, numAck:
		return MaxMessage
	case numCloseDone:
		return MaxCloseTx + 64
	}
	return MaxCold
}

func decodeBody(num protowire.Number, b []byte) (Message, error) {
	switch num {
	case numFrame:
		return result(decodeFrame(b))
	case numAck:
		return result(decodeAck(b))
	case numHello:
		return result(decodeHello(b))
	case numError:
		return result(decodeError(b))
	case numOpen:
		return result(decodeOpen(b))
	case numAccept:
		return result(decodeAccept(b))
	case numRefuse:
		return result(decodeRefuse(b))
	case numFunded:
		return result(decodeFunded(b))
	case numReady:
		return result(decodeReady(b))
	case numResync:
		return result(decodeResync(b))
	case numStop:
		return result(decodeStop(b))
	case numCloseOffer:
		return result(decodeCloseOffer(b))
	case numCloseSign:
		return result(decodeCloseSign(b))
	case numNewest:
		return result(decodeNewest(b))
	case numCloseDone:
		return result(decodeCloseDone(b))
	case numRoot:
		return result(decodeRoot(b))
	case numRootAck:
		return result(decodeRootAck(b))
	case numRootRequest:
		return result(decodeRootRequest(b))
	case numDraws:
		return result(decodeDraws(b))
	case numDrawsAck:
		return result(decodeDrawsAck(b))
	case numDrawsVoid:
		return result(decodeDrawsVoid(b))
	case numReturnOffer:
		return result(decodeReturnOffer(b))
	default:
		return result(decodeReturnSign(b))
	}
}

// result drops what was decoded when there is an error.
func result[M any](m *M, err error) (Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

// decodeHello accepts fields that it does not know, behind those that it knows.
func decodeHello(b []byte) (*Hello, error) {
	var pb wirepb.Hello
	if err := proto.Unmarshal(b, &pb); err != nil {
		return nil, malformed("hello: %v", err)
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb)
	if err != nil || !bytes.Equal(again, b) {
		return nil, malformed("hello is not in the canonical encoding")
	}
	if len(pb.Genesis) != 32 {
		return nil, malformed("hello: genesis has %d bytes, want 32", len(pb.Genesis))
	}
	m := &Hello{Versions: pb.Versions, Genesis: [32]byte(pb.Genesis), Features: pb.Features, Agent: pb.Agent}
	return m, checkHello(m)
}

func decodeError(b []byte) (*Error, error) {
	r := newReader("error", b)
	m := &Error{
		Code: r.string(1, "code", MaxCodeBytes),
		Text: r.string(2, "text", channel.MaxTextBytes),
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkError(m)
}

func decodeOpen(b []byte) (*channel.Open, error) {
	m := new(channel.Open)
	r := newReader("open", b)
	r.fixed(1, "nonce", m.Nonce[:])
	m.Deposit = channel.Sat(r.uint64(2, "deposit_sat"))
	m.PeerDeposit = channel.Sat(r.uint64(3, "peer_deposit_sat"))
	m.Expiry = r.uint32(4, "expiry")
	m.PeerExpiry = r.uint32(5, "peer_expiry")
	r.fixed(6, "payer", m.Payer[:])
	r.fixed(7, "refund", m.Refund[:])
	r.optional(8, "payee", m.Payee[:])
	m.Tip = r.uint32(9, "tip")
	m.MaxUnacked = channel.Msat(r.uint64(10, "max_unacked_msat"))
	m.Window = r.uint32(11, "window")
	m.Confirmations = r.uint32(12, "confirmations")
	return m, r.end()
}

func decodeAccept(b []byte) (*channel.Accept, error) {
	m := new(channel.Accept)
	r := newReader("accept", b)
	r.fixed(1, "channel", m.Channel[:])
	r.fixed(2, "payee", m.Payee[:])
	r.optional(3, "payer", m.Payer[:])
	r.optional(4, "refund", m.Refund[:])
	m.PeerDeposit = channel.Sat(r.uint64(5, "peer_deposit_sat"))
	m.Confirmations = r.uint32(6, "confirmations")
	m.MaxUnacked = channel.Msat(r.uint64(7, "max_unacked_msat"))
	m.Window = r.uint32(8, "window")
	return m, r.end()
}

func decodeRefuse(b []byte) (*channel.Refuse, error) {
	m := new(channel.Refuse)
	r := newReader("refuse", b)
	r.fixed(1, "channel", m.Channel[:])
	m.Code = r.string(2, "code", MaxCodeBytes)
	m.Text = r.string(3, "text", channel.MaxTextBytes)
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkRefuse(m)
}

func decodeFunded(b []byte) (*channel.Funded, error) {
	m := new(channel.Funded)
	r := newReader("funded", b)
	r.fixed(1, "lane", m.Lane[:])
	if !r.is(2) {
		r.fail("funding is missing")
	}
	m.Funding = r.outpoint(2, "funding")
	return m, r.end()
}

func decodeReady(b []byte) (*channel.Ready, error) {
	m := new(channel.Ready)
	r := newReader("ready", b)
	r.fixed(1, "lane", m.Lane[:])
	return m, r.end()
}

func decodeResync(b []byte) (*channel.Resync, error) {
	m := new(channel.Resync)
	r := newReader("resync", b)
	r.fixed(1, "channel", m.Channel[:])
	m.Phase = channel.Phase(r.max(2, "phase", math.MaxUint8))
	m.In = r.report(3, "in")
	if r.is(4) {
		if m.Funding = r.outpoint(4, "funding"); m.Funding == (channel.Outpoint{}) {
			r.fail("funding is zero and should be left out")
		}
	}
	m.Ready = r.bool(5, "ready")
	m.Acked = r.uint64(6, "acked")
	m.Draws = r.uint64(7, "draws")
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkResync(m)
}

func decodeNewest(b []byte) (*channel.Newest, error) {
	m := new(channel.Newest)
	r := newReader("newest", b)
	r.fixed(1, "lane", m.Lane[:])
	m.Out = r.report(2, "out")
	return m, r.end()
}

func decodeStop(b []byte) (*channel.Stop, error) {
	m := new(channel.Stop)
	r := newReader("stop", b)
	r.fixed(1, "channel", m.Channel[:])
	m.In = r.report(2, "in")
	m.Payout = r.some(3, "payout", channel.MaxPayoutScript)
	return m, r.end()
}

func decodeCloseOffer(b []byte) (*channel.CloseOffer, error) {
	m := new(channel.CloseOffer)
	r := newReader("close_offer", b)
	r.fixed(1, "channel", m.Channel[:])
	r.fixed(2, "attempt", m.Attempt[:])
	m.Fee = channel.Sat(r.uint64(3, "fee_sat"))
	m.Nonces = r.nonces(4)
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkInputs("close_offer.nonces", len(m.Nonces))
}

func decodeCloseSign(b []byte) (*channel.CloseSign, error) {
	m := new(channel.CloseSign)
	r := newReader("close_sign", b)
	r.fixed(1, "channel", m.Channel[:])
	r.fixed(2, "attempt", m.Attempt[:])
	m.Nonces = r.nonces(3)
	for r.is(4) && len(m.Partials) < channel.MaxCloseInputs {
		var partial [32]byte
		r.fixed(4, "partials", partial[:])
		m.Partials = append(m.Partials, partial)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkCloseSign(m)
}

func decodeCloseDone(b []byte) (*channel.CloseDone, error) {
	m := new(channel.CloseDone)
	r := newReader("close_done", b)
	r.fixed(1, "channel", m.Channel[:])
	m.Tx = r.some(2, "tx", MaxCloseTx)
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkCloseDone(m)
}

func decodeRoot(b []byte) (*channel.Root, error) {
	m := new(channel.Root)
	r := newReader("root", b)
	m.Log = r.log(1)
	r.fixed(2, "signature", m.Signature[:])
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkLog(&m.Log)
}

func decodeRootAck(b []byte) (*channel.RootAck, error) {
	m := new(channel.RootAck)
	r := newReader("root_ack", b)
	m.Log = r.log(1)
	r.fixed(2, "payee", m.Payee[:])
	r.fixed(3, "payer", m.Payer[:])
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkLog(&m.Log)
}

func decodeRootRequest(b []byte) (*channel.RootRequest, error) {
	m := new(channel.RootRequest)
	r := newReader("root_request", b)
	r.fixed(1, "lane", m.Lane[:])
	return m, r.end()
}

func decodeDraws(b []byte) (*channel.Draws, error) {
	m := new(channel.Draws)
	r := newReader("draws", b)
	r.fixed(1, "lane", m.Lane[:])
	m.FirstSeq = r.uint64(2, "first_seq")
	for r.is(3) && len(m.Draws) < channel.MaxReportDraws {
		in := newReader("draws.draws", r.bytes(3, "draws"))
		d := channel.Draw{N: in.uint64(1, "n"), Amount: channel.Msat(in.uint64(2, "amount"))}
		r.adopt(in.end())
		m.Draws = append(m.Draws, d)
	}
	r.fixed(4, "hash", m.Hash[:])
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkDraws(m)
}

func decodeDrawsAck(b []byte) (*channel.DrawsAck, error) {
	m := new(channel.DrawsAck)
	r := newReader("draws_ack", b)
	r.fixed(1, "lane", m.Lane[:])
	m.Count = r.uint64(2, "count")
	return m, r.end()
}

func decodeDrawsVoid(b []byte) (*channel.DrawsVoid, error) {
	m := new(channel.DrawsVoid)
	r := newReader("draws_void", b)
	r.fixed(1, "lane", m.Lane[:])
	for r.is(2) && len(m.N) < channel.MaxReportDraws {
		m.N = append(m.N, r.uint64(2, "n"))
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkDrawsVoid(m)
}

func decodeReturnOffer(b []byte) (*channel.ReturnOffer, error) {
	m := new(channel.ReturnOffer)
	r := newReader("return_offer", b)
	r.fixed(1, "channel", m.Channel[:])
	r.fixed(2, "attempt", m.Attempt[:])
	if !r.is(3) {
		r.fail("output is missing")
	}
	m.Output = r.outpoint(3, "output")
	m.Value = channel.Sat(r.uint64(4, "value_sat"))
	m.Fee = channel.Sat(r.uint64(5, "fee_sat"))
	m.Payout = r.some(6, "payout", channel.MaxPayoutScript)
	r.fixed(7, "nonce", m.Nonce[:])
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, checkReturnOffer(m)
}

func decodeReturnSign(b []byte) (*channel.ReturnSign, error) {
	m := new(channel.ReturnSign)
	r := newReader("return_sign", b)
	r.fixed(1, "channel", m.Channel[:])
	r.fixed(2, "attempt", m.Attempt[:])
	r.fixed(3, "nonce", m.Nonce[:])
	r.fixed(4, "partial", m.Partial[:])
	return m, r.end()
}

func (r *reader) log(num protowire.Number) (m channel.LogRoot) {
	if !r.is(num) {
		r.fail("log is missing")
		return m
	}
	in := newReader(r.msg+".log", r.bytes(num, "log"))
	in.fixed(1, "lane", m.Lane[:])
	m.Size = in.uint64(2, "size")
	m.Total = channel.Msat(in.uint64(3, "total"))
	m.Spent = channel.Msat(in.uint64(4, "spent"))
	in.fixed(5, "hash", m.Hash[:])
	in.fixed(6, "root", m.Root[:])
	m.Time = in.uint64(7, "time")
	r.adopt(in.end())
	return m
}

// report reads a lane report, zero when it is absent.
func (r *reader) report(num protowire.Number, name string) (m channel.LaneReport) {
	if !r.is(num) {
		return m
	}
	in := newReader(r.msg+"."+name, r.bytes(num, name))
	m.NextSeq = in.uint64(1, "next_seq")
	m.Total = channel.Msat(in.uint64(2, "total"))
	m.Spent = channel.Msat(in.uint64(3, "spent"))
	in.optional(4, "signature", m.Signature[:])
	in.optional(5, "hash", m.Hash[:])
	m.Draws = in.uint64(6, "draws")
	m.Drawn = channel.Msat(in.uint64(7, "drawn"))
	in.optional(8, "draw_hash", m.DrawHash[:])
	if m == (channel.LaneReport{}) {
		in.fail("empty, should be left out")
	}
	r.adopt(in.end())
	return m
}

func (r *reader) outpoint(num protowire.Number, name string) (m channel.Outpoint) {
	in := newReader(r.msg+"."+name, r.bytes(num, name))
	in.fixed(1, "txid", m.TxID[:])
	m.Index = in.uint32(2, "index")
	r.adopt(in.end())
	return m
}

// nonces reads at most as many as a close has inputs; more are left over and end() refuses them.
func (r *reader) nonces(num protowire.Number) (list [][66]byte) {
	for r.is(num) && len(list) < channel.MaxCloseInputs {
		var nonce [66]byte
		r.fixed(num, "nonces", nonce[:])
		list = append(list, nonce)
	}
	return list
}
