package channeltest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/runnel/runnel/channel"
)

// Tx is a transaction of the tiny chain. Its id is the hash of its JSON, which is also its raw form.
type Tx struct {
	Kind   string // fund, close, settle, refund, sweep, gift
	Spends []channel.Outpoint
	Outs   []TxOut
	Fee    channel.Sat
	Lane   channel.LaneID // of settle
	Total  channel.Msat   // of settle
	Lock   uint32         // the lowest height of a block below the one that may hold it
	Salt   uint64         // tells apart what would be equal
}

// TxOut pays a script. FundScript and RefundScript belong to a lane, WalletScript to a side.
type TxOut struct {
	Script string
	Value  channel.Sat
}

func FundScript(l channel.LaneID) string   { return "fund " + l.String() }
func RefundScript(l channel.LaneID) string { return "refund " + l.String() }
func WalletScript(name string) string      { return "wallet " + name }

// Raw is the transaction's encoding.
func (tx *Tx) Raw() []byte {
	b, err := json.Marshal(tx)
	if err != nil {
		panic(err) // plain fields
	}
	return b
}

// ID is the transaction's id.
func (tx *Tx) ID() [32]byte { return sha256.Sum256(tx.Raw()) }

// Own wraps the transaction for the machine.
func (tx *Tx) Own(tip uint32) channel.OwnTx {
	return channel.OwnTx{TxID: tx.ID(), Raw: tx.Raw(), Rate: 1000, Fee: tx.Fee, Height: tip}
}

// ParseTx decodes Raw.
func ParseTx(raw []byte) (*Tx, error) {
	tx := new(Tx)
	if err := json.Unmarshal(raw, tx); err != nil {
		return nil, err
	}
	return tx, nil
}

// Block is a block of the tiny chain.
type Block struct {
	Hash uint64
	Txs  []*Tx
}

// Base is the height of the first block.
const Base = 100

// Chain is a chain whose mempool keeps everything that was published, conflicts too: which of them is
// mined is the order of Mempool.
type Chain struct {
	Blocks  []Block
	Mempool []*Tx
	hashes  uint64
}

// NewChain has one empty block at Base.
func NewChain() *Chain {
	c := new(Chain)
	c.Mine(1, false)
	return c
}

// Tip is the height of the newest block.
func (c *Chain) Tip() uint32 { return Base + uint32(len(c.Blocks)) - 1 }

// Publish takes a transaction into the mempool. One that is known already changes nothing.
func (c *Chain) Publish(raw []byte) error {
	tx, err := ParseTx(raw)
	if err != nil {
		return err
	}
	id := tx.ID()
	for _, b := range c.Blocks {
		for _, t := range b.Txs {
			if t.ID() == id {
				return nil
			}
		}
	}
	for _, t := range c.Mempool {
		if t.ID() == id {
			return nil
		}
	}
	c.Mempool = append(c.Mempool, tx)
	return nil
}

// Mine adds n blocks. Empty ones leave the mempool alone.
func (c *Chain) Mine(n int, empty bool) {
	for range n {
		c.hashes++
		b := Block{Hash: c.hashes}
		if !empty {
			b.Txs = c.pick()
		}
		c.Blocks = append(c.Blocks, b)
	}
}

// Reorg replaces the last n blocks by n+1 others. Their transactions wait in the mempool again; late ones
// are only mined by a later Mine.
func (c *Chain) Reorg(n int, late bool) {
	n = min(n, len(c.Blocks)-1)
	cut := len(c.Blocks) - n
	var back []*Tx
	for _, b := range c.Blocks[cut:] {
		back = append(back, b.Txs...)
	}
	c.Mempool = append(back, c.Mempool...)
	c.Blocks = append([]Block(nil), c.Blocks[:cut]...)
	c.Mine(n+1, late)
}

// pick takes from the mempool what is valid in the next block.
func (c *Chain) pick() (txs []*Tx) {
	height := c.Tip() + 1
	values := c.unspent()
	fresh := map[channel.Outpoint]bool{}
	var left []*Tx
	for _, tx := range c.Mempool {
		in, ok := spendable(tx, values)
		if !ok || height <= tx.Lock || tx.Kind == "sweep" && fresh[tx.Spends[0]] {
			left = append(left, tx)
			continue
		}
		if err := tx.balance(in); err != nil {
			panic(err) // a bug of the test world
		}
		for _, o := range tx.Spends {
			delete(values, o)
		}
		for i, out := range tx.Outs {
			o := channel.Outpoint{TxID: tx.ID(), Index: uint32(i)}
			values[o], fresh[o] = out, true
		}
		txs = append(txs, tx)
	}
	c.Mempool = left
	return txs
}

func spendable(tx *Tx, values map[channel.Outpoint]TxOut) (in channel.Sat, ok bool) {
	for _, o := range tx.Spends {
		v, ok := values[o]
		if !ok {
			return 0, false
		}
		in += v.Value
	}
	return in, true
}

// balance checks that no satoshi is made or lost. Money that funds or gives comes from outside.
func (tx *Tx) balance(in channel.Sat) error {
	var out channel.Sat
	for _, o := range tx.Outs {
		out += o.Value
	}
	if tx.Kind != "fund" && tx.Kind != "gift" && in != out+tx.Fee {
		return fmt.Errorf("a %s of %d sat pays %d sat and a fee of %d sat", tx.Kind, in, out, tx.Fee)
	}
	return nil
}

// unspent is every unspent output of the chain.
func (c *Chain) unspent() map[channel.Outpoint]TxOut {
	values := map[channel.Outpoint]TxOut{}
	for _, b := range c.Blocks {
		for _, tx := range b.Txs {
			for _, o := range tx.Spends {
				delete(values, o)
			}
			for i, out := range tx.Outs {
				values[channel.Outpoint{TxID: tx.ID(), Index: uint32(i)}] = out
			}
		}
	}
	return values
}

// Sum adds up the unspent outputs at a script.
func (c *Chain) Sum(script string) (sum channel.Sat) {
	for _, out := range c.unspent() {
		if out.Script == script {
			sum += out.Value
		}
	}
	return sum
}

// Fees adds up what the transactions of a kind left to the miners.
func (c *Chain) Fees(kind string) (sum channel.Sat) {
	for _, b := range c.Blocks {
		for _, tx := range b.Txs {
			if tx.Kind == kind {
				sum += tx.Fee
			}
		}
	}
	return sum
}
