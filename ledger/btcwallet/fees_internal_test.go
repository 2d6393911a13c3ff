package btcwallet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/ledger"
)

func TestParseFees(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   map[uint32]ledger.FeeRate // by target that is asked for
	}{
		"esplora":          {`{"1": 87.882, "2": 87.882, "6": 12.5, "144": 1.027, "1008": 1.0}`, map[uint32]ledger.FeeRate{0: 87_882, 1: 87_882, 3: 87_882, 6: 12_500, 143: 12_500, 144: 1027, 5000: 1000}},
		"mempool.space":    {`{"fastestFee":23,"halfHourFee":20,"hourFee":17,"economyFee":4,"minimumFee":2}`, map[uint32]ledger.FeeRate{1: 23_000, 2: 23_000, 3: 20_000, 6: 17_000, 100: 17_000, 144: 4000}},
		"lnd":              {`{"fee_by_block_target":{"2":5076,"6":4228},"min_relay_feerate":1000}`, map[uint32]ledger.FeeRate{1: 5076, 2: 5076, 6: 4228}},
		"only long":        {`{"25": 3.1}`, map[uint32]ledger.FeeRate{1: 3100, 30: 3100}},
		"rounded up":       {`{"1": 1.0001}`, map[uint32]ledger.FeeRate{1: 1001}},
		"others passed by": {`{"1": 2, "note": "hello", "0": -1, "99999999": 5, "minimumFee": null}`, map[uint32]ledger.FeeRate{1: 2000}},
	} {
		table, err := parseFees([]byte(c.answer))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for target, want := range c.want {
			if got := table.rate(target); got != want {
				t.Errorf("%s: %d sat/kvB within %d blocks, want %d", name, got, target, want)
			}
		}
	}
}

