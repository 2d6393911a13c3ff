package client

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

// Pauses between attempts to reach a daemon again: soon at first, since restarts are quick.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Watch calls fn for every event after since, stored ones first, until ctx ends or fn fails; it returns
// that error. Without FollowRestarts it also ends with the daemon. With it, it waits and goes on after the
// last event that fn took, so that fn sees each event once.
func (c *Client) Watch(ctx context.Context, since uint64, fn func(channel.Event) error) error {
	pause := firstPause
	for {
		before := since
		mine, err := c.watchOnce(ctx, &since, fn)
		if ctx.Err() != nil && !mine {
			return ctx.Err()
		}
		if mine || !c.restarts || !passing(err) {
			return err
		}
		if since != before {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// passing reports whether a daemon that is restarted mends an error.
func passing(err error) bool {
	var f *channel.Fault
	if errors.As(err, &f) {
		return f.Code == channel.CodeStopping || f.Code == channel.CodeNotReady
	}
	return errors.Is(err, ErrUnreachable)
}

// watchOnce is one connection. Each event that fn took is remembered in since; mine says that the error
// is fn's.
func (c *Client) watchOnce(ctx context.Context, since *uint64, fn func(channel.Event) error) (mine bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.events.Watch(ctx, connect.NewRequest(&runnelv1.WatchRequest{Since: *since}))
	if err != nil {
		return false, c.failure(ctx, err)
	}
	defer stream.Close()
	for stream.Receive() {
		event, err := stream.Msg().Value()
		if err != nil {
			return false, c.strange(err)
		}
		if event.Seq <= *since {
			continue
		}
		if err := fn(event); err != nil {
			return true, err
		}
		*since = event.Seq
	}
	if err := stream.Err(); err != nil {
		return false, c.failure(ctx, err)
	}
	return false, &Unreachable{Socket: c.socket, Sent: true, Err: errors.New("the event stream ended")}
}
