package api

import "time"

// ForTest shortens what tests would wait for.
func (c Config) ForTest(bodyWait time.Duration, window int) Config {
	c.bodyWait, c.window = bodyWait, window
	return c
}

// JSON is the codec that the server uses.
func JSON(m any) ([]byte, error) { return jsonCodec{}.Marshal(m) }
