package p2p

import (
	"testing"

	libp2pconfig "github.com/libp2p/go-libp2p/config"
)

// TestNATOptions: on means all of it, off means that nothing looks for a router or a relay. It only
// reads the options: starting them would send packets beyond this machine.
func TestNATOptions(t *testing.T) {
	for _, on := range []bool{true, false} {
		config := testConfig()
		config.NAT = on
		if on {
			config.Relays = []string{"/ip4/203.0.113.7/tcp/1/p2p/" + peerOf(t)}
		}
		s, err := config.parse()
		if err != nil {
			t.Fatal(err)
		}
		var got libp2pconfig.Config
		if err := got.Apply(natOptions(s)...); err != nil {
			t.Fatal(err)
		}
		for name, set := range map[string]bool{
			"port mapping": got.NATManager != nil, "relay client": got.Relay, "hole punching": got.EnableHolePunching,
			"AutoNAT v2": got.EnableAutoNATv2, "auto relay": got.EnableAutoRelay, "observed addresses": !got.DisableIdentifyAddressDiscovery,
		} {
			if set != on {
				t.Errorf("NAT %v: %s is %v", on, name, set)
			}
		}
		if got.EnableRelayService {
			t.Error("the relay service is on")
		}
	}
}
