package api_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runnel/runnel/api"
	"github.com/runnel/runnel/api/client"
	"github.com/runnel/runnel/channel"
)

func fault(t *testing.T, err error) *channel.Fault {
	t.Helper()
	var f *channel.Fault
	if !errors.As(err, &f) {
		t.Fatalf("not a fault: %v", err)
	}
	return f
}

func TestSocketIsPrivate(t *testing.T) {
	dir := filepath.Join(socketDir(t), "new", "deep")
	socket := filepath.Join(dir, "api.sock")
	serveAt(t, api.Config{Socket: "unix:" + socket, Log: quiet()}, &fakeNode{})
	for path, want := range map[string]os.FileMode{socket: 0o600, dir: 0o700, filepath.Dir(dir): 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", filepath.Base(path), info.Mode().Perm(), want)
		}
	}
	if _, err := dial(t, "unix:"+socket).Status(deadline(t)); err != nil {
		t.Error(err)
	}
}

func TestTCPIsRefused(t *testing.T) {
	for _, addr := range []string{"tcp:127.0.0.1:8080", "tcp://localhost:1", "http://localhost", "localhost:8080"} {
		_, err := api.Listen(api.Config{Socket: addr, Log: quiet()}, &fakeNode{})
		if f := fault(t, err); f.Code != channel.CodeUnsupported || !strings.Contains(f.Text, "unix socket only") || f.Hint == "" {
			t.Errorf("%s: %+v", addr, f)
		}
		if _, err := client.Dial(addr); fault(t, err).Code != channel.CodeUnsupported {
			t.Errorf("client: %s: %v", addr, err)
		}
	}
	for _, addr := range []string{"", "unix:", "unix:/" + strings.Repeat("x", 200)} {
		err := api.Config{Socket: addr}.Validate()
		if f := fault(t, err); f.Code != channel.CodeBadRequest || f.Hint == "" {
			t.Errorf("%q: %+v", addr, f)
		}
	}
}

func TestDeadSocketIsReplaced(t *testing.T) {
	socket := filepath.Join(socketDir(t), "api.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as after a crash
	dead.Close()
	serveAt(t, api.Config{Socket: socket, Log: quiet()}, &fakeNode{text: "here"})
	if got, err := dial(t, socket).NewAddress(deadline(t)); err != nil || got != "here" {
		t.Fatalf("%q %v", got, err)
	}
}

func TestLivingSocketIsRefused(t *testing.T) {
	_, first, socket := serve(t, &fakeNode{text: "first"})
	_, err := api.Listen(api.Config{Socket: socket, Log: quiet()}, &fakeNode{})
	if f := fault(t, err); f.Code != channel.CodeLimit || !strings.Contains(f.Text, "another daemon") || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	// Also when the lock file is gone.
	if err := os.Remove(socket + ".lock"); err != nil {
		t.Fatal(err)
	}
	_, err = api.Listen(api.Config{Socket: socket, Log: quiet()}, &fakeNode{})
	if f := fault(t, err); f.Code != channel.CodeLimit {
		t.Errorf("%+v", f)
	}
	if got, err := first.NewAddress(deadline(t)); err != nil || got != "first" {
		t.Errorf("the first one was harmed: %q %v", got, err)
	}
}

func TestOnlyOneStartWins(t *testing.T) {
	socket := filepath.Join(socketDir(t), "api.sock")
	var wg sync.WaitGroup
	servers := make([]*api.Server, 8)
	for i := range servers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			servers[i], _ = api.Listen(api.Config{Socket: socket, Log: quiet()}, &fakeNode{text: fmt.Sprint(i)})
		}()
	}
	wg.Wait()
	var winners []string
	for i, s := range servers {
		if s != nil {
			t.Cleanup(func() { shutdown(t, s) })
			winners = append(winners, fmt.Sprint(i))
		}
	}
	got, err := dial(t, socket).NewAddress(deadline(t))
	if len(winners) != 1 || err != nil || got != winners[0] {
		t.Fatalf("winners %v, %q answers, %v", winners, got, err)
	}
}

func TestOtherFilesStay(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "api.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := api.Listen(api.Config{Socket: path, Log: quiet()}, &fakeNode{})
	if f := fault(t, err); !strings.Contains(f.Text, "not a socket") {
		t.Errorf("%+v", f)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("%q %v", b, err)
	}
}

