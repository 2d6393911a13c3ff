package gateway_test

import (
	"net/url"
	"testing"
)

func must(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// must2 panics on an error that can't be.
func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
