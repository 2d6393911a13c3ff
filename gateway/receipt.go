package gateway

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/runnel/runnel/channel"
)

// Receipt is what a paid answer carries in Payment-Receipt, and a stream of events in its last event.
type Receipt struct {
	Method      string
	Intent      string
	Time        time.Time
	Reference   string // channel and n: the payee's name for the draw
	ChallengeID string
	Channel     channel.ID
	Accepted    channel.Msat // vouchered on the lane
	Spent       channel.Msat // of that
	N           uint64       // the draw
	Amount      channel.Msat // what it took
	Units       uint64       // for which
}

type receiptJSON struct {
	Status      string `json:"status"`
	Method      string `json:"method"`
	Intent      string `json:"intent,omitempty"`
	Timestamp   string `json:"timestamp"`
	Reference   string `json:"reference"`
	ChallengeID string `json:"challengeId,omitempty"`
	ChannelID   string `json:"channelId,omitempty"`
	Accepted    string `json:"acceptedCumulative,omitempty"`
	Spent       string `json:"spent,omitempty"`
	N           string `json:"n,omitempty"`
	Amount      string `json:"amount,omitempty"`
	Units       string `json:"units,omitempty"`
}

const statusSuccess = "success"

func (r *Receipt) json() *receiptJSON {
	return &receiptJSON{
		Status: statusSuccess, Method: r.Method, Intent: r.Intent, Timestamp: r.Time.UTC().Format(time.RFC3339), Reference: r.Reference,
		ChallengeID: r.ChallengeID, ChannelID: FormatChannel(r.Channel), Accepted: formatMsat(r.Accepted), Spent: formatMsat(r.Spent),
		N: strconv.FormatUint(r.N, 10), Amount: formatMsat(r.Amount), Units: strconv.FormatUint(r.Units, 10),
	}
}

// Header is the receipt as the value of Payment-Receipt.
func (r *Receipt) Header() (string, error) { return encodeObject(r.json()) }

// ParseReceipt reads the value of Payment-Receipt, of any method; what other methods leave away stays zero.
func ParseReceipt(header string) (*Receipt, error) {
	if len(header) > MaxHeader {
		return nil, fmt.Errorf("a receipt of %d bytes is above %d", len(header), MaxHeader)
	}
	var j receiptJSON
	if err := decodeObject(header, &j); err != nil {
		return nil, fmt.Errorf("the receipt: %w", err)
	}
	return j.parse()
}

// ParseReceiptEvent reads the data of the event payment-receipt.
func ParseReceiptEvent(data []byte) (*Receipt, error) {
	var j receiptJSON
	if err := decodeJSON(data, &j); err != nil {
		return nil, fmt.Errorf("the receipt: %w", err)
	}
	return j.parse()
}

func (j *receiptJSON) parse() (*Receipt, error) {
	at, err := time.Parse(time.RFC3339, j.Timestamp)
	switch {
	case j.Status != statusSuccess:
		return nil, fmt.Errorf("the receipt's status is %.20q", j.Status)
	case err != nil:
		return nil, errors.New("the receipt has no time")
	case j.Method == "" || j.Reference == "":
		return nil, errors.New("the receipt has no method or reference")
	}
	r := &Receipt{Method: j.Method, Intent: j.Intent, Time: at, Reference: j.Reference, ChallengeID: j.ChallengeID}
	if j.Method != Method {
		return r, nil
	}
	p := parser{}
	r.Channel, r.N = p.channel("channelId", j.ChannelID), p.number("n", j.N)
	r.Accepted, r.Spent = p.msat("acceptedCumulative", j.Accepted), p.msat("spent", j.Spent)
	r.Amount, r.Units = p.msat("amount", j.Amount), p.number("units", j.Units)
	if p.err != nil {
		return nil, fmt.Errorf("the receipt: %w", p.err)
	}
	return r, nil
}

// Names of the events that the gateway puts between those of a stream.
const (
	EventNeedVoucher = "payment-need-voucher"
	EventReceipt     = "payment-receipt"
)

// NeedVoucher is the data of payment-need-voucher: a stream waits for more.
type NeedVoucher struct {
	Channel  channel.ID
	N        uint64       // the draw that runs: an authorisation raises it
	Max      channel.Msat // what N has to be allowed to take so that the stream goes on
	Required channel.Msat // cumulative: the least voucher that lets it go on
	Accepted channel.Msat
	Deposit  channel.Msat // the most that can be vouchered on the lane
}

type needVoucherJSON struct {
	ChannelID string `json:"channelId"`
	N         string `json:"n"`
	Max       string `json:"max"`
	Required  string `json:"requiredCumulative"`
	Accepted  string `json:"acceptedCumulative"`
	Deposit   string `json:"deposit"`
}

// Encode is the event's data.
func (n *NeedVoucher) Encode() ([]byte, error) {
	return Canonical(&needVoucherJSON{FormatChannel(n.Channel), strconv.FormatUint(n.N, 10), formatMsat(n.Max), formatMsat(n.Required), formatMsat(n.Accepted), formatMsat(n.Deposit)})
}

// ParseNeedVoucher reads the event's data.
func ParseNeedVoucher(data []byte) (*NeedVoucher, error) {
	var j needVoucherJSON
	if err := decodeJSON(data, &j); err != nil {
		return nil, fmt.Errorf("%s: %w", EventNeedVoucher, err)
	}
	p := parser{}
	n := &NeedVoucher{Channel: p.channel("channelId", j.ChannelID), N: p.number("n", j.N), Max: p.msat("max", j.Max),
		Required: p.msat("requiredCumulative", j.Required), Accepted: p.msat("acceptedCumulative", j.Accepted), Deposit: p.msat("deposit", j.Deposit)}
	if p.err != nil {
		return nil, fmt.Errorf("%s: %w", EventNeedVoucher, p.err)
	}
	return n, nil
}
