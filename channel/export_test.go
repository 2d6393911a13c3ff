package channel

import (
	"encoding/json"
	"fmt"
)

// Snapshot writes out all of a state, so that tests see whether anything of it was changed.
func Snapshot(s State) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	hidden, err := json.Marshal([]any{s.signing, s.checking})
	if err != nil {
		panic(err)
	}
	return fmt.Sprint(string(b), string(hidden), s.funding, s.fresh, s.asked, s.again, s.payout, s.blind, s.there)
}
