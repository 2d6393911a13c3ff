package wire

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// One target for each message; its input is what the envelope holds. What is accepted must re-encode
// to the same bytes, and nothing may panic. Run one with: go test -fuzz FuzzFrame ./wire

func FuzzHello(f *testing.F)      { fuzzMessage(f, numHello, "hello") }
func FuzzError(f *testing.F)      { fuzzMessage(f, numError, "error") }
func FuzzOpen(f *testing.F)       { fuzzMessage(f, numOpen, "open") }
func FuzzAccept(f *testing.F)     { fuzzMessage(f, numAccept, "accept") }
func FuzzRefuse(f *testing.F)     { fuzzMessage(f, numRefuse, "refuse") }
func FuzzFunded(f *testing.F)     { fuzzMessage(f, numFunded, "funded") }
func FuzzReady(f *testing.F)      { fuzzMessage(f, numReady, "ready") }
func FuzzFrame(f *testing.F)      { fuzzMessage(f, numFrame, "frame") }
func FuzzAck(f *testing.F)        { fuzzMessage(f, numAck, "ack") }
func FuzzResync(f *testing.F)     { fuzzMessage(f, numResync, "resync") }
func FuzzStop(f *testing.F)       { fuzzMessage(f, numStop, "stop") }
func FuzzCloseOffer(f *testing.F) { fuzzMessage(f, numCloseOffer, "close_offer") }
func FuzzCloseSign(f *testing.F)  { fuzzMessage(f, numCloseSign, "close_sign") }
func FuzzCloseDone(f *testing.F)  { fuzzMessage(f, numCloseDone, "close_done") }
func FuzzNewest(f *testing.F)     { fuzzMessage(f, numNewest, "newest") }

func FuzzRoot(f *testing.F)        { fuzzMessage(f, numRoot, "root") }
func FuzzRootAck(f *testing.F)     { fuzzMessage(f, numRootAck, "root_ack") }
func FuzzRootRequest(f *testing.F) { fuzzMessage(f, numRootRequest, "root_request") }

func FuzzReturnOffer(f *testing.F) { fuzzMessage(f, numReturnOffer, "return_offer") }
func FuzzReturnSign(f *testing.F)  { fuzzMessage(f, numReturnSign, "return_sign") }

func fuzzMessage(f *testing.F, num protowire.Number, kind string) {
	for _, s := range samples() {
		if s.kind != kind {
			continue
		}
		b, err := Encode(s.msg)
		if err != nil {
			f.Fatal(err)
		}
		_, _, n := protowire.ConsumeTag(b)
		body, _ := protowire.ConsumeBytes(b[n:])
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) { mustBeCanonical(t, putBytes(nil, num, body)) })
}

// FuzzDecode is for the envelope itself.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		b, err := Encode(s.msg)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { mustBeCanonical(t, b) })
}
