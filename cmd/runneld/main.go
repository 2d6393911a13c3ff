// Command runneld is the Runnel daemon. It reads the settings, opens the data directory, puts the
// concrete parts together and runs the node until it is told to stop.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/gologshim"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newCommand(run)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		_ = tell(os.Stderr, err)
		os.Exit(1)
	}
}

// memoryLimit makes the collector work harder before the process grows beyond what a small machine has;
// it is no hard limit.
const memoryLimit = 192 << 20

// run is the daemon's life.
func run(ctx context.Context, s *Settings) (err error) {
	level := new(slog.LevelVar)
	level.Set(s.Config.LogLevel)
	log := newLog(os.Stderr, s.Config.LogFormat, level)
	gologshim.SetDefaultHandler(log.Handler()) // libp2p's own messages
	for _, w := range s.Warnings {
		log.Warn(w)
	}
	log.Info("runneld starts", "version", version(), "network", s.Config.Network, "data_dir", s.Config.DataDir)
	debug.SetMemoryLimit(memoryLimit)
	p, err := openParts(ctx, &s.Config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	node, err := daemon.New(p.nodeConfig(&s.Config), p.deps)
	if err != nil {
		return err
	}
	server, err := api.Listen(api.Config{Socket: s.Config.Socket, Log: log}, node)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = errors.Join(err, server.Shutdown(ctx))
	}()
	closeMetrics, err := serveMetrics(s.Config.Metrics, node, log)
	if err != nil {
		return err
	}
	defer closeMetrics()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sales, err := openShop(ctx, s.Config.Gateway, p.dir, node, node.Register, log)
	if err != nil {
		return err
	}
	ctx = sales.stopsFirst(ctx)
	go reloadOnHangup(ctx, s, node, sales, level, log)
	go p.tidy(ctx)
	go capJournal(ctx, s.Config.JournalMax, node, p.deps.Journal, log)
	err = node.Run(ctx)
	log.Info("runneld stopped")
	return err
}

func newLog(f *os.File, format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(f, options))
	}
	return slog.New(slog.NewTextHandler(f, options))
}

// serveMetrics serves /metrics and the health pages on loopback, if the owner wants them.
func serveMetrics(addr string, node *daemon.Node, log *slog.Logger) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fault(fmt.Sprintf("metrics can't be served at %s: %v", addr, err), "choose another port with --metrics")
	}
	srv := &http.Server{Handler: node.Handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "err", err)
		}
	}()
	log.Info("metrics ready", "addr", l.Addr().String())
	return func() { _ = srv.Close() }, nil
}

// reloadOnHangup applies what can change without a restart when SIGHUP comes.
func reloadOnHangup(ctx context.Context, s *Settings, node *daemon.Node, sales *shop, level *slog.LevelVar, log *slog.Logger) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		r, err := s.Reload()
		if err == nil {
			err = sales.reload(ctx, r.Settings.Config.Gateway)
		}
		if err == nil {
			err = node.SetLimits(r.Settings.Config.Limits)
		}
		if err != nil {
			log.Error("the settings were not reloaded; everything stays as it was", "err", err)
			continue
		}
		s = r.Settings
		level.Set(s.Config.LogLevel)
		for _, c := range r.Applied {
			log.Info("setting changed", "key", c.Key, "from", c.Old, "to", c.New)
		}
		for _, c := range r.NeedRestart {
			log.Warn("this setting changes with the next start", "key", c.Key, "to", c.New)
		}
		log.Info("settings reloaded", "changed", len(r.Applied))
	}
}
