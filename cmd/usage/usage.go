// Package usage prints how a command is called, for terminals of 80 columns. It knows commands and flags,
// and nothing of what they do.
//
//	root.SetUsageFunc(usage.Print)
package usage

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Width fits every terminal.
const Width = 80

// Print writes what follows a command's description.
func Print(cmd *cobra.Command) error {
	w := cmd.OutOrStderr()
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND"
		if _, own, ok := strings.Cut(cmd.Use, " "); ok {
			line = cmd.CommandPath() + " " + own
		}
	}
	fmt.Fprintf(w, "Usage:\n  %s\n", line)
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	printCommands(w, cmd)
	printFlags(w, "Flags", cmd.LocalNonPersistentFlags().FlagUsagesWrapped(Width))
	printFlags(w, "Settings for every command", cmd.Root().PersistentFlags().FlagUsagesWrapped(Width))
	return nil
}

func printCommands(w io.Writer, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	print := func(title, group string) {
		fmt.Fprintf(w, "\n%s\n", title)
		for _, c := range cmd.Commands() {
			if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
				fmt.Fprintf(w, "  %-*s  %s\n", c.NamePadding(), c.Name(), c.Short)
			}
		}
	}
	for _, g := range cmd.Groups() {
		print(g.Title, g.ID)
	}
	print("More:", "")
}

// printFlags leaves away what pflag says about switches, and keeps the columns.
func printFlags(w io.Writer, title, flags string) {
	if flags == "" {
		return
	}
	const noise = "[=true|false]"
	fmt.Fprintf(w, "\n%s:\n%s", title, strings.ReplaceAll(flags, noise, strings.Repeat(" ", len(noise))))
}
