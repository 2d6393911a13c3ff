package channel_test

import (
	"encoding/hex"
	"testing"

	"github.com/runnel/runnel/channel"
)

// The bytes that a binding's code is computed over stay as they are: two nodes must agree on them.
func TestBindingBytes(t *testing.T) {
	b := channel.Binding{Challenge: "c1", Method: "GET", Authority: "api.example", Target: "/v1?x=1", Body: [32]byte{0xb0}, IdempotencyKey: "k", N: 7, Max: 5000, Raise: 3}
	got := hex.EncodeToString(b.Bytes(channel.LaneID{0xaa}, 1026))
	want := "000000026331" + "00000020aa00000000000000000000000000000000000000000000000000000000000000" + "0000000000000402" +
		"00000003474554" + "0000000b6170692e6578616d706c65" + "000000072f76313f783d31" +
		"00000020b000000000000000000000000000000000000000000000000000000000000000" + "000000016b" +
		"0000000000000007" + "0000000000001388" + "0000000000000003"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for name, change := range map[string]func(*channel.Binding){
		"n": func(b *channel.Binding) { b.N++ }, "max": func(b *channel.Binding) { b.Max++ }, "raise": func(b *channel.Binding) { b.Raise++ },
		"a text that moves into the next": func(b *channel.Binding) { b.Challenge, b.Method = "c", "1GET" },
	} {
		c := b
		change(&c)
		if hex.EncodeToString(c.Bytes(channel.LaneID{0xaa}, 1026)) == want {
			t.Errorf("%s is not bound", name)
		}
	}
}
