package bitcoindtest

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger"
	"github.com/runnel/runnel/ledger/ledgertest"
)

// Fake answers as Bitcoin Core documents its RPC (version 28, without a transaction index), over the chain
// in memory, with a cookie.
type Fake struct {
	Memory *ledgertest.Memory
	server *httptest.Server
	view   *ledgertest.MemoryChain
	cookie string // file

	mu       sync.Mutex
	password string
	feerate  float64                     // of estimatesmartfee, 0: none
	made     map[[32]byte]*wire.MsgBlock // by the hash that Memory gives them
	seen     map[string]place            // by hash, also those that left the best chain: Core keeps them
}

// place is a block with its height.
type place struct {
	*wire.MsgBlock
	height int
}

// NewFake starts a server that ends with the test.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	f := &Fake{Memory: ledgertest.NewMemory(), made: map[[32]byte]*wire.MsgBlock{}, seen: map[string]place{},
		cookie: filepath.Join(t.TempDir(), ".cookie")}
	f.Memory.Mine(10)
	f.view = f.Memory.NewChain()
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	if err := f.NewCookie("first"); err != nil {
		t.Fatal(err)
	}
	return f
}

// Host is host:port of the RPC.
func (f *Fake) Host() string { return strings.TrimPrefix(f.server.URL, "http://") }

// CookieFile holds the credential.
func (f *Fake) CookieFile() string { return f.cookie }

// Net moves the chain.
func (f *Fake) Net() ledgertest.Network { return f.Memory.Net() }

// NewCookie is what a restart does.
func (f *Fake) NewCookie(password string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.password = password
	return os.WriteFile(f.cookie, []byte("__cookie__:"+password), 0o600)
}

// SetFeeRate sets what estimatesmartfee answers, in coins for a thousand virtual bytes; 0 is no answer.
func (f *Fake) SetFeeRate(rate float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.feerate = rate
}

// rpcError is the error object of JSON-RPC.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return e.Message }

type rpcRequest struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

type rpcAnswer struct {
	Result any             `json:"result"`
	Error  *rpcError       `json:"error"`
	ID     json.RawMessage `json:"id"`
}

