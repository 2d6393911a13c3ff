package main

// Change is a setting that differs from what the daemon runs with.
type Change struct{ Key, Old, New string }

// Reload is what a SIGHUP comes to.
type Reload struct {
	Settings    *Settings // to run with from now on
	Applied     []Change  // take effect at once: log level and limits
	NeedRestart []Change  // stay as they are until the daemon is started again
}

// Reload reads file and environment again. Wrong settings change nothing: the error is Problems. Of right
// ones, those that can change while the daemon runs are taken over into the result's Config.
func (s *Settings) Reload() (*Reload, error) {
	fresh, err := Load(s.flags)
	if err != nil {
		return nil, err
	}
	r := &Reload{Settings: s.with(fresh)}
	for i, now := range s.Effect {
		next := fresh.Effect[i] // both follow the table
		switch change := (Change{now.Key, now.Value, next.Value}); {
		case now.Value == next.Value:
		case now.Reload:
			r.Applied = append(r.Applied, change)
		default:
			r.NeedRestart = append(r.NeedRestart, change)
		}
	}
	return r, nil
}

// with returns s with what can be reloaded taken from fresh.
func (s *Settings) with(fresh *Settings) *Settings {
	out := *s
	out.Config.LogLevel, out.Config.Limits, out.Warnings = fresh.Config.LogLevel, fresh.Config.Limits, fresh.Warnings
	out.Config.Gateway = fresh.Config.Gateway
	out.Effect = make([]Effect, len(s.Effect))
	for i, e := range s.Effect {
		if out.Effect[i] = e; e.Reload {
			out.Effect[i] = fresh.Effect[i]
		}
	}
	return &out
}
