package badger

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// logger hands Badger's messages to slog. Its Infof tells of every table, so it is debug for us.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, args ...any)   { l.write(slog.LevelError, format, args) }
func (l logger) Warningf(format string, args ...any) { l.write(slog.LevelWarn, format, args) }
func (l logger) Infof(format string, args ...any)    { l.write(slog.LevelDebug, format, args) }
func (logger) Debugf(string, ...any)                 {} // prints keys

func (l logger) write(level slog.Level, format string, args []any) {
	if l.log == nil || !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, strings.TrimSpace(fmt.Sprintf(format, args...)), "from", "badger")
}
