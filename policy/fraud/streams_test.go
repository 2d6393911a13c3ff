package fraud

import (
	"encoding/csv"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/runnel/runnel/channel"
)

const startMs = int64(1_770_000_000_000)

// profile makes a day of honest payments, at most 3,000.
type profile func(r *rand.Rand) []Event

func profiles(trace []Event) map[string]profile {
	list := map[string]profile{"requests": requests, "subscription": subscription, "person": person, "batches": batches}
	if len(trace) > 0 {
		list["trace"] = func(r *rand.Rand) []Event { // a piece of the real one, from a random place
			at := r.IntN(len(trace) - 5000)
			piece := append([]Event(nil), trace[at:at+5000]...)
			for i := range piece {
				piece[i].Time += startMs - trace[at].Time
			}
			return piece
		}
	}
	return list
}

// requests have the shape of the trace: amounts are log-normal, gaps exponential with busy and quiet hours.
func requests(r *rand.Rand) (list []Event) {
	now, price := startMs, 50+r.Float64()*200
	for len(list) < 2500 && now < startMs+dayMs {
		busy := 1.2 + math.Sin(float64(now-startMs)/dayMs*2*math.Pi)
		now += int64(r.ExpFloat64() * 60_000 / (3 * busy))
		list = append(list, Event{now, Paid, channel.Msat(1 + price*math.Exp(r.NormFloat64()))})
	}
	return list
}

func subscription(r *rand.Rand) (list []Event) {
	price, every := channel.Msat(1000+r.IntN(50_000)), int64(60_000+r.IntN(600_000))
	for now := startMs; now < startMs+dayMs; now += every + r.Int64N(2000) {
		list = append(list, Event{now, Paid, price})
	}
	return list
}

func person(r *rand.Rand) (list []Event) {
	for now := startMs; now < startMs+dayMs; now += int64(r.ExpFloat64() * 900_000) {
		list = append(list, Event{now, Paid, channel.Msat(500*math.Exp(2*r.NormFloat64())) + 1})
	}
	return list
}

// batches are jobs that begin and end: some hundred payments at once, then nothing.
func batches(r *rand.Rand) (list []Event) {
	price := 100 + r.Float64()*1000
	for now := startMs; now < startMs+dayMs; now += 3_600_000 + r.Int64N(3_600_000) {
		for at, n := now, 50+r.IntN(100); n > 0; n-- {
			at += 100 + r.Int64N(900)
			list = append(list, Event{at, Paid, channel.Msat(price * (0.8 + 0.4*r.Float64()))})
		}
	}
	return list
}

// loadTrace reads the trace of requests, one payment of a generated token's price each.
func loadTrace(path string) (list []Event) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil
	}
	for _, row := range rows[1:] {
		at, err := time.Parse("2006-01-02 15:04:05", row[0])
		tokens, err2 := strconv.Atoi(row[2])
		if err == nil && err2 == nil {
			list = append(list, Event{at.UnixMilli(), Paid, channel.Msat(20*tokens + 1)})
		}
	}
	return list
}

// attack appends to an honest history what an attacker does, for six hours at most.
type attack func(r *rand.Rand, past []Event) []Event

// heldOut are not seen by the tuning.
var heldOut = map[string]bool{"drained slowly": true, "price jumps": true}

func attacks() map[string]attack {
	return map[string]attack{
		"drained fast": func(r *rand.Rand, p []Event) []Event {
			return pays(r, p, 2000, 200, func(int) float64 { return 1_000_000 })
		},
		"drained slowly": func(r *rand.Rand, p []Event) []Event {
			return pays(r, p, 300, 60_000, func(int) float64 { return 20 * typical(p) })
		},
		"knows the thresholds": func(r *rand.Rand, p []Event) []Event {
			return pays(r, p, 600, 30_000, func(int) float64 { return 2 * typical(p) })
		},
		"many small at once": func(r *rand.Rand, p []Event) []Event {
			return pays(r, p, 3000, 20, func(int) float64 { return typical(p) })
		},
		"prices rise by steps": func(r *rand.Rand, p []Event) []Event {
			return pays(r, p, 400, 30_000, func(i int) float64 { return typical(p) * math.Pow(1.02, float64(i)) })
		},
		"price jumps": func(r *rand.Rand, p []Event) []Event {
			return pays(r, p, 100, 60_000, func(int) float64 { return 200 * typical(p) })
		},
		"replays":               func(r *rand.Rand, p []Event) []Event { return strikes(r, p, Replay, 20, 60_000) },
		"spoofed resync":        func(r *rand.Rand, p []Event) []Event { return strikes(r, p, BadResync, 20, 300_000) },
		"wrong vouchers":        func(r *rand.Rand, p []Event) []Event { return strikes(r, p, BadVoucher, 20, 60_000) },
		"lower vouchers":        func(r *rand.Rand, p []Event) []Event { return strikes(r, p, LowVoucher, 20, 60_000) },
		"opens without funding": func(r *rand.Rand, p []Event) []Event { return strikes(r, p, DeadOpen, 20, 600_000) },
		"double-spent funding":  func(r *rand.Rand, p []Event) []Event { return strikes(r, p, DoubleSpend, 1, 60_000) },
		"probes the approvals":  func(r *rand.Rand, p []Event) []Event { return strikes(r, p, Denied, 10, 600_000) },
	}
}

// typical is the geometric mean of what was paid.
func typical(past []Event) float64 {
	var sum float64
	for _, e := range past {
		sum += math.Log(float64(e.Amount))
	}
	return math.Exp(sum / float64(max(len(past), 1)))
}

func pays(r *rand.Rand, past []Event, n int, gap int64, amount func(int) float64) (list []Event) {
	now := past[len(past)-1].Time
	for i := range n {
		now += gap/2 + r.Int64N(gap)
		list = append(list, Event{now, Paid, channel.Msat(min(max(amount(i)*(0.9+0.2*r.Float64()), 1), 1_000_000))})
	}
	return list
}

func strikes(r *rand.Rand, past []Event, k Kind, n int, gap int64) (list []Event) {
	now := past[len(past)-1].Time
	for range n {
		now += gap/2 + r.Int64N(gap)
		list = append(list, Event{Time: now, Kind: k})
	}
	return list
}
