package api

import (
	"context"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/channel"
)

func (s eventService) Watch(ctx context.Context, req *connect.Request[runnelv1.WatchRequest], stream *connect.ServerStream[runnelv1.Event]) error {
	if err := knownFields(req.Msg); err != nil {
		return err
	}
	return s.watch(ctx, req.Msg.Since, func(e channel.Event) error {
		return stream.Send(runnelv1.NewEvent(e))
	})
}

// watch is Node.Watch that ends with the daemon, too.
func (s eventService) watch(ctx context.Context, since uint64, fn func(channel.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	err := s.node.Watch(ctx, since, fn)
	if cause := context.Cause(s.stopping); cause != nil {
		return cause
	}
	return err
}

// lines is Watch for curl and scripts: GET /events?since=N answers with one JSON object a line.
func (s eventService) lines(w http.ResponseWriter, r *http.Request) {
	since, err := sinceOf(r)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, faultOf(err))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	_ = control.Flush() // headers at once, so that the client knows that it is connected
	err = s.watch(r.Context(), since, func(e channel.Event) error {
		line, err := jsonCodec{}.Marshal(runnelv1.NewEvent(e))
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
		return control.Flush()
	})
	s.log.Debug("event lines ended", "err", err)
}

func sinceOf(r *http.Request) (uint64, error) {
	text := r.URL.Query().Get("since")
	if text == "" {
		return 0, nil
	}
	since, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, channel.Faultf(channel.CodeBadRequest, "since is %q: it needs the seq of an event", text)
	}
	return since, nil
}
