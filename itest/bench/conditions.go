package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// describe says on what the figures were measured.
func describe() string {
	return fmt.Sprintf(`%s, %d cores, %s memory, %s, %s, %s/%s; %s.
Versions: %s.
A 128-byte append with fdatasync takes %s here (median of 500).`,
		cpu(), runtime.NumCPU(), memory(), fileSystem(), runtime.Version(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format("2006-01-02"),
		versions(), syncTime())
}

func cpu() string    { return field("/proc/cpuinfo", "model name") }
func memory() string { return field("/proc/meminfo", "MemTotal") }
func field(file, key string) string {
	b, _ := os.ReadFile(file)
	for _, line := range strings.Split(string(b), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func fileSystem() string {
	var st syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &st); err != nil {
		return "unknown file system"
	}
	names := map[int64]string{0xEF53: "ext4", 0x01021994: "tmpfs", 0x9123683E: "btrfs", 0x58465342: "xfs", 0x794c7630: "overlayfs"}
	if n, ok := names[int64(st.Type)]; ok {
		return n
	}
	return fmt.Sprintf("file system %#x", st.Type)
}

func versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	var list []string
	for _, d := range info.Deps {
		for _, name := range []string{"btcsuite/btcd", "btcec/v2", "libp2p/go-libp2p", "badger/v4", "connectrpc.com/connect"} {
			if strings.HasSuffix(d.Path, name) {
				list = append(list, filepath.Base(strings.TrimSuffix(strings.TrimSuffix(d.Path, "/v4"), "/v2"))+" "+d.Version)
			}
		}
	}
	return strings.Join(list, ", ")
}

func syncTime() string {
	f, err := os.CreateTemp("", "sync")
	if err != nil {
		return "unknown"
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var times []time.Duration
	for range 500 {
		start := time.Now()
		if _, err := f.Write(make([]byte, 128)); err != nil {
			return "unknown"
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return "unknown"
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2].Round(time.Microsecond).String()
}

func document(conditions, table string) string {
	return `# Benchmarks

Written by ` + "`make bench`" + `. Two daemons and a btcd as real processes on one machine, real libp2p over TCP on loopback, every answer
after the payee's real sync; payments enter through the API of the payer. Nothing here is a test's verdict, and figures of different
machines or runs do not compare.

## Conditions

` + conditions + `

## Figures

` + table + `
"Must" and "goal" are the targets of the design.

## Beside others

An lnd payment between two nodes on a machine of this kind takes 78 ms (p50, one at a time) and lnd makes at most about 150 a second.
It is a different thing: a routable, hash-locked transfer with two commitment rounds and an onion, where ours is a direct balance update
between two peers. What a Runnel payment does not do is travel through others.
`
}
