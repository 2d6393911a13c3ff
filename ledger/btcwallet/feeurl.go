package btcwallet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/runnel/runnel/ledger"
)

// feeTable holds rates by the number of blocks in which they confirm.
type feeTable map[uint32]ledger.FeeRate

// feeURL asks an HTTP server for estimates. It is somebody else's: what it says is believed only in a known
// shape and within bounds, and an answer that is too old is forgotten.
type feeURL struct {
	url, host string
	http      *http.Client
	log       *slog.Logger
	now       func() time.Time
	work      errand

	mu    sync.Mutex
	table feeTable
	at    time.Time // when table came
	tried time.Time
	why   string // what the log knows of the last failure
}

// CheckFeeURL reports what is wrong with an address of fee estimates.
func CheckFeeURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("%w: fee URL: not an address such as https://example.com/fees", ErrConfig)
	case u.User != nil:
		return fmt.Errorf("%w: fee URL: a user or password in it would stand in the process list", ErrConfig)
	case u.Scheme == "https", u.Scheme == "http" && loopbackHost(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%w: fee URL: only https, or http on this machine: whoever is on the way could make the fees", ErrConfig)
}

var errRedirect = errors.New("the server redirects; name the address that it leads to")

// newFeeURL makes the source for a checked address; ctx ends its work.
func newFeeURL(ctx context.Context, address string, log *slog.Logger) *feeURL {
	f := &feeURL{url: address, log: log, now: time.Now, work: errand{ctx: ctx}}
	if u, err := url.Parse(address); err == nil {
		f.host = u.Host
	}
	f.http = &http.Client{
		Timeout:       feeTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: maxFeeAnswer,
			DialContext: (&net.Dialer{Timeout: feeTimeout}).DialContext, TLSHandshakeTimeout: feeTimeout},
	}
	return f
}

// rate returns what the server says for a target; ok is false while nothing recent is known. It waits only
// where there is nothing at all.
func (f *feeURL) rate(ctx context.Context, blocks uint32) (rate ledger.FeeRate, ok bool) {
	f.mu.Lock()
	due := f.now().Sub(f.tried) >= feeRefresh
	f.mu.Unlock()
	if due {
		f.work.start(f.refresh)
	}
	if table := f.recent(); table != nil {
		return table.rate(blocks), true
	}
	f.work.wait(ctx)
	table := f.recent()
	return table.rate(blocks), table != nil
}

func (f *feeURL) recent() feeTable {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now().Sub(f.at) > feeKeep {
		return nil
	}
	return f.table
}

func (f *feeURL) refresh(ctx context.Context) {
	table, err := f.fetch(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried = f.now()
	if err == nil {
		f.table, f.at, f.why = table, f.tried, ""
		return
	}
	if err.Error() != f.why && ctx.Err() == nil {
		f.log.Warn("no fee estimates from the fee URL; trying again every minute", "host", f.host, "err", err)
		f.why = err.Error()
	}
}

// fetch asks once. Its errors name neither path nor query of the address, which may hold a key.
func (f *feeURL) fetch(ctx context.Context) (feeTable, error) {
	ctx, cancel := context.WithTimeout(ctx, feeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, bare(err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := f.http.Do(req)
	if err != nil {
		return nil, bare(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %d", res.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxFeeAnswer+1))
	if err != nil {
		return nil, bare(err)
	}
	if len(raw) > maxFeeAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxFeeAnswer)
	}
	return parseFees(raw)
}

// bare takes the address off an error of net/http.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// targets of the names that mempool.space gives to its estimates.
func targets() map[string]uint32 {
	return map[string]uint32{"fastestFee": 1, "halfHourFee": 3, "hourFee": 6, "economyFee": 144}
}

// parseFees reads an answer in one of three shapes, the first two in satoshis for a virtual byte:
//
//	{"1": 12.3, "6": 4.5, "144": 1.0}                           by target in blocks (Esplora)
//	{"fastestFee": 12, "halfHourFee": 8, "hourFee": 4}          (mempool.space)
//	{"fee_by_block_target": {"1": 12300, "6": 4500}}            for a thousand virtual bytes (lnd)
//
// Other fields are passed over. One rate that can't be makes the whole answer wrong.
func parseFees(raw []byte) (feeTable, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("the answer is no JSON object of fees: %w", err)
	}
	unit := float64(1000)
	if inner, ok := fields["fee_by_block_target"]; ok {
		fields, unit = nil, 1
		if err := json.Unmarshal(inner, &fields); err != nil {
			return nil, fmt.Errorf("fee_by_block_target is no JSON object of fees: %w", err)
		}
	}
	table := feeTable{}
	for name, value := range fields {
		target, ok := targets()[name]
		if !ok {
			n, err := strconv.ParseUint(name, 10, 16)
			if err != nil || n == 0 {
				continue
			}
			target = uint32(n)
		}
		rate, err := parseRate(value, unit)
		if err != nil {
			return nil, fmt.Errorf("the rate of %q: %w", name, err)
		}
		table[target] = rate
	}
	if len(table) == 0 {
		return nil, errors.New("the answer has no rate under a name that is known")
	}
	return table, nil
}

// parseRate refuses what no market has seen: an estimate above the cap is a mistake or an attack, and the
// recent blocks know better.
func parseRate(value json.RawMessage, unit float64) (ledger.FeeRate, error) {
	var f float64
	if err := json.Unmarshal(value, &f); err != nil || string(value) == "null" {
		return 0, errors.New("not a number")
	}
	perKVB := math.Ceil(f * unit)
	if !(perKVB > 0 && perKVB <= float64(FeeCap)) {
		return 0, fmt.Errorf("outside of 0 to %d sat/vB", FeeCap/1000)
	}
	return ledger.FeeRate(perKVB), nil
}

// rate is that of the longest target that is not above blocks, else of the shortest.
func (t feeTable) rate(blocks uint32) ledger.FeeRate {
	best, found := uint32(0), false
	for target := range t {
		fits := target <= blocks
		switch {
		case !found,
			fits && (best > blocks || target > best),
			!fits && best > blocks && target < best:
			best, found = target, true
		}
	}
	return t[best]
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
