package itest

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// soaked is how often a test does something: a few times in `make test`, many times in `make soak`.
func soaked(few, many int) int {
	if soaking() {
		return many
	}
	return few
}

func soaking() bool { return os.Getenv("RUNNEL_SOAK") != "" }

// fromEnv is a number from the environment, to repeat a failure or to run longer.
func fromEnv(t testing.TB, name string, standard int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// worldTime is when a test is given up; no verdict depends on it.
func worldTime() time.Duration {
	if soaking() || os.Getenv("RUNNEL_POWERLOSS") != "" {
		return 3 * time.Hour
	}
	return 4 * time.Minute
}
