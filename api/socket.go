package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/runnel/runnel/channel"
)

// lockWait is how long a start waits for another one that is checking the same socket.
const lockWait = 2 * time.Second

// socket is a listener that owns its path: nobody else's server can take it, and only its own file is
// removed in the end.
type socket struct {
	net.Listener
	path string
	file os.FileInfo
	lock *flock.Flock
}

// listenUnix binds path for this user alone. What a dead daemon left there is replaced; a living one, or
// a file that is no socket, is a fault.
func listenUnix(path string) (*socket, error) {
	if err := prepareDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	if err := takeLock(lock, path); err != nil {
		return nil, err
	}
	s, err := bindFree(path)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	s.lock = lock
	return s, nil
}

// takeLock waits for another start that is not through yet, but not for a daemon that serves.
func takeLock(lock *flock.Flock, path string) error {
	for end := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		locked, err := lock.TryLock()
		switch {
		case err != nil:
			return fmt.Errorf("locking the API's socket: %w", err)
		case locked:
			return nil
		case answers(path), time.Now().After(end):
			return inUse(path)
		}
	}
}

func inUse(path string) error {
	return channel.Faultf(channel.CodeLimit, "another daemon serves %s", path).
		WithHint("Stop it first with `runnel stop`, or give this one another --data-dir.")
}

// prepareDir makes the socket's directory, and refuses one in which strangers could swap the socket.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of the API's socket: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at the directory of the API's socket: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return channel.Faultf(channel.CodeBadRequest, "everybody may write to %s, so the API's socket would not be safe there", dir).
			WithHint("chmod o-w %s", dir)
	}
	return nil
}

func bindFree(path string) (*socket, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("looking at the API's socket: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, channel.Faultf(channel.CodeBadRequest, "%s is not a socket", path).
			WithHint("Move it away, or choose another place with --api unix:PATH.")
	case answers(path):
		return nil, inUse(path)
	}
	return bind(path)
}

// answers reports whether somebody listens at path.
func answers(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return errors.Is(err, os.ErrPermission) // somebody else's: not ours to replace
	}
	_ = conn.Close()
	return true
}

// bind makes the socket in a directory of its own that only this user can enter, narrows its mode and
// then moves it to path. So it never exists with a mode that the umask left open, and it appears at once.
func bind(path string) (*socket, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("making the API's socket: %w", err)
	}
	defer os.RemoveAll(dir)
	private := filepath.Join(dir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: private, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making the API's socket: %w", err)
	}
	listener.SetUnlinkOnClose(false) // it would unlink the private name
	s := &socket{Listener: listener, path: path}
	if err := s.publish(private); err != nil {
		return nil, fmt.Errorf("making the API's socket: %w", errors.Join(err, listener.Close()))
	}
	return s, nil
}

func (s *socket) publish(private string) error {
	if err := os.Chmod(private, 0o600); err != nil {
		return err
	}
	info, err := os.Lstat(private)
	if err != nil {
		return err
	}
	s.file = info
	return os.Rename(private, s.path)
}

// Close stops listening and removes the socket, unless another file stands in its place by now.
func (s *socket) Close() error {
	err := s.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil // closed before: what stands at path is not ours any more
	}
	if info, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(info, s.file) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return errors.Join(err, s.lock.Unlock())
}
