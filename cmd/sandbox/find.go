package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// ErrNoProgram says that a program that the sandbox runs was not found.
var ErrNoProgram = errors.New("not found beside this program, in bin/ or in PATH; `make build` puts it into bin/")

// Find returns the path of a program: the one in dir if that is not empty, else the one beside this
// program, in bin/ of the working directory, or in PATH.
func Find(dir, name string) (string, error) {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	candidates := []string{filepath.Join(dir, name)}
	if dir == "" {
		candidates = []string{filepath.Join("bin", name), name}
		if self, err := os.Executable(); err == nil {
			candidates = append([]string{filepath.Join(filepath.Dir(self), name)}, candidates...)
		}
	}
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrNoProgram)
}
