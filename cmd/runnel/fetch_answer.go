package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/gateway"
)

// maxJSONBody is the longest answer that --json has room for.
const maxJSONBody = 1 << 20

type fetchView struct {
	URL        string `json:"url"`
	Status     int    `json:"status"`
	Type       string `json:"content_type"`
	Bytes      int64  `json:"bytes"`
	Body       string `json:"body"`
	File       string `json:"file"`
	Paid       bool   `json:"paid"`
	Recipient  string `json:"recipient"`
	Channel    string `json:"channel_id"`
	Price      uint64 `json:"price_msat"`
	Unit       string `json:"unit"`
	Authorised uint64 `json:"authorised_msat"`
	Cost       uint64 `json:"cost_msat"`
	Units      uint64 `json:"units"`
	TopUps     int    `json:"top_ups"`
	Receipt    bool   `json:"receipt"`
}

// fetchOne gets one URL and prints the answer.
func (c *call) fetchOne(web *http.Client, f fetchFlags, target string, body *payload) error {
	req, err := c.request(f, target, body)
	if err != nil {
		return err
	}
	if f.verbose {
		c.showRequest(req)
	}
	res, err := web.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if f.verbose {
		c.showResponse(res)
	}
	view := fetchView{URL: req.URL.Redacted(), Status: res.StatusCode, Type: res.Header.Get("Content-Type")}
	if res.StatusCode < 400 || !f.fail {
		err = c.deliver(f, res, &view)
	}
	res.Body.Close()
	c.account(f, res, &view)
	switch {
	case err != nil:
		return err
	case c.json:
		err = writeJSON(c.out, view)
	}
	return errors.Join(err, verdictOn(f, res))
}

// verdictOn is the error for answers that count as failed.
func verdictOn(f fetchFlags, res *http.Response) error {
	switch {
	case res.StatusCode == http.StatusPaymentRequired:
		return channel.Faultf(codeUnpaid, "not paid: %s wants a payment, and none that this node can make", res.Request.URL.Host).
			WithHint("look at its offer with -i")
	case f.fail && res.StatusCode >= 400:
		return channel.Faultf(codeHTTP, "the server answered %s", res.Status)
	}
	return nil
}

// deliver writes the answer to where it belongs, as it comes.
func (c *call) deliver(f fetchFlags, res *http.Response, view *fetchView) (err error) {
	name := f.output
	if f.remoteName {
		if name, err = remoteName(res.Request.URL); err != nil {
			return err
		}
	}
	out, text := c.out, &bytes.Buffer{}
	switch {
	case name != "" && name != "-":
		file, err := os.Create(name)
		if err != nil {
			return usage("name another file with -o", "%v", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out, view.File = file, name
	case c.json:
		out = &limited{text}
	}
	if (f.include || f.head) && (!c.json || view.File != "") {
		if err := writeHead(out, res); err != nil {
			return err
		}
	}
	view.Bytes, err = io.Copy(out, res.Body)
	if c.json && view.File == "" && err == nil {
		if view.Body = text.String(); !utf8.ValidString(view.Body) {
			return usage("write it to a file with -o FILE", "the answer is no text, which --json can't hold")
		}
	}
	return err
}

// limited holds as much as --json has room for.
type limited struct{ *bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxJSONBody {
		return 0, usage("write it to a file with -o FILE", "the answer is longer than %d MiB, which --json has no room for", maxJSONBody>>20)
	}
	return l.Buffer.Write(b)
}

func writeHead(w io.Writer, res *http.Response) error {
	if _, err := fmt.Fprintf(w, "%s %s\r\n", res.Proto, res.Status); err != nil {
		return err
	}
	if err := res.Header.Write(w); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\r\n")
	return err
}

// account puts down what the answer cost.
func (c *call) account(f fetchFlags, res *http.Response, view *fetchView) {
	p, paid := gateway.PaymentOf(res)
	if !paid {
		return
	}
	view.Paid, view.Recipient, view.Channel = true, string(p.Recipient), p.Channel.String()
	view.Price, view.Unit, view.Authorised, view.Cost, view.TopUps = uint64(p.Price), string(p.Unit), uint64(p.Authorised), uint64(p.Cost), p.TopUps
	if p.Receipt != nil {
		view.Receipt, view.Units = true, p.Receipt.Units
	}
	if f.verbose {
		c.showPayment(&p)
	}
	if p.Err != nil && !f.silent {
		u := c.notes()
		u.line("%s %s", u.red("warning:"), printable(p.Err.Error()))
	}
}

func (c *call) showPayment(p *gateway.Payment) {
	u := c.notes()
	u.line("%s %s to %s, channel %s", u.dim("$"), priceText(p.Price, p.UnitSize, p.Unit), shortPeer(p.Recipient), cut(p.Channel.String(), 8))
	cost := amount.Msat(p.Cost)
	switch {
	case p.Receipt == nil && p.Cost == 0:
		u.line("%s given back: the server did not serve it", u.dim("$"))
	case p.Receipt == nil:
		u.line("%s up to %s, no receipt", u.dim("$"), u.bold(cost))
	default:
		u.line("%s receipt: %s for %s, %s spent of %s vouchered", u.dim("$"), u.bold(cost), unitsText(p.Receipt.Units, p.Unit),
			amount.Msat(p.Receipt.Spent), amount.Msat(p.Receipt.Accepted))
	}
}

func priceText(price channel.Msat, size uint64, unit gateway.Unit) string {
	if size > 1 {
		return amount.Msat(price) + " for " + unitsText(size, unit)
	}
	return amount.Msat(price) + " a " + printable(string(unit))
}

func unitsText(n uint64, unit gateway.Unit) string {
	if n == 1 {
		return "1 " + printable(string(unit))
	}
	return count(n) + " " + printable(string(unit)) + "s"
}

func (c *call) showRequest(req *http.Request) {
	u := c.notes()
	u.line("> %s %s", req.Method, printable(req.URL.RequestURI()))
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	u.line("> Host: %s", printable(host))
	c.showHeaders(">", req.Header)
}

func (c *call) showResponse(res *http.Response) {
	c.notes().line("< %s %s", res.Proto, printable(res.Status))
	c.showHeaders("<", res.Header)
}

// hiddenHeaders are not shown: whoever sees them can use them.
var hiddenHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"}

func (c *call) showHeaders(mark string, h http.Header) {
	u := c.notes()
	for _, name := range sortedKeys(h) {
		for _, v := range h[name] {
			if slices.Contains(hiddenHeaders, name) {
				v = "(not shown)"
			}
			u.line("%s %s: %s", mark, printable(name), printable(v))
		}
	}
	u.line("%s", mark)
}

func sortedKeys(h http.Header) (keys []string) {
	for name := range h {
		keys = append(keys, name)
	}
	slices.Sort(keys)
	return keys
}