func TestOpenDirectoryIsRefused(t *testing.T) {
	dir := socketDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := api.Listen(api.Config{Socket: filepath.Join(dir, "s"), Log: quiet()}, &fakeNode{})
	if f := fault(t, err); !strings.Contains(f.Text, "everybody may write") {
		t.Errorf("%+v", f)
	}
}

// TestShutdownCleansUp: the socket goes, but not one that another daemon made in its place.
func TestShutdownCleansUp(t *testing.T) {
	dir := socketDir(t)
	socket := filepath.Join(dir, "api.sock")
	for range 3 {
		s, err := api.Listen(api.Config{Socket: socket, Log: quiet()}, &fakeNode{})
		if err != nil {
			t.Fatal(err)
		}
		shutdown(t, s)
		if _, err := os.Lstat(socket); !os.IsNotExist(err) {
			t.Fatalf("the socket is still there: %v", err)
		}
	}
	s, err := api.Listen(api.Config{Socket: socket, Log: quiet()}, &fakeNode{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(socket, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	shutdown(t, s)
	if b, err := os.ReadFile(socket); err != nil || string(b) != "other" {
		t.Errorf("%q %v", b, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 { // the file and the lock
		t.Errorf("left over: %v %v", entries, err)
	}
}

func TestNoDaemon(t *testing.T) {
	socket := filepath.Join(socketDir(t), "api.sock")
	c := dial(t, socket)
	ctx := deadline(t)
	check := func(what string, err error) {
		t.Helper()
		var gone *client.Unreachable
		if !errors.Is(err, client.ErrUnreachable) || !errors.As(err, &gone) {
			t.Errorf("%s: %v", what, err)
			return
		}
		if gone.Sent || !strings.Contains(err.Error(), socket) || !strings.Contains(err.Error(), "no daemon is running") || !strings.Contains(gone.Hint(), "runneld") {
			t.Errorf("%s: %v, %s", what, err, gone.Hint())
		}
	}
	all := func() {
		_, err := c.Status(ctx)
		check("Status", err)
		_, err = c.Pay(ctx, channel.PayRequest{Target: "abcd", Amount: 1})
		check("Pay", err)
		_, err = payAsync(ctx, c.PayAsync, channel.PayRequest{Target: "abcd", Amount: 1})
		check("PayAsync", err)
		check("Watch", c.Watch(ctx, 0, nil))
	}
	all()
	server, err := api.Listen(api.Config{Socket: socket, Log: quiet()}, &fakeNode{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(ctx); err != nil {
		t.Errorf("a daemon that was started later: %v", err)
	}
	shutdown(t, server)
	all()
	// A socket that nobody listens on any more.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	all()
}

// TestShutdownWaitsForCalls: a call that runs is answered; when the patience ends, payments are pending.
func TestShutdownWaitsForCalls(t *testing.T) {
	running, finish := make(chan struct{}), make(chan struct{})
	node := &fakeNode{pay: func(ctx context.Context, r channel.PayRequest) (channel.PayResult, error) {
		running <- struct{}{}
		select {
		case <-finish:
			return channel.PayResult{ID: r.ID, Amount: r.Amount, Status: channel.PayAcknowledged}, nil
		case <-ctx.Done():
			return channel.PayResult{ID: r.ID, Amount: r.Amount}, channel.Faultf(channel.CodePending, "no answer yet")
		}
	}}
	for _, patient := range []bool{true, false} {
		socket := filepath.Join(socketDir(t), "s")
		server, err := api.Listen(api.Config{Socket: socket, Log: quiet()}, node)
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, socket)
		type answer struct {
			r   channel.PayResult
			err error
		}
		got := make(chan answer, 1)
		go func() {
			r, err := c.Pay(deadline(t), channel.PayRequest{Target: "abcd", Amount: 5})
			got <- answer{r, err}
		}()
		<-running
		ctx, cancel := context.WithCancel(context.Background())
		if patient {
			go func() { finish <- struct{}{} }()
		} else {
			cancel()
		}
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("patient %v: %v", patient, err)
		}
		cancel()
		a := <-got
		if patient && (a.err != nil || a.r.Status != channel.PayAcknowledged) {
			t.Errorf("patient: %+v", a)
		}
		if !patient && (a.r.Status != channel.PayPending || fault(t, a.err).Code != channel.CodePending) {
			t.Errorf("impatient: %+v", a)
		}
	}
}