func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, pass, _ := r.BasicAuth()
	f.mu.Lock()
	allowed := user == "__cookie__" && pass == f.password
	f.mu.Unlock()
	if !allowed {
		w.Header().Set("WWW-Authenticate", `Basic realm="jsonrpc"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var raw json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&raw); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if raw[0] == '[' {
		var all []rpcRequest
		json.Unmarshal(raw, &all)
		answers := []rpcAnswer{}
		for _, req := range all {
			answers = append(answers, f.answer(req))
		}
		json.NewEncoder(w).Encode(answers)
		return
	}
	var req rpcRequest
	json.Unmarshal(raw, &req)
	a := f.answer(req)
	if a.Error != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
	json.NewEncoder(w).Encode(a)
}

func (f *Fake) answer(req rpcRequest) rpcAnswer {
	a := rpcAnswer{ID: req.ID}
	method, known := f.methods()[req.Method]
	if !known {
		a.Error = &rpcError{-32601, "Method not found"}
		return a
	}
	result, err := method(params(req.Params))
	if err != nil {
		a.Error = err
	} else {
		a.Result = result
	}
	return a
}

// params of a request, read as what is expected.
type params []json.RawMessage

func (p params) text(i int) (s string) {
	if i < len(p) {
		json.Unmarshal(p[i], &s)
	}
	return s
}

func (p params) number(i int) (n int64) {
	if i < len(p) {
		json.Unmarshal(p[i], &n)
	}
	return n
}

// flag is a boolean, or a number where Core takes both.
func (p params) flag(i int, otherwise bool) bool {
	if i >= len(p) {
		return otherwise
	}
	return string(p[i]) != "false" && string(p[i]) != "0"
}

func (f *Fake) methods() map[string]func(params) (any, *rpcError) {
	return map[string]func(params) (any, *rpcError){
		"getnetworkinfo": func(params) (any, *rpcError) {
			return map[string]any{"version": 280000, "subversion": "/Satoshi:28.0.0/", "protocolversion": 70016}, nil
		},
		"getblockchaininfo": func(params) (any, *rpcError) {
			h := f.Memory.Height()
			return map[string]any{"chain": "regtest", "blocks": h, "headers": h, "bestblockhash": f.blocks()[h].BlockHash().String(),
				"difficulty": 4.656542373906925e-10, "mediantime": 1700000000, "verificationprogress": 1, "initialblockdownload": false,
				"chainwork": strings.Repeat("0", 64), "size_on_disk": 1, "pruned": false, "warnings": []string{}}, nil
		},
		"getblockhash": func(p params) (any, *rpcError) {
			all, h := f.blocks(), p.number(0)
			if h < 0 || h >= int64(len(all)) {
				return nil, &rpcError{-8, "Block height out of range"}
			}
			return all[h].BlockHash().String(), nil
		},
		"getblockheader":       f.getBlockHeader,
		"getblock":             f.getBlock,
		"getrawmempool":        func(params) (any, *rpcError) { return f.mempool(), nil },
		"getrawtransaction":    f.getRawTransaction,
		"sendrawtransaction":   f.sendRawTransaction,
		"testmempoolaccept":    f.testMempoolAccept,
		"gettxout":             f.getTxOut,
		"gettxspendingprevout": f.getTxSpendingPrevOut,
		"estimatesmartfee": func(p params) (any, *rpcError) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.feerate == 0 {
				return map[string]any{"errors": []string{"Insufficient data or no feerate found"}, "blocks": p.number(0)}, nil
			}
			return map[string]any{"feerate": f.feerate, "blocks": p.number(0)}, nil
		},
	}
}

// blocks of the best chain as regtest would have them; nobody here looks at their proof of work.
func (f *Fake) blocks() []*wire.MsgBlock {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []*wire.MsgBlock{chaincfg.RegressionNetParams.GenesisBlock}
	for h := uint32(1); ; h++ {
		b, txs := f.Memory.Block(h)
		if txs == nil {
			return all
		}
		block := f.made[b.Hash]
		if block == nil {
			block = makeBlock(all[h-1].BlockHash(), b, txs)
			f.made[b.Hash] = block
			f.seen[block.BlockHash().String()] = place{block, int(h)}
		}
		all = append(all, block)
	}
}

// makeBlock gives a block the time of day: a wallet passes over blocks from before its birthday.
func makeBlock(prev chainhash.Hash, b ledger.Block, txs [][]byte) *wire.MsgBlock {
	block := wire.NewMsgBlock(&wire.BlockHeader{Version: 0x20000000, PrevBlock: prev, MerkleRoot: b.Hash, Bits: 0x207fffff, Timestamp: time.Now().Truncate(time.Second)})
	coinbase := wire.NewMsgTx(1)
	height := []byte{3, byte(b.Height), byte(b.Height >> 8), byte(b.Height >> 16)}
	coinbase.AddTxIn(wire.NewTxIn(wire.NewOutPoint(new(chainhash.Hash), wire.MaxPrevOutIndex), height, nil))
	coinbase.AddTxOut(wire.NewTxOut(50, []byte{0x51}))
	block.AddTransaction(coinbase)
	for _, raw := range txs {
		tx := new(wire.MsgTx)
		tx.Deserialize(bytes.NewReader(raw))
		block.AddTransaction(tx)
	}
	return block
}

// find returns a block, its height, and the best chain.
func (f *Fake) find(hash string) (place, []*wire.MsgBlock, *rpcError) {
	all := f.blocks()
	if hash == all[0].BlockHash().String() {
		return place{all[0], 0}, all, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.seen[hash]
	if !ok {
		return b, nil, &rpcError{-5, "Block not found"}
	}
	return b, all, nil
}

func (f *Fake) getBlockHeader(p params) (any, *rpcError) {
	b, all, err := f.find(p.text(0))
	if err != nil {
		return nil, err
	}
	header := b.Header
	if !p.flag(1, true) {
		var b bytes.Buffer
		header.Serialize(&b)
		return hex.EncodeToString(b.Bytes()), nil
	}
	confirmations := -1
	if b.height < len(all) && all[b.height].BlockHash() == b.BlockHash() {
		confirmations = len(all) - b.height
	}
	o := map[string]any{"hash": p.text(0), "confirmations": confirmations, "height": b.height, "version": header.Version, "versionHex": "20000000",
		"merkleroot": header.MerkleRoot.String(), "time": header.Timestamp.Unix(), "mediantime": header.Timestamp.Unix(), "nonce": 0,
		"bits": "207fffff", "difficulty": 4.656542373906925e-10, "nTx": len(b.Transactions)}
	if b.height > 0 {
		o["previousblockhash"] = header.PrevBlock.String()
	}
	if confirmations > 1 {
		o["nextblockhash"] = all[b.height+1].BlockHash().String()
	}
	return o, nil
}

func (f *Fake) getBlock(p params) (any, *rpcError) {
	block, _, err := f.find(p.text(0))
	if err != nil {
		return nil, err
	}
	if p.flag(1, true) {
		return nil, &rpcError{-1, "this fake knows verbosity 0 only"}
	}
	var b bytes.Buffer
	block.Serialize(&b)
	return hex.EncodeToString(b.Bytes()), nil
}

func (f *Fake) mempool() []string {
	ids := []string{}
	for _, id := range f.Memory.Mempool() {
		ids = append(ids, chainhash.Hash(id).String())
	}
	return ids
}

// getRawTransaction finds only waiting ones: Core needs -txindex for others.
func (f *Fake) getRawTransaction(p params) (any, *rpcError) {
	hash, err := chainhash.NewHashFromStr(p.text(0))
	if err != nil {
		return nil, &rpcError{-8, "parameter 1 must be of length 64"}
	}
	raw, confirmations, err := f.Memory.Transaction(*hash)
	if err != nil || confirmations > 0 {
		return nil, &rpcError{-5, "No such mempool transaction. Use -txindex or provide a block hash to enable blockchain transaction queries. Use gettransaction for wallet transactions."}
	}
	if p.flag(1, false) {
		return map[string]any{"txid": p.text(0), "hex": hex.EncodeToString(raw)}, nil
	}
	return hex.EncodeToString(raw), nil
}

// reason is how Core words a refusal; code is that of sendrawtransaction.
func reason(err error) (code int, text string) {
	for _, c := range []struct {
		here string
		code int
		core string
	}{
		{"orphan transaction", -25, "bad-txns-inputs-missingorspent"},
		{"does not exist or is spent", -25, "bad-txns-inputs-missingorspent"},
		{"already spent in mempool", -26, "txn-mempool-conflict"},
		{"insufficient fee rate", -26, "insufficient fee, rejecting replacement 00; new feerate 0.00002000 BTC/kvB <= old feerate 0.00002000 BTC/kvB"},
		{"insufficient absolute fee", -26, "insufficient fee, rejecting replacement 00, less fees than conflicting txs; 0.00000100 < 0.00000200"},
		{"spends parent transaction", -26, "bad-txns-spends-conflicting-tx, 00 spends conflicting transaction 01"},
		{"fees which is under", -26, "min relay fee not met, 28 < 141"},
		{"due to low fees", -26, "min relay fee not met, 28 < 141"},
		{"dust", -26, "dust"},
		{"failed to validate input", -26, "mandatory-script-verify-flag-failed (Invalid Schnorr signature)"},
	} {
		if strings.Contains(err.Error(), c.here) {
			return c.code, c.core
		}
	}
	return -26, "scriptpubkey"
}

func (f *Fake) sendRawTransaction(p params) (any, *rpcError) {
	raw, err := hex.DecodeString(p.text(0))
	tx := new(wire.MsgTx)
	if err != nil || tx.Deserialize(bytes.NewReader(raw)) != nil {
		return nil, &rpcError{-22, "TX decode failed. Make sure the tx has at least one input."}
	}
	id := tx.TxHash()
	if _, confirmations, err := f.Memory.Transaction(id); err == nil && confirmations > 0 {
		if _, _, err := f.view.Unspent(context.Background(), channel.Outpoint{TxID: id}); err == nil {
			return nil, &rpcError{-27, "Transaction outputs already in utxo set"}
		}
		return nil, &rpcError{-25, "bad-txns-inputs-missingorspent"}
	}
	if err := f.Memory.Publish(raw); err != nil {
		code, text := reason(err)
		return nil, &rpcError{code, text}
	}
	return id.String(), nil
}

func (f *Fake) testMempoolAccept(p params) (any, *rpcError) {
	var all []string
	if len(p) == 0 || json.Unmarshal(p[0], &all) != nil || len(all) != 1 {
		return nil, &rpcError{-8, "Array must contain between 1 and 25 transactions."}
	}
	raw, _ := hex.DecodeString(all[0])
	tx := new(wire.MsgTx)
	if tx.Deserialize(bytes.NewReader(raw)) != nil {
		return nil, &rpcError{-22, "TX decode failed: " + all[0] + " Make sure the tx has at least one input."}
	}
	id := tx.TxHash()
	o := map[string]any{"txid": id.String(), "wtxid": tx.WitnessHash().String(), "allowed": false}
	_, confirmations, known := f.Memory.Transaction(id)
	err := f.view.TestAccept(context.Background(), ledger.Tx{ID: id, Raw: raw})
	switch {
	case known == nil && confirmations > 0:
		o["reject-reason"] = "txn-already-known"
	case known == nil:
		o["reject-reason"] = "txn-already-in-mempool"
	case errors.Is(err, ledger.ErrConflict) && strings.Contains(err.Error(), "does not exist"):
		o["reject-reason"] = "missing-inputs"
	case err != nil:
		_, o["reject-reason"] = reason(err)
	default:
		o["allowed"], o["vsize"], o["fees"] = true, 100, map[string]any{"base": 0.00001}
	}
	return []any{o}, nil
}

func (f *Fake) getTxOut(p params) (any, *rpcError) {
	hash, err := chainhash.NewHashFromStr(p.text(0))
	if err != nil {
		return nil, &rpcError{-8, "txid must be of length 64"}
	}
	out, confirmations, err := f.view.Unspent(context.Background(), channel.Outpoint{TxID: *hash, Index: uint32(p.number(1))})
	if err != nil {
		return nil, nil
	}
	return map[string]any{"bestblock": f.blocks()[f.Memory.Height()].BlockHash().String(), "confirmations": confirmations,
		"value": json.RawMessage(fmt.Sprintf("%d.%08d", out.Value/100_000_000, out.Value%100_000_000)), "coinbase": false,
		"scriptPubKey": map[string]any{"asm": "", "hex": hex.EncodeToString(out.Script), "type": "witness_v1_taproot"}}, nil
}

func (f *Fake) getTxSpendingPrevOut(p params) (any, *rpcError) {
	var all []map[string]any
	if len(p) == 0 || json.Unmarshal(p[0], &all) != nil || len(all) == 0 {
		return nil, &rpcError{-8, "Invalid parameter, outputs are missing"}
	}
	return all, nil // nobody spends them
}
