package wire

import (
	"fmt"
	"testing"
)

func BenchmarkFrame(b *testing.B) {
	for _, n := range []int{1, 32, 1024} {
		m := fullFrame()
		m.Payments = m.Payments[:n]
		bytes, err := Encode(m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("append/%d", n), func(b *testing.B) {
			buf := make([]byte, 0, MaxMessage)
			b.SetBytes(int64(len(bytes)))
			for b.Loop() {
				buf = AppendFrame(buf[:0], m)
			}
		})
		b.Run(fmt.Sprintf("decode/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(bytes)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(bytes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