// hostileAnswers are what no honest server says.
func hostileAnswers() map[string]string {
	return map[string]string{
		"huge":           `{"1": 100001, "6": 5}`,
		"just too much":  `{"1": 1000.001}`,
		"infinite":       `{"1": 1e999}`,
		"negative":       `{"1": -3, "6": 5}`,
		"zero":           `{"1": 0}`,
		"NaN":            `{"1": NaN}`,
		"NaN in quotes":  `{"1": "NaN"}`,
		"number as text": `{"1": "12"}`,
		"null":           `{"1": null}`,
		"list":           `[1,2,3]`,
		"number":         `12`,
		"nothing":        ``,
		"empty":          `{}`,
		"unknown names":  `{"fee": 12}`,
		"html":           `<!DOCTYPE html><html><body>429</body></html>`,
		"two objects":    `{"1": 2}{"1": 3}`,
		"inner list":     `{"fee_by_block_target": [1]}`,
		"inner huge":     `{"fee_by_block_target": {"1": 1000001}}`,
		"too long":       `{"1": 2, "x": "` + strings.Repeat("x", maxFeeAnswer) + `"}`,
		"deep":           `{"1": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
	}
}

// feeServer answers with what f writes.
func feeServer(t *testing.T, f http.HandlerFunc) *feeURL {
	t.Helper()
	s := httptest.NewServer(f)
	ctx, cancel := context.WithCancel(context.Background())
	u := newFeeURL(ctx, s.URL+"/secret?key=hush", slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		cancel()
		u.work.stop()
		s.CloseClientConnections()
		s.Close()
	})
	return u
}

func TestFeeURLHostileAnswers(t *testing.T) {
	for name, answer := range hostileAnswers() {
		u := feeServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) })
		if rate, ok := u.rate(t.Context(), 6); ok {
			t.Errorf("%s: taken as %d", name, rate)
		}
		if u.why == "" || strings.Contains(u.why, "hush") || len(u.why) > 300 {
			t.Errorf("%s: the log is told %q", name, u.why)
		}
	}
}

func TestFeeURLHostileServers(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	for name, c := range map[string]struct {
		f    http.HandlerFunc
		says string
	}{
		"redirect to a file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "redirects"},
		"redirect to elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://10.0.0.1/", http.StatusMovedPermanently)
		}, "redirects"},
		"error":          {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); io.WriteString(w, `{"1": 2}`) }, "answers 500"},
		"no content":     {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, "answers 204"},
		"endless":        {endless, "more than"},
		"endless header": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, "header"},
		"cut off": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "50")
			io.WriteString(w, `{"1": 2}`)
		}, "EOF"},
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-end:
			case <-r.Context().Done():
			}
		}, ""},
	} {
		u := feeServer(t, c.f)
		if name == "slow" {
			u.http.Timeout = 50 * time.Millisecond
		}
		if rate, ok := u.rate(t.Context(), 6); ok {
			t.Errorf("%s: taken as %d", name, rate)
		}
		if !strings.Contains(u.why, c.says) || u.why == "" || strings.Contains(u.why, "hush") {
			t.Errorf("%s: the log is told %q, want %q", name, u.why, c.says)
		}
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	for {
		if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
			return
		}
	}
}

// An answer is asked for once a minute, stands for an hour while the server is silent, and not longer.
func TestFeeURLKeepsAnswers(t *testing.T) {
	var asked int
	good := true
	u := feeServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		if !good {
			w.WriteHeader(503)
			return
		}
		fmt.Fprintf(w, `{"1": %d}`, asked)
	})
	clock := time.Now()
	u.now = func() time.Time { return clock }
	step := func(passes time.Duration, wantAsked int, want ledger.FeeRate, wantOK bool) {
		t.Helper()
		clock = clock.Add(passes)
		u.rate(t.Context(), 1)
		u.work.wait(t.Context())
		if rate, ok := u.rate(t.Context(), 1); rate != want || ok != wantOK || asked != wantAsked {
			t.Fatalf("%d, %v after %d questions; want %d, %v after %d", rate, ok, asked, want, wantOK, wantAsked)
		}
	}
	step(0, 1, 1000, true)
	step(feeRefresh-1, 1, 1000, true)
	step(1, 2, 2000, true)
	good = false
	step(feeRefresh, 3, 2000, true)
	step(feeKeep-feeRefresh, 4, 2000, true)
	step(1, 4, 0, false)
	good = true
	step(feeRefresh, 5, 5000, true)
}

func TestCheckFeeURL(t *testing.T) {
	for _, good := range []string{"https://mempool.space/api/v1/fees/recommended", "http://127.0.0.1:3000/fee-estimates", "http://localhost/x", "http://[::1]:80/"} {
		if err := CheckFeeURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "mempool.space", "http://mempool.space/x", "http://10.0.0.1/", "file:///etc/passwd", "https://", "https:///x",
		"https://user:pass@example.com/", "ftp://example.com/", "http://localhost.example.com/", "://", "https://exa mple/"} {
		if err := CheckFeeURL(bad); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPaidRate(t *testing.T) {
	params := &chaincfg.MainNetParams
	const height = 900_000
	block := func(fees int64, txs int) *wire.MsgBlock {
		b := wire.NewMsgBlock(&wire.BlockHeader{})
		coinbase := wire.NewMsgTx(1)
		coinbase.AddTxIn(wire.NewTxIn(&wire.OutPoint{}, nil, nil))
		reward := blockchain.CalcBlockSubsidy(height, params) + fees
		coinbase.AddTxOut(wire.NewTxOut(reward-10, nil))
		coinbase.AddTxOut(wire.NewTxOut(10, nil))
		b.AddTransaction(coinbase)
		for range txs {
			tx := wire.NewMsgTx(2)
			tx.AddTxOut(wire.NewTxOut(1, make([]byte, 188)))
			b.AddTransaction(tx) // 10 + 9 + 188 + some bytes without a witness
		}
		return b
	}
	size := int64(block(0, 1).Transactions[1].SerializeSize())
	for _, c := range []struct {
		fees int64
		txs  int
		want ledger.FeeRate
	}{{0, 3, 0}, {-5, 3, 0}, {1000, 0, 0}, {3 * 7 * size, 3, 7000}, {3*7*size + 1, 3, 7002}, {1, 1000, 1}} {
		if got := paidRate(block(c.fees, c.txs), height, params); got != c.want {
			t.Errorf("%d sat for %d transactions: %d, want %d", c.fees, c.txs, got, c.want)
		}
	}
}
