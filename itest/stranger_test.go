package itest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/ledger/bitcoin"
	"github.com/runnel/runnel/p2p"
	"github.com/runnel/runnel/wire"
)

// stranger is a peer in this process that can be dialled and answers whatever a test wants.
type stranger struct{ host *p2p.Host }

func newStranger() (*stranger, error) {
	var key [32]byte
	rand.Read(key[:])
	host, err := p2p.New(p2p.Config{PrivateKey: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Log: slog.New(slog.DiscardHandler)})
	return &stranger{host}, err
}

// hello is what a proper peer says first.
func hello() *wire.Hello {
	scheme, err := bitcoin.NewScheme("simnet")
	if err != nil {
		panic(err)
	}
	return &wire.Hello{Versions: []uint32{wire.Version}, Genesis: scheme.Genesis(), Agent: "stranger"}
}

// line is a connection with all that the other side said and nobody asked for yet.
type line struct {
	conn wire.Conn

	mu    sync.Mutex // guards the fields below
	heard []wire.Message
	err   error         // why it ended
	news  chan struct{} // closed and replaced when one of them changed
}

func listen(conn wire.Conn) *line {
	l := &line{conn: conn, news: make(chan struct{})}
	go func() {
		for {
			m, err := l.next()
			l.mu.Lock()
			if err != nil {
				l.err = err
			} else {
				l.heard = append(l.heard, m)
			}
			close(l.news)
			l.news = make(chan struct{})
			l.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return l
}

func (l *line) next() (wire.Message, error) {
	b, err := l.conn.Recv()
	if err != nil {
		return nil, err
	}
	return wire.Decode(b)
}

func (l *line) say(messages ...wire.Message) error {
	for _, m := range messages {
		b, err := wire.Encode(m)
		if err != nil {
			return err
		}
		if err := l.conn.Send(b); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long an answer may take on a busy machine; no verdict depends on it.
const patience = time.Minute

// hear waits for the next message of a kind; the others are dropped.
func hear[M wire.Message](l *line) (m M, err error) {
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		for len(l.heard) > 0 {
			next := l.heard[0]
			l.heard = l.heard[1:]
			if m, ok := next.(M); ok {
				l.mu.Unlock()
				return m, nil
			}
		}
		ended, news := l.err, l.news
		l.mu.Unlock()
		if ended != nil {
			return m, fmt.Errorf("no %T came: %w", m, ended)
		}
		select {
		case <-news:
		case <-timeout:
			return m, fmt.Errorf("no %T came", m)
		}
	}
}

// cut waits until the other side has ended the connection, and returns its last word, if there was one.
func (l *line) cut() (*wire.Error, error) {
	last, err := hear[*wire.Error](l)
	select {
	case <-l.conn.Done():
		return last, nil
	case <-time.After(patience):
		return last, fmt.Errorf("the connection was not ended: %w", err)
	}
}

// manners are the ways in which a stranger that is dialled answers.
var manners = map[string]func(s *stranger, l *line) error{
	"network": func(s *stranger, l *line) error {
		h := hello()
		h.Genesis[0] ^= 1
		return l.say(h)
	},
	"version": func(s *stranger, l *line) error {
		h := hello()
		h.Versions = []uint32{wire.Version + 1, wire.Version + 2}
		return l.say(h)
	},
	"feature": func(s *stranger, l *line) error {
		h := hello()
		h.Features = []uint32{100, 103}
		return l.say(h)
	},
	"optional": func(s *stranger, l *line) error {
		h := hello()
		h.Features = []uint32{101, 103}
		return l.say(h)
	},
	"silent": func(s *stranger, l *line) error { return nil },
	"garbage": func(s *stranger, l *line) error {
		return l.conn.Send([]byte("GET / HTTP/1.1\r\n\r\n"))
	},
	"hangup": func(s *stranger, l *line) error { return l.conn.Close() },
	"refuse": func(s *stranger, l *line) error {
		if err := l.say(hello()); err != nil {
			return err
		}
		o, err := hear[*channel.Open](l)
		if err != nil {
			return err
		}
		return l.say(&channel.Refuse{Channel: channel.NewID(s.host.Self(), l.conn.Peer(), o.Nonce), Code: "full", Text: "no room, \u202eeb yaM later"})
	},
	"wrongkeys": func(s *stranger, l *line) error {
		if err := l.say(hello()); err != nil {
			return err
		}
		o, err := hear[*channel.Open](l)
		if err != nil {
			return err
		}
		// The opener's own key comes back as the payee's.
		return l.say(&channel.Accept{Channel: channel.NewID(s.host.Self(), l.conn.Peer(), o.Nonce), Payee: o.Payer,
			Confirmations: 1, MaxUnacked: 1000, Window: 1})
	},
	"foreign": func(s *stranger, l *line) error { // answers for a channel that nobody asked about
		if err := l.say(hello()); err != nil {
			return err
		}
		if _, err := hear[*channel.Open](l); err != nil {
			return err
		}
		return l.conn.Close()
	},
}

// scriptStranger starts a peer that answers everybody in its own way until the script ends.
func scriptStranger(ts *testscript.TestScript, neg bool, args []string) {
	plain(ts, neg, args, "stranger NAME WHAT", 2)
	manner, ok := manners[args[1]]
	if !ok {
		ts.Fatalf("no stranger is %s", args[1])
	}
	s, err := newStranger()
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var talks sync.WaitGroup
	ts.Defer(func() {
		cancel()
		s.host.Close()
		talks.Wait()
	})
	talks.Go(func() {
		for {
			conn, err := s.host.Accept(ctx)
			if err != nil {
				return
			}
			talks.Go(func() {
				if err := manner(s, listen(conn)); err != nil && !errors.Is(err, wire.ErrClosed) {
					ts.Logf("stranger %s: %v", args[0], err)
				}
			})
		}
	})
	ts.Setenv(args[0]+"_id", string(s.host.Self()))
	ts.Setenv(args[0]+"_addr", s.host.Addrs()[0])
}
