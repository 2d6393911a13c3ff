package simnet_test

import (
	"os"
	"strconv"
	"strings"
)

const diesWithParent = true

// alive reports whether a process runs; one that ended and was not yet collected does not.
func alive(pid int) bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(raw), ") Z ")
}
