package gateway

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/runnel/runnel/channel"
)

// CurrencyMsat is the one currency of our method.
const CurrencyMsat = "msat"

// Unit is what one amount pays for.
type Unit string

const (
	UnitRequest Unit = "request"
	UnitByte    Unit = "byte"
	UnitEvent   Unit = "event"
	UnitToken   Unit = "token"
	UnitSecond  Unit = "second"
)

// Request is the request object of a challenge: what is asked, of whom, and how to pay. Amounts are msat.
type Request struct {
	Amount           channel.Msat // for UnitSize units; of a request the most that it can cost
	Unit             Unit
	Recipient        channel.PeerID // who is paid
	SuggestedDeposit channel.Msat   // what a typical client should lock; 0: nothing is suggested
	Details          Details
}

// Details are our method's own part of a request.
type Details struct {
	Network         string
	Addrs           []string     // multiaddrs of the payee's node
	UnitSize        uint64       // units that an amount pays for; at least 1
	Typical         channel.Msat // what a typical request needs: a good highest amount to begin with; 0: the amount
	MinDeposit      channel.Msat
	MinVoucherDelta channel.Msat
	Channel         channel.ID // to resume; zero: none
	Snapshot        *Snapshot  // where the payee's books stand; nil: not told
}

// Snapshot tells a payer who lost something where its lane stands. The signature is the payer's own.
type Snapshot struct {
	Channel   channel.ID
	Accepted  channel.Msat
	Spent     channel.Msat
	Signature channel.Signature
}

type requestJSON struct {
	Amount           string       `json:"amount"`
	Currency         string       `json:"currency"`
	UnitType         Unit         `json:"unitType"`
	Recipient        string       `json:"recipient"`
	SuggestedDeposit string       `json:"suggestedDeposit,omitempty"`
	MethodDetails    *detailsJSON `json:"methodDetails,omitempty"`
}

type detailsJSON struct {
	Network         string        `json:"network,omitempty"`
	Addrs           []string      `json:"multiaddrs,omitempty"`
	UnitSize        string        `json:"unitSize,omitempty"`
	Typical         string        `json:"typicalAmount,omitempty"`
	MinDeposit      string        `json:"minimumDeposit,omitempty"`
	MinVoucherDelta string        `json:"minVoucherDelta,omitempty"`
	ChannelID       string        `json:"channelId,omitempty"`
	Snapshot        *snapshotJSON `json:"sessionSnapshot,omitempty"`
}

type snapshotJSON struct {
	ChannelID string `json:"channelId"`
	Accepted  string `json:"acceptedCumulative"`
	Spent     string `json:"spent"`
	Signature string `json:"signature,omitempty"`
}

// Encode is the request as a challenge carries it.
func (r *Request) Encode() (string, error) {
	d := &r.Details
	j := requestJSON{
		Amount: formatMsat(r.Amount), Currency: CurrencyMsat, UnitType: r.Unit, Recipient: string(r.Recipient),
		SuggestedDeposit: optionalMsat(r.SuggestedDeposit),
		MethodDetails: &detailsJSON{
			Network: d.Network, Addrs: d.Addrs, Typical: optionalMsat(d.Typical), MinDeposit: optionalMsat(d.MinDeposit),
			MinVoucherDelta: optionalMsat(d.MinVoucherDelta),
		},
	}
	if d.UnitSize > 1 {
		j.MethodDetails.UnitSize = strconv.FormatUint(d.UnitSize, 10)
	}
	if d.Channel != (channel.ID{}) {
		j.MethodDetails.ChannelID = FormatChannel(d.Channel)
	}
	if s := d.Snapshot; s != nil {
		j.MethodDetails.Snapshot = &snapshotJSON{FormatChannel(s.Channel), formatMsat(s.Accepted), formatMsat(s.Spent), formatSignature(s.Signature)}
	}
	return encodeObject(&j)
}

// SessionRequest reads the request of a challenge that is of our method and intent.
func (c *Challenge) SessionRequest() (*Request, error) {
	if c.Method != Method || c.Intent != IntentSession {
		return nil, fmt.Errorf("a challenge of the method %.40q with the intent %.40q", c.Method, c.Intent)
	}
	var j requestJSON
	if err := decodeObject(c.Request, &j); err != nil {
		return nil, fmt.Errorf("the challenge's request: %w", err)
	}
	r, err := j.parse()
	if err != nil {
		return nil, fmt.Errorf("the challenge's request: %w", err)
	}
	return r, nil
}

func (j *requestJSON) parse() (*Request, error) {
	p := parser{}
	r := &Request{Amount: p.msat("amount", j.Amount), Unit: j.UnitType, Recipient: channel.PeerID(j.Recipient),
		SuggestedDeposit: p.optional("suggestedDeposit", j.SuggestedDeposit), Details: Details{UnitSize: 1}}
	switch {
	case p.err == nil && r.Amount == 0:
		p.fail(errors.New("amount is 0"))
	case j.Currency != CurrencyMsat:
		p.fail(fmt.Errorf("the currency %.20q is not msat", j.Currency))
	case j.Recipient == "" || j.UnitType == "":
		p.fail(errors.New("recipient or unitType is missing"))
	}
	if j.MethodDetails != nil {
		r.Details = j.MethodDetails.parse(&p)
	}
	return r, p.err
}

func (j *detailsJSON) parse(p *parser) Details {
	d := Details{Network: j.Network, Addrs: j.Addrs, UnitSize: 1, Typical: p.optional("typicalAmount", j.Typical),
		MinDeposit: p.optional("minimumDeposit", j.MinDeposit), MinVoucherDelta: p.optional("minVoucherDelta", j.MinVoucherDelta)}
	if j.UnitSize != "" {
		if d.UnitSize = uint64(p.msat("unitSize", j.UnitSize)); d.UnitSize == 0 {
			p.fail(errors.New("unitSize is 0"))
		}
	}
	if j.ChannelID != "" {
		d.Channel = p.channel("channelId", j.ChannelID)
	}
	if s := j.Snapshot; s != nil {
		d.Snapshot = &Snapshot{Channel: p.channel("sessionSnapshot.channelId", s.ChannelID), Accepted: p.msat("acceptedCumulative", s.Accepted), Spent: p.msat("spent", s.Spent)}
		if s.Signature != "" {
			d.Snapshot.Signature = p.signature("sessionSnapshot.signature", s.Signature)
		}
	}
	return d
}
