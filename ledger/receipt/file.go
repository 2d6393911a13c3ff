package receipt

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/runnel/runnel/channel"
)

// MaxFile bounds what Parse takes: the longest path has 64 hashes, about 5 KiB in all.
const MaxFile = 64 << 10

// The file is JSON with exactly these fields in this order; only white space is free. Byte strings are
// lower-case hexadecimal, the genesis hash in the order of block explorers. The local API answers in the
// same form (Receipt in api/v1/runnel.proto). A program that knows another version only says so: receipts
// are read years later by whatever is installed then.
type document struct {
	Format  string   `json:"format"`
	Version int      `json:"version"`
	Network string   `json:"network"`
	Payment entry    `json:"payment"`
	Lane    lane     `json:"lane"`
	Path    []string `json:"path"`
	Root    root     `json:"root"`
}

type entry struct {
	Seq    uint64 `json:"seq"`
	ID     string `json:"id"`
	Amount uint64 `json:"amount_msat"`
	Ref    string `json:"ref"`
	Result uint8  `json:"result"` // 0 accepted, else why it was refused (protocol.md 4)
	Means  string `json:"means"`  // the result in a word
}

type lane struct {
	ID      string `json:"id"`
	Genesis string `json:"genesis"`
	Payer   string `json:"payer_key"`
	Payee   string `json:"payee_key"`
	Refund  string `json:"refund_key"`
	Expiry  uint32 `json:"expiry_height"`
	Deposit uint64 `json:"deposit_sat"`
}

type root struct {
	Size  uint64 `json:"size"`
	Total uint64 `json:"total_msat"`
	Spent uint64 `json:"spent_msat"`
	Hash  string `json:"lane_hash"`
	Root  string `json:"root_hash"`
	Time  uint64 `json:"time"`
	Payee string `json:"payee_signature"`
	Payer string `json:"payer_signature"`
}

// Marshal writes a receipt as one line of JSON.
func Marshal(r channel.Receipt) ([]byte, error) {
	t, c := &r.Terms, &r.Checkpoint
	d := document{Format: channel.ReceiptFormat, Version: channel.ReceiptVersion, Network: r.Network, Path: make([]string, len(r.Path)),
		Payment: entry{r.Seq, r.Payment.ID.String(), uint64(r.Payment.Amount), r.Payment.Ref, uint8(r.Result), r.Result.String()},
		Lane: lane{c.Lane.String(), reversedHex(t.Genesis), hex.EncodeToString(t.Payer[:]), hex.EncodeToString(t.Payee[:]),
			hex.EncodeToString(t.Refund[:]), t.Expiry, uint64(t.Deposit)},
		Root: root{c.Size, uint64(c.Total), uint64(c.Spent), hex.EncodeToString(c.Hash[:]), hex.EncodeToString(c.Root[:]), c.Time,
			hex.EncodeToString(c.Payee[:]), hex.EncodeToString(c.Payer[:])},
	}
	for i := range r.Path {
		d.Path[i] = hex.EncodeToString(r.Path[i][:])
	}
	return encode(d)
}

func encode(d document) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ErrFile is what Parse returns for a file that is no receipt.
var ErrFile = errors.New("this is not a receipt")

func notOne(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFile, fmt.Sprintf(format, args...))
}

// Parse reads a receipt's file. It takes exactly what Marshal writes, with white space between as one likes.
func Parse(b []byte) (channel.Receipt, error) {
	var none channel.Receipt
	if len(b) > MaxFile {
		return none, notOne("it is larger than %d KiB", MaxFile>>10)
	}
	if err := checkHead(b); err != nil {
		return none, err
	}
	var d document
	in := json.NewDecoder(bytes.NewReader(b))
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		return none, notOne("%v", err)
	}
	if _, err := in.Token(); err != io.EOF {
		return none, notOne("something follows it")
	}
	r, err := d.value()
	if err != nil {
		return none, err
	}
	again, err := Marshal(r)
	if err != nil {
		return none, err
	}
	if !sameTokens(b, again) {
		return none, notOne("a field is missing, there twice, out of order or written in another way")
	}
	return r, nil
}

// sameTokens compares all but white space and how characters of a text are escaped.
func sameTokens(a, b []byte) bool {
	x, y := json.NewDecoder(bytes.NewReader(a)), json.NewDecoder(bytes.NewReader(b))
	x.UseNumber()
	y.UseNumber()
	for {
		s, errX := x.Token()
		t, errY := y.Token()
		if errX != nil || errY != nil {
			return errX == io.EOF && errY == io.EOF
		}
		if s != t {
			return false
		}
	}
}

// checkHead tells what is no receipt at all, or one of another version, before anything else is judged.
func checkHead(b []byte) error {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if !utf8.Valid(b) {
		return notOne("it is not UTF-8")
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return notOne("%v", err)
	}
	if head.Format != channel.ReceiptFormat {
		return notOne("its format is %q, not %q", head.Format, channel.ReceiptFormat)
	}
	if head.Version != channel.ReceiptVersion {
		return fmt.Errorf("the receipt has version %d, this program knows %d", head.Version, channel.ReceiptVersion)
	}
	return nil
}

func (d *document) value() (channel.Receipt, error) {
	r := channel.Receipt{Network: d.Network, Seq: d.Payment.Seq, Result: channel.RefuseReason(d.Payment.Result)}
	r.Payment = channel.Payment{Amount: channel.Msat(d.Payment.Amount), Ref: d.Payment.Ref}
	t, c := &r.Terms, &r.Checkpoint
	t.Expiry, t.Deposit = d.Lane.Expiry, channel.Sat(d.Lane.Deposit)
	c.Size, c.Total, c.Spent, c.Time = d.Root.Size, channel.Msat(d.Root.Total), channel.Msat(d.Root.Spent), d.Root.Time
	if len(d.Path) > 64 {
		return r, notOne("its path has %d hashes", len(d.Path))
	}
	if len(d.Path) > 0 {
		r.Path = make([]Hash, len(d.Path))
	}
	texts := []struct {
		name, text string
		to         []byte
	}{
		{"payment.id", d.Payment.ID, r.Payment.ID[:]},
		{"lane.id", d.Lane.ID, c.Lane[:]},
		{"lane.genesis", d.Lane.Genesis, t.Genesis[:]},
		{"lane.payer_key", d.Lane.Payer, t.Payer[:]},
		{"lane.payee_key", d.Lane.Payee, t.Payee[:]},
		{"lane.refund_key", d.Lane.Refund, t.Refund[:]},
		{"root.lane_hash", d.Root.Hash, c.Hash[:]},
		{"root.root_hash", d.Root.Root, c.Root[:]},
		{"root.payee_signature", d.Root.Payee, c.Payee[:]},
		{"root.payer_signature", d.Root.Payer, c.Payer[:]},
	}
	for _, f := range texts {
		if err := fromHex(f.name, f.text, f.to); err != nil {
			return r, err
		}
	}
	for i, text := range d.Path {
		if err := fromHex("path", text, r.Path[i][:]); err != nil {
			return r, err
		}
	}
	slices.Reverse(t.Genesis[:])
	return r, nil
}

func reversedHex(h [32]byte) string {
	slices.Reverse(h[:])
	return hex.EncodeToString(h[:])
}

func fromHex(name, text string, to []byte) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(to) {
		return notOne("%s is not %d bytes in hexadecimal", name, len(to))
	}
	copy(to, b)
	return nil
}
