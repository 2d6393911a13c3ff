package simnet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
)

// stateName is the file in Dir by which another process finds the node.
const stateName = "simnet.json"

// state is what another process needs to use the node, and what a restart takes up.
type state struct {
	PID      int    `json:"pid"`
	RPCHost  string `json:"rpc_host"`
	RPCUser  string `json:"rpc_user"`
	RPCPass  string `json:"rpc_pass"`
	CertFile string `json:"cert_file"`
	P2PAddr  string `json:"p2p_addr"`
	Faucet   string `json:"faucet_key"` // worthless outside this chain

	file string
}

// StateFile is the path of the state file of a node in dir.
func StateFile(dir string) string { return filepath.Join(dir, stateName) }

func loadOrMakeState(dir string) (st state, known bool, err error) {
	st, err = readState(StateFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		st, err = makeState(dir)
		return st, false, err
	}
	return st, true, err
}

func readState(file string) (state, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return state{}, fmt.Errorf("simnet: no node was started here: %w", err)
	}
	st := state{file: file}
	if err := json.Unmarshal(raw, &st); err != nil {
		return state{}, fmt.Errorf("simnet: %s is damaged, remove it to start afresh: %w", file, err)
	}
	return st, nil
}

func makeState(dir string) (state, error) {
	key, err := btcec.NewPrivateKey()
	if err != nil {
		return state{}, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return state{}, err
	}
	st := state{
		RPCHost:  ports[0],
		P2PAddr:  ports[1],
		RPCUser:  "runnel",
		RPCPass:  rand.Text(),
		CertFile: filepath.Join(dir, "rpc.cert"),
		Faucet:   hex.EncodeToString(key.Serialize()),
		file:     StateFile(dir),
	}
	return st, writeCert(st.CertFile, keyFile(dir))
}

func keyFile(dir string) string { return filepath.Join(dir, "rpc.key") }

func (st state) faucetKey() (*btcec.PrivateKey, error) {
	raw, err := hex.DecodeString(st.Faucet)
	if err != nil || len(raw) != 32 {
		return nil, fmt.Errorf("simnet: %s holds no faucet key, remove it to start afresh", st.file)
	}
	key, _ := btcec.PrivKeyFromBytes(raw)
	return key, nil
}

func (st state) save() error {
	raw, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	tmp := st.file + ".new"
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("simnet: %w", err)
	}
	return os.Rename(tmp, st.file)
}

// freePorts asks the system for n free loopback ports, held together so that they differ.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("simnet: no free port on loopback: %w", err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// writeConfig keeps the credentials out of the command line, which every user of the machine can see.
func writeConfig(dir string, st state) error {
	lines := []string{
		"[Application Options]",
		"simnet=1",
		"datadir=" + filepath.Join(dir, "data"),
		"logdir=" + filepath.Join(dir, "logs"),
		"listen=" + st.P2PAddr,
		"rpclisten=" + st.RPCHost,
		"rpcuser=" + st.RPCUser,
		"rpcpass=" + st.RPCPass,
		"rpccert=" + st.CertFile,
		"rpckey=" + keyFile(dir),
		"rpcmaxclients=100",
		"rpcmaxwebsockets=100",
		"nodnsseed=1",
		"nobanning=1",
		"nostalldetect=1",
		"txindex=1",
		"trickleinterval=100ms",
		// Judge transactions as a public node does: standard ones only, none without a fee.
		"rejectnonstd=1",
		"limitfreerelay=0",
	}
	return os.WriteFile(configFile(dir), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func configFile(dir string) string { return filepath.Join(dir, "btcd.conf") }

// writeCert makes the RPC server's certificate. btcd would make one itself, on a curve whose slow
// handshakes every client would pay for.
func writeCert(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	now := time.Now()
	tmpl := x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"runnel simnet"}, CommonName: "localhost"},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(certFile, "CERTIFICATE", der); err != nil {
		return err
	}
	return writePEM(keyFile, "EC PRIVATE KEY", keyDER)
}

func writePEM(file, kind string, der []byte) error {
	raw := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return fmt.Errorf("simnet: %w", err)
	}
	return nil
}
