package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/api/v1/runnelv1connect"
	"github.com/runnel/runnel/channel"
)

// Limits of the server, each with its reason.
const (
	// maxMessage bounds one request message: 16,000 payments of a stream with ids and references.
	maxMessage = 4 << 20

	// maxHeader bounds request headers: real ones have a few hundred bytes.
	maxHeader = 16 << 10

	// headerWait and bodyWait bound how slowly a request may arrive: the peer is on the same machine.
	headerWait = 10 * time.Second
	bodyWait   = 30 * time.Second

	// idleWait closes connections that nobody uses.
	idleWait = 5 * time.Minute

	// maxStreams bounds concurrent requests of one HTTP/2 connection.
	maxStreams = 1024

	// abortWait is how long requests get to answer after Shutdown's context ended and theirs with it.
	abortWait = 2 * time.Second
)

// Config says where the API is served.
type Config struct {
	Socket string       // unix:PATH or PATH; the directory is made if it is not there
	Log    *slog.Logger // nil: slog.Default()

	bodyWait time.Duration // tests shorten it
	window   int
}

// Validate reports what Listen would refuse without looking at the disk. Its errors are faults.
func (c Config) Validate() error {
	_, err := runnelv1.SocketPath(c.Socket)
	return err
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.bodyWait == 0 {
		c.bodyWait = bodyWait
	}
	if c.window == 0 {
		c.window = streamWindow
	}
	return c
}

// Server serves one node on one socket.
type Server struct {
	socket *socket
	http   *http.Server
	log    *slog.Logger
	stop   context.CancelCauseFunc // ends streams
	abort  context.CancelFunc      // ends everything
	done   chan struct{}
	err    error // of Serve; set before done is closed
}

// Listen serves node until Shutdown. When it returns, requests are answered.
func Listen(cfg Config, node Node) (*Server, error) {
	cfg = cfg.withDefaults()
	path, err := runnelv1.SocketPath(cfg.Socket)
	if err != nil {
		return nil, err
	}
	sock, err := listenUnix(path)
	if err != nil {
		return nil, err
	}
	base, abort := context.WithCancel(context.Background())
	stopping, stop := context.WithCancelCause(context.Background())
	s := &Server{socket: sock, log: cfg.Log, stop: stop, abort: abort, done: make(chan struct{})}
	s.http = newHTTPServer(base, cfg, newHandler(cfg, &service{node: node, log: cfg.Log, stopping: stopping, window: cfg.window}))
	go s.serve()
	cfg.Log.Info("API ready", "socket", path)
	return s, nil
}

func newHTTPServer(base context.Context, cfg Config, handler http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: maxMessage},
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		BaseContext:       contextOf(base),
	}
}

func (s *Server) serve() {
	err := s.http.Serve(s.socket)
	if !errors.Is(err, http.ErrServerClosed) {
		s.err = fmt.Errorf("serving the API: %w", err)
		s.log.Error("API ended", "err", err)
	}
	close(s.done)
}

// Wait returns when the server has stopped serving: nil after Shutdown, otherwise what ended it.
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

// Shutdown takes no more connections, ends streams with a fault (payments that were sent on them get
// their answers first), waits for other requests, and removes the socket. When ctx ends before that, what
// is left is canceled: payments answer that they are pending.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(channel.Faultf(channel.CodeStopping, "the daemon is stopping"))
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.cut()
	}
	s.abort()
	<-s.done
	return errors.Join(err, s.socket.Close())
}

func (s *Server) cut() error {
	s.abort()
	ctx, cancel := context.WithTimeout(context.Background(), abortWait)
	defer cancel()
	if s.http.Shutdown(ctx) == nil {
		return nil
	}
	return s.http.Close()
}

// newHandler puts the services behind the guard.
func newHandler(cfg Config, svc *service) http.Handler {
	options := handlerOptions(cfg.Log)
	mux := http.NewServeMux()
	mux.Handle(runnelv1connect.NewNodeServiceHandler(nodeService{svc}, options))
	mux.Handle(runnelv1connect.NewWalletServiceHandler(walletService{svc}, options))
	mux.Handle(runnelv1connect.NewChannelServiceHandler(channelService{svc}, options))
	mux.Handle(runnelv1connect.NewPaymentServiceHandler(paymentService{svc}, options))
	mux.Handle(runnelv1connect.NewEventServiceHandler(eventService{svc}, options))
	mux.Handle(runnelv1connect.NewDrawServiceHandler(drawService{svc}, options))
	mux.Handle(runnelv1connect.NewLogServiceHandler(logService{svc}, options))
	mux.Handle(runnelv1connect.NewPolicyServiceHandler(policyService{svc}, options))
	mux.HandleFunc("GET /events", eventService{svc}.lines)
	mux.HandleFunc("/", unknownMethod)
	return guard(cfg.bodyWait, mux)
}

// handlerOptions are the same for all services. Compression is off: on a socket it only costs time.
func handlerOptions(log *slog.Logger) connect.HandlerOption {
	return connect.WithHandlerOptions(
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithCompression("gzip", nil, nil),
		connect.WithReadMaxBytes(maxMessage),
		connect.WithInterceptors(edge{log}),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, what any) error {
			log.Error("panic in the API", "method", spec.Procedure, "panic", what, "stack", string(debug.Stack()))
			return panicFault(spec.Procedure)
		}),
	)
}

// panicFault does not claim that a payment was not made.
func panicFault(procedure string) *channel.Fault {
	if procedure == runnelv1connect.PaymentServicePayProcedure {
		return channel.Faultf(channel.CodePending, "the daemon failed while it paid: the payment's fate is not known").
			WithHint("Ask again with the same payment id. The daemon's log says more.")
	}
	return channel.Faultf(channel.CodeFailure, "internal error").WithHint("The daemon's log says more.")
}
